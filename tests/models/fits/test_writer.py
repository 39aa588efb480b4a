"""Files written by rows: bytes, checksums and errors."""

import itertools
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.page_cache import PAGE, count_cached_pages, require_releasable_pages
from support.written_files import PRIMARY, finish_file, image_part, random_array, two_fields

from calbatch.models.errors import ModelError
from calbatch.models.fits import byteorder
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.fits.writer import (
    FitsWriter,
    OutputImage,
    OutputTable,
    warm_kernels,
    write_fits,
)

IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?"]
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


@pytest.fixture(autouse=True)
def small_scratch(monkeypatch):
    """Make the rows of small test images span several buffers."""
    monkeypatch.setattr(byteorder, "SCRATCH_BYTES", 64)


def bands_of(array, edges):
    """Yield the bands of an array between given edges."""
    rows = array.shape[-2] if array.ndim > 1 else 1
    inner = sorted({0, rows, *(edge for edge in edges if edge < rows)})
    for start, stop in itertools.pairwise(inner):
        yield (start, stop), array[..., start:stop, :] if array.ndim > 1 else array


@settings(IN_ONE_FOLDER, max_examples=50)
@given(st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), max_size=3), st.data())
def test_any_tiling_gives_the_file_that_astropy_would(tmp_path, images, data):
    arrays = {f"a{n}": random_array(*image, seed=n) for n, image in enumerate(images)}
    parts = [PRIMARY, *(image_part(n, a) for n, a in arrays.items())]
    bands = [
        (name, rows, band)
        for name, array in arrays.items()
        for rows, band in bands_of(array, data.draw(st.lists(st.integers(1, 5))))
    ]
    written, receipted = (data.draw(st.permutations(range(len(bands)))) for _ in "12")
    writer = FitsWriter(tmp_path / "a.fits", parts, fsync=False)
    writer.prepare()
    receipts = [writer.write_rows(*bands[n]) for n in written]
    product = writer.finish(receipts[n] for n in receipted)
    with fits.open(product.path, checksum=True, memmap=False) as hdus:  # a mismatch would warn
        hdus.verify("exception")
        for array, hdu in zip(arrays.values(), hdus[1:], strict=True):
            wanted = array.view("u1") if array.dtype == bool else array
            assert hdu.data.dtype.newbyteorder("=") == wanted.dtype
            assert hdu.data.astype(wanted.dtype).tobytes() == wanted.tobytes()
    whole = write_fits(tmp_path / "b.fits", parts, arrays, fsync=False)
    assert Path(whole.path).read_bytes() == Path(product.path).read_bytes()
    assert verify_checksums(read_layout(product.path)) == 1 + len(arrays)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "?"])
def test_headers_are_those_of_astropy(tmp_path, dtype):
    array = random_array((2, 3, 4), dtype)
    write_fits(tmp_path / "a.fits", [PRIMARY, image_part("sci", array)], {"sci": array})
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(array.copy(), name="SCI", ver=1)])
    hdus[1].header["EXTVER"] = 1
    hdus.writeto(tmp_path / "b.fits", checksum=True)
    for index in (0, 1):
        ours = fits.getheader(tmp_path / "a.fits", index)
        theirs = fits.getheader(tmp_path / "b.fits", index)
        assert list(ours) == list(theirs)
        assert all(ours[key] == theirs[key] for key in ours if key != "CHECKSUM")


def test_an_image_in_the_primary_hdu(tmp_path):
    array = random_array((3, 4), "u2")
    part = OutputImage(name="data", extname="ignored", dtype=array.dtype, shape=array.shape)
    write_fits(tmp_path / "a.fits", [part], {"data": array})
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        np.testing.assert_array_equal(hdus[0].data, array)


