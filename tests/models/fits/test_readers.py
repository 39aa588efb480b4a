"""Readers, against astropy."""

import gzip
import itertools
import math
import os
import pickle
from functools import partial

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fits_bytes import image, primary

from calbatch.models.errors import FileError
from calbatch.models.fits import byteorder
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.readers import ArrayReader, ConstantReader, RowReader, warm_kernels

IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
shapes = st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple)


@pytest.fixture(autouse=True)
def small_scratch(monkeypatch):
    """Make the rows of small test images span several buffers."""
    monkeypatch.setattr(byteorder, "SCRATCH_BYTES", 64)


def random_array(shape, dtype, seed=0):
    """Return an array of random bits, including NaN and infinities."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(shape)


def write_image(path, array, **options):
    """Write an image with astropy, and return its reader."""
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(array.copy(), **options)]).writeto(
        path, overwrite=True
    )
    return RowReader(read_layout(path).hdus[1])


def bounds(length):
    pair = st.tuples(st.integers(0, length), st.integers(0, length))
    return pair.map(lambda ends: (min(ends), max(ends)))


def same(found, expected):
    """Return whether arrays are bit-identical; the first must be new, contiguous and native."""
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.dtype.isnative
    assert found.shape == expected.shape
    return found.tobytes() == np.ascontiguousarray(expected, found.dtype).tobytes()


def slices(length):
    """Return a strategy for non-empty slices, forwards and backwards."""
    return st.slices(length).filter(lambda part: len(range(length)[part]) > 0)


@settings(IN_ONE_FOLDER, max_examples=60)
@given(shapes, st.sampled_from(DTYPES), st.data())
def test_any_region_of_any_type_is_read(tmp_path, shape, dtype, data):
    array = random_array(shape, dtype)
    reader = write_image(tmp_path / "a.fits", array)
    assert (reader.shape, reader.dtype, reader.ndim) == (shape, np.dtype(dtype), len(shape))
    rows, cols = data.draw(bounds(shape[-2])), data.draw(bounds(shape[-1]))
    expected = array[..., slice(*rows), slice(*cols)]
    assert same(reader.read(rows, cols), expected)
    assert same(pickle.loads(pickle.dumps(reader)).read(rows, cols), expected)


def readers(path, array):
    """Return readers of all kinds for the same array."""
    yield write_image(path, array)
    yield ArrayReader(array)
    constant = ConstantReader(array.shape, array.dtype, array.flat[0])
    if (array == array.flat[0]).all():
        yield constant


@settings(IN_ONE_FOLDER, max_examples=60)
@given(shapes, st.booleans(), st.data())
def test_windows_agree_with_slices_of_arrays(tmp_path, shape, constant, data):
    array = np.full(shape, 7, "u2") if constant else random_array(shape, "u2")
    parts = tuple(data.draw(slices(n)) for n in shape[:-2])
    row0, row1 = data.draw(bounds(shape[-2]))
    col0, col1 = data.draw(bounds(shape[-1]))
    expected = array[(*parts, slice(row0, row1), slice(col0, col1))]
    rows, cols = data.draw(bounds(row1 - row0)), data.draw(bounds(col1 - col0))
    for reader in readers(tmp_path / "a.fits", array):
        cut = reader.planes(parts).section(row0, row1 - row0, col0, col1 - col0)
        assert cut.shape == expected.shape
        assert same(cut.whole(), expected)
        assert same(cut.read(rows, cols), expected[..., slice(*rows), slice(*cols)])
        assert reader.shape == shape  # the first reader has not changed


def test_a_window_of_a_window(tmp_path):
    array = random_array((6, 4, 5), "i2")
    for reader in readers(tmp_path / "a.fits", array):
        twice = reader.planes(slice(5, 0, -2)).planes(slice(1, None)).section(1, 3, 0, 5)
        assert same(twice.section(1, 2, 2, 2).whole(), array[5:0:-2][1:, 2:4, 2:4])


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("read", ((0, 5), (0, 5))),
        ("read", ((-1, 2), (0, 5))),
        ("read", ((3, 2), (0, 5))),
        ("read", ((0, 4), (0, 6))),
        ("section", (2, 3, 0, 5)),
        ("section", (0, 4, -1, 5)),
        ("planes", ((slice(None), slice(None)),)),
    ],
)
def test_ranges_outside_the_window_are_refused(tmp_path, method, arguments):
    for reader in readers(tmp_path / "a.fits", np.zeros((3, 4, 5), "f4")):
        with pytest.raises(ValueError, match=r"are not within|slices for"):
            getattr(reader, method)(*arguments)


@pytest.mark.parametrize("stored", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
@pytest.mark.parametrize("wanted", ["f4", "f8", "i8"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NaN cast to an integer
def test_astype_decodes_to_another_type(tmp_path, stored, wanted):
    array = random_array((2, 5, 6), stored, seed=1)
    for reader in readers(tmp_path / "a.fits", array):
        found = reader.astype(wanted)
        assert found.dtype == wanted
        assert same(found.read((1, 4), (2, 6)), array[:, 1:4, 2:6].astype(wanted))


def test_functions_apply_in_the_order_given(tmp_path):
    array = random_array((3, 4), "u2")
    for reader in readers(tmp_path / "a.fits", array):
        halved = reader.astype("f4").then(partial(np.multiply, np.float32(0.5)))
        rounded = halved.then(np.floor).astype("i4").then(np.negative)
        found = pickle.loads(pickle.dumps(rounded)).read((0, 3), (1, 4))
        assert same(found, -(array[:, 1:4] // 2).astype("i4"))
        flags = reader.then(partial(np.equal, 3), dtype=bool)
        assert flags.dtype == bool
        assert same(flags.whole(), array == 3)


def fill_with_ones(array):
    array[:] = 1
    return array


def test_a_function_may_modify_its_argument():
    array = np.zeros((2, 2))
    assert ArrayReader(array).then(fill_with_ones).whole().all()
    assert not array.any()


def test_arrays_in_memory_are_never_changed(tmp_path):
    array = np.arange(12.0).reshape(3, 4)
    array.flags.writeable = False
    reader = ArrayReader(array)
    reader.read((0, 3), (0, 4))[:] = 0
    assert array[2, 3] == 11


def test_big_endian_and_one_dimensional_arrays():
    reader = ArrayReader(np.arange(5, dtype=">i4"))
    assert (reader.shape, reader.ndim) == ((5,), 1)
    assert reader.dtype.isnative
    assert same(reader.whole(), np.arange(5, dtype="i4"))
    assert reader.read((0, 1), (2, 4)).tolist() == [[2, 3]]


def test_a_one_dimensional_image(tmp_path):
    array = np.arange(100, dtype="f4")
    reader = write_image(tmp_path / "a.fits", array)
    assert reader.shape == (100,)
    assert same(reader.whole(), array)


@pytest.mark.parametrize("kind", ["gzip", "RICE_1", "GZIP_1", "scaled", "scaled float", "blank"])
def test_images_that_cannot_be_read_in_place_are_decoded_by_astropy(tmp_path, kind):
    path = tmp_path / "a.fits"
    array = random_array((2, 30, 40), "u2")
    hdu = fits.ImageHDU(array)
    if kind == "blank":
        path.write_bytes(
            primary() + image("A", 16, (40, 30, 2), array.astype(">i2").tobytes(), "BLANK = 5")
        )
    elif kind.startswith("scaled"):
        bitpix, stored = (-32, array.astype(">f4")) if "float" in kind else (16, array)
        cards = ("BSCALE = 0.5", "BZERO = 100")
        path.write_bytes(primary() + image("A", bitpix, (40, 30, 2), stored.tobytes(), *cards))
    else:
        if kind not in ("gzip",):
            hdu = fits.CompImageHDU(array, compression_type=kind)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
        if kind == "gzip":
            path.write_bytes(gzip.compress(path.read_bytes()))
    expected = fits.getdata(path, 1)
    reader = RowReader(read_layout(path).hdus[1])
    assert reader.dtype == expected.dtype.newbyteorder("=")
    assert same(reader.read((3, 20), (5, 40)), expected[:, 3:20, 5:40])
    found = reader.planes(slice(1, 2)).astype("f8").section(1, 9, 2, 8).whole()
    assert same(found, expected[1:2, 1:10, 2:10].astype("f8"))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_was_replaced_is_refused(tmp_path, compressed):
    path = tmp_path / "a.fits"
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    for value in (1, 2):
        hdus = fits.HDUList([fits.PrimaryHDU(), kind(np.full((30, 40), value, "i4"))])
        hdus.writeto(tmp_path / f"{value}.fits")
    (tmp_path / "1.fits").replace(path)
    os.utime(path, ns=(0, 10**18))
    reader = RowReader(read_layout(path).hdus[1])
    (tmp_path / "2.fits").replace(path)
    with pytest.raises(FileError, match=r"a\.fits: was replaced or changed"):
        reader.read((0, 1), (0, 1))
    path.unlink()
    with pytest.raises(FileError, match="there is no such file"):
        reader.read((0, 1), (0, 1))


def test_a_file_truncated_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.fits"
    reader = write_image(path, np.zeros((30, 40), "i4"))
    layout = read_layout(path)
    os.truncate(path, 5760 + 1000)
    os.utime(path, ns=(0, layout.mtime_ns))
    with pytest.raises(FileError, match="was replaced or changed"):
        reader.read((0, 30), (0, 40))


def test_a_file_truncated_after_it_was_opened_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.fits"
    reader = write_image(path, np.zeros((30, 40), "i4"))
    reads = []

    def cut_after_the_first(buffer):
        reads.append(buffer)
        os.truncate(path, 5760 + 1000)

    monkeypatch.setattr(byteorder, "to_native", cut_after_the_first)
    with pytest.raises(FileError, match=r"while reading: 160 bytes requested at byte 6720"):
        reader.read((0, 30), (0, 40))
    assert len(reads) == 6


def test_tables_and_empty_hdus_have_no_rows(tmp_path):
    path = tmp_path / "a.fits"
    table = fits.BinTableHDU(np.zeros(2, [("a", "i2")]), name="TAB")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    for hdu in read_layout(path).hdus:
        with pytest.raises(FileError, match="is not an image"):
            RowReader(hdu)


def test_kernels_are_compiled_ahead(tmp_path):
    warm_kernels()
    compiled = len(byteorder._swap_and_flip.dispatcher.signatures)
    for dtype in DTYPES:
        reader = write_image(tmp_path / f"{dtype}.fits", np.zeros((3, 4, 5), dtype))
        reader.read((1, 3), (0, 5))
        reader.astype("f4").read((1, 3), (1, 2))
    assert len(byteorder._swap_and_flip.dispatcher.signatures) == compiled


def test_real_files_read_as_astropy_reads_them(real_data):
    for path in sorted(real_data.glob("*/*.fits")):
        if path.parent.name == "bad_inputs":
            continue
        layout = read_layout(path)
        for hdu in layout.hdus:
            if hdu.kind != "image" or len(hdu.shape) < 2:
                continue
            with fits.open(path, memmap=False) as hdus:
                expected = hdus[hdu.index].data
            reader = RowReader(hdu)
            rows = (0, reader.shape[-2])
            cols = (3, min(50, reader.shape[-1]))
            assert same(reader.read(rows, cols), expected[..., slice(*cols)]), path


@pytest.mark.parametrize("card", ["ZCMPTYPE", "TFORM1", "ZTILE1"])
def test_damaged_compressed_images_are_file_errors(tmp_path, card):
    path = tmp_path / "a.fits"
    fits.CompImageHDU(random_array((30, 40), "i4")).writeto(path)
    content = path.read_bytes()
    at = content.index(card.encode().ljust(8) + b"=")
    path.write_bytes(content[:at] + b"DAMAGED " + content[at + 8 :])
    hdu = read_layout(path).hdus[1]
    with pytest.raises(FileError, match=r"a\.fits: HDU 1.* cannot be decoded: ") as caught:
        RowReader(hdu).read((0, 30), (0, 40))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
@pytest.mark.parametrize("cols", [[(0, 2), (7, 9)], [(3, 5), (0, 9), (4, 4)], [(8, 9), (8, 9)], []])
def test_columns_of_the_same_rows_are_read_in_one_pass(tmp_path, dtype, cols):
    array = random_array((2, 3, 7, 9), "u2")
    reader = write_image(tmp_path / "a.fits", array).astype(dtype).then(partial(np.add, 1))
    found = reader.read_beside((1, 6), cols)
    for (first, last), part in zip(cols, found, strict=True):
        assert same(part, array[..., 1:6, first:last].astype(dtype) + 1)
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(found, 2))