def test_cards_keep_their_order_and_structural_cards_are_ignored(tmp_path):
    cards = [
        ("TELESCOP", "JWST", "the telescope"),
        ("", "", ""),
        ("", "Section", ""),
        ("BZERO", 5, "not true"),
        ("NAXIS7", 5, "not true"),
        ("CHECKSUM", "x", "not true"),
        ("LONG", "x" * 200, "a long text"),
        ("HIERARCH ESO DET", 3, ""),
        ("NOTHING", None, "no value"),
        ("HISTORY", "h" * 100, ""),
        ("DATE", "2030-01-01", ""),
    ]
    write_fits(tmp_path / "a.fits", [OutputImage(name="", extname="PRIMARY", cards=cards)], {})
    header = fits.getheader(tmp_path / "a.fits")
    assert list(header)[4:] == [
        *("TELESCOP", "", "", "LONG", "ESO DET", "NOTHING", "HISTORY", "HISTORY", "DATE"),
        *("CHECKSUM", "DATASUM"),
    ]
    assert header["LONG"] == "x" * 200
    assert header.comments["TELESCOP"] == "the telescope"
    assert header["DATE"] == "2030-01-01"


@pytest.mark.parametrize("value", [float("nan"), "line\nbreak", "\xe9", object()])
def test_values_that_fits_cannot_hold_are_refused(tmp_path, value):
    parts = [OutputImage(name="", extname="PRIMARY", cards=[("KEY", value, "")])]
    with pytest.raises(ModelError, match=r"a\.fits: PRIMARY: FITS cannot hold KEY = "):
        FitsWriter(tmp_path / "a.fits", parts)


def test_types_that_fits_cannot_hold_are_refused(tmp_path):
    for part in (
        OutputImage(name="a", extname="A", dtype=np.dtype("f2"), shape=(2, 2)),
        OutputImage(name="a", extname="A", dtype=np.dtype("c8"), shape=(2, 2)),
        OutputTable("A", np.zeros(2, [("a", "O")])),
    ):
        with pytest.raises(ModelError, match=r"a\.fits: A: FITS "):
            FitsWriter(tmp_path / "a.fits", [PRIMARY, part])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least a primary HDU"),
        ([OutputTable("T", np.zeros(1, [("a", "f4")]))], "must be an OutputImage"),
        (
            [
                PRIMARY,
                *2 * [OutputImage(name="a", extname="A", dtype=np.dtype("f4"), shape=(2, 2))],
            ],
            "the same field name",
        ),
    ],
)
def test_invalid_files_are_refused(tmp_path, parts, message):
    with pytest.raises(ModelError, match=message):
        FitsWriter(tmp_path / "a.fits", parts)


def test_arrays_are_not_changed_for_any_strides(tmp_path):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    writer.prepare()
    wide = np.zeros((2, 9, 8), "f4")
    wide[:, 2:7, 1:5] = data
    wide.flags.writeable = False
    turned = np.asfortranarray(dq)
    turned.flags.writeable = False
    writer.finish(
        [
            writer.write_rows("data", (1, 5), wide[:, 3:7, 1:5]),
            writer.write_rows("data", (0, 1), wide[:, 2:3, 1:5]),
            writer.write_rows("dq", (0, 5), turned),
        ]
    )
    np.testing.assert_array_equal(wide[:, 2:7, 1:5], data)
    np.testing.assert_array_equal(turned, dq)
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a.fits", "DATA"), data)
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a.fits", "DQ"), dq)


@pytest.mark.parametrize(
    ("field", "rows", "array", "message"),
    [
        ("err", (0, 1), np.zeros((1, 4), "u4"), r"no field 'err', only \['data', 'dq'\]"),
        ("dq", (4, 6), np.zeros((2, 4), "u4"), "rows 4:6 of 'dq' are not within 0:5"),
        ("dq", (0, 2), np.zeros((3, 4), "u4"), r"must have shape \(2, 4\), not \(3, 4\)"),
        ("data", (0, 2), np.zeros((2, 4), "f4"), r"must have shape \(2, 2, 4\), not \(2, 4\)"),
        ("dq", (0, 1), np.zeros((1, 4), "i4"), "must be uint32, not int32"),
        ("data", (0, 1), np.zeros((2, 1, 4), ">f4"), "must be float32, not >f4"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, field, rows, array, message):
    writer, *_ = two_fields(tmp_path / "a.fits")
    writer.prepare()
    with pytest.raises(ModelError, match=message):
        writer.write_rows(field, rows, array)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows 0:5 of 'dq' were not written"),
        ([(0, 2), (3, 5)], "rows 2:3 of 'dq' were not written"),
        ([(0, 4)], "rows 4:5 of 'dq' were not written"),
        ([(0, 3), (2, 5)], "rows 2:3 of 'dq' were written twice"),
        ([(0, 5), (0, 5)], "rows 0:5 of 'dq' were written twice"),
    ],
)
def test_every_row_must_be_written_once(tmp_path, rows, message):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    writer.prepare()
    receipts = [writer.write_rows("dq", band, dq[slice(*band)]) for band in rows]
    receipts.append(writer.write_rows("data", (0, 5), data))
    with pytest.raises(ModelError, match=message):
        writer.finish(receipts)
    assert not (tmp_path / "a.fits").exists()


def test_reserved_cards_are_filled_in_at_the_end(tmp_path):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    product = finish_file(writer, data, dq, {"primary": {"COUNT": 12345, "note": "it's short"}})
    with fits.open(product.path, checksum=True) as hdus:
        assert hdus[0].header["COUNT"] == 12345
        assert hdus[0].header.comments["COUNT"] == "number of jumps"
        assert hdus[0].header["NOTE"] == "it's short"
        assert "CONTINUE" not in hdus[0].header
    assert product.size == writer.size == writer.path.stat().st_size
    assert product.digest == read_layout(product.path).digest


def test_none_blanks_a_card(tmp_path):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    product = finish_file(writer, data, dq, {"PRIMARY": {"COUNT": None}})
    with fits.open(product.path, checksum=True) as hdus:
        assert "COUNT" not in hdus[0].header
        assert len(hdus["DATA"].data) == 2


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ({"PRIMARY": {"NEW": 1}}, "PRIMARY: no card NEW was reserved"),
        ({"NONE": {"COUNT": 1}}, "has no HDU NONE to update"),
        ({"PRIMARY": {"COUNT": "x" * 9000}}, "PRIMARY: no room in the header for a longer COUNT"),
        ({"PRIMARY": {"COUNT": float("inf")}}, "FITS cannot hold COUNT = inf"),
    ],
)
def test_impossible_updates_are_refused(tmp_path, updates, message):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    with pytest.raises(ModelError, match=message):
        finish_file(writer, data, dq, updates)
    assert not (tmp_path / "a.fits").exists()


@pytest.mark.parametrize("length", [0, 60, 70, 500, 1500])
def test_a_longer_value_moves_no_data(tmp_path, length):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    product = finish_file(writer, data, dq, {"PRIMARY": {"COUNT": "x" * length}})
    with fits.open(product.path, checksum=True) as hdus:
        assert hdus[0].header["COUNT"] == "x" * length
        np.testing.assert_array_equal(hdus["DQ"].data, dq)


def test_no_file_has_the_final_name_before_the_end(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(b"the last run's")
    writer, data, dq = two_fields(path)
    writer.prepare()
    receipts = [writer.write_rows("data", (0, 5), data), writer.write_rows("dq", (0, 5), dq)]
    assert path.read_bytes() == b"the last run's"
    assert [p.suffix for p in tmp_path.iterdir() if p != path] == [".part"]
    writer.finish(receipts)
    assert list(tmp_path.iterdir()) == [path]
    writer.abort()
    assert path.exists()


@pytest.mark.parametrize("fsync", [True, False])
def test_a_file_on_disk_leaves_the_memory_of_the_system(tmp_path, monkeypatch, fsync):
    require_releasable_pages(tmp_path)
    monkeypatch.setattr(byteorder, "SCRATCH_BYTES", 1 << 18)
    array = np.ones((4, 512, 512), "f4")
    writer = FitsWriter(tmp_path / "a.fits", [PRIMARY, image_part("sci", array)], fsync=fsync)
    writer.prepare()
    rows = [(0, 256), (256, 512)]
    writer.finish([writer.write_rows("sci", r, array[:, slice(*r)]) for r in rows])
    cached = count_cached_pages(writer.path)
    assert cached == 0 if fsync else cached >= array.nbytes // PAGE


def test_an_aborted_file_leaves_nothing(tmp_path):
    writer, data, _ = two_fields(tmp_path / "a.fits")
    writer.prepare()
    writer.write_rows("data", (0, 5), data)
    writer.abort()
    writer.abort()
    assert not list(tmp_path.iterdir())


def test_a_failed_whole_write_leaves_nothing(tmp_path):
    array = np.zeros((2, 3), "f4")
    with pytest.raises(ModelError, match="were not written"):
        write_fits(tmp_path / "a.fits", [PRIMARY, image_part("sci", array)], {})
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_file_do_not_interfere(tmp_path):
    first, *_ = two_fields(tmp_path / "a.fits")
    second, *_ = two_fields(tmp_path / "a.fits")
    assert first.temporary != second.temporary
    assert {first.temporary.parent, second.temporary.parent} == {tmp_path}


def test_long_names_have_a_temporary_name_too(tmp_path):
    writer, data, dq = two_fields(tmp_path / ("x" * 250 + ".fits"))
    finish_file(writer, data, dq)
    assert writer.path.exists()


def test_a_repeated_prepare_keeps_written_rows(tmp_path):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    writer.prepare()
    receipts = [writer.write_rows("data", (0, 5), data)]
    writer.prepare()
    receipts.append(writer.write_rows("dq", (0, 5), dq))
    writer.finish(receipts)
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a.fits", "DATA"), data)


def test_rows_may_be_written_by_copies_and_in_threads(tmp_path):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    writer.prepare()
    bands = [("data", (r, r + 1), data[:, r : r + 1]) for r in range(5)]
    bands += [("dq", (r, r + 1), dq[r : r + 1]) for r in range(5)]
    with ThreadPoolExecutor(4) as pool:
        copies = [pickle.loads(pickle.dumps(writer)) for _ in bands]
        receipts = list(pool.map(lambda copy, band: copy.write_rows(*band), copies, bands))
    pickle.loads(pickle.dumps(writer)).finish(pickle.loads(pickle.dumps(receipts)))
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        np.testing.assert_array_equal(hdus["DATA"].data, data)
        np.testing.assert_array_equal(hdus["DQ"].data, dq)


def test_tables_are_written_with_their_checksums(tmp_path):
    table = np.array([(1, "ab"), (2, "c")], [("a", "u4"), ("b", "U3")])
    parts = [PRIMARY, OutputTable("tab", table, [("TUNIT1", "s", ""), ("NOTE", 1, "")], extver=2)]
    write_fits(tmp_path / "a.fits", parts, {})
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus["TAB", 2].data["a"].tolist() == [1, 2]
        assert hdus["TAB", 2].columns["a"].unit == "s"
        assert hdus["TAB", 2].header["NOTE"] == 1


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
@pytest.mark.parametrize("fsync", [False, True])
def test_rows_are_flushed_as_they_are_written_if_the_file_is(tmp_path, monkeypatch, fsync):
    advised = []
    really = os.posix_fadvise
    monkeypatch.setattr(
        os, "posix_fadvise", lambda fd, *advice: advised.append(advice) or really(fd, *advice)
    )
    array = np.zeros((300, 500), "f4")
    parts = [PRIMARY, image_part("sci", array)]
    write_fits(tmp_path / "a.fits", parts, {"sci": array}, fsync=fsync)
    if fsync:
        (_, length, _), (start, rest, _) = advised
        assert length == (array.nbytes // 4096 - 1) * 4096
        assert (start, rest) == (0, 0)  # all that is on disk by now is released
    else:
        assert advised == []


@pytest.mark.parametrize("fsync", [False, True])
def test_fsync_is_an_option(tmp_path, monkeypatch, fsync):
    synced = []
    really = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(fd) or really(fd))
    finish_file(*two_fields(tmp_path / "a.fits", fsync=fsync))
    assert len(synced) == 2 * fsync  # the file, and the folder with its name


def test_empty_arrays_have_headers_only(tmp_path):
    array = np.zeros((0, 5), "f4")
    write_fits(tmp_path / "a.fits", [PRIMARY, image_part("sci", array)], {"sci": array})
    layout = read_layout(tmp_path / "a.fits")
    assert (layout.find("SCI").shape, layout.find("SCI").kind) == ((0, 5), "empty")
    assert verify_checksums(layout) == 2


def test_kernels_are_compiled_ahead(tmp_path):
    warm_kernels()
    compiled = len(byteorder._swap_and_flip.dispatcher.signatures)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in DTYPES:
            array = random_array((2, 3, 5), dtype)
            array.flags.writeable = False
            part = image_part("sci", array)
            write_fits(tmp_path / "a.fits", [PRIMARY, part], {"sci": array}, fsync=False)
    assert len(byteorder._swap_and_flip.dispatcher.signatures) == compiled
