"""Decoded copies: made once per host, with exact values, within a total size."""

import gzip
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models.errors import FileError
from calbatch.models.fits.decoded_copies import DecodedCopies, is_readable_in_place
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.readers import RowReader

DATA = np.arange(60, dtype=np.float32).reshape(4, 15) - 7


def scaled_hdu():
    hdu = fits.ImageHDU(DATA.copy(), name="SCI")
    hdu.scale("int16", bzero=3.0, bscale=0.5)
    return hdu


HDUS = {
    "float": lambda: fits.ImageHDU(DATA, name="SCI"),
    "unsigned": lambda: fits.ImageHDU(np.arange(5, dtype=np.uint16), name="SCI"),
    "signed byte": lambda: fits.ImageHDU(np.arange(-5, 5, dtype=np.int8), name="SCI"),
    "table": lambda: fits.BinTableHDU(np.ones(3, [("a", "i4"), ("b", "f8", 2)]), name="SCI"),
    "scaled": scaled_hdu,
    "compressed": lambda: fits.CompImageHDU(DATA.astype(np.int32), name="SCI"),
}
PLAIN = {"float", "unsigned", "signed byte", "table"}


@pytest.fixture
def store(tmp_path):
    return DecodedCopies(tmp_path / "store")


@pytest.fixture(params=HDUS)
def kind(request):
    return request.param


def write(path, kind):
    header = fits.Header({"META": "kept"})
    fits.HDUList([fits.PrimaryHDU(header=header), HDUS[kind]()]).writeto(path)
    return path


def test_only_files_that_are_not_readable_in_place_are_decoded(tmp_path, store, kind):
    path = write(tmp_path / "x.fits", kind)
    assert is_readable_in_place(path) == (kind in PLAIN)
    plain = store.plain_file(path)
    assert (plain == path) == (kind in PLAIN)
    assert is_readable_in_place(plain)
    with fits.open(path) as before, fits.open(plain) as after:
        assert after[0].header["META"] == "kept"
        np.testing.assert_array_equal(after["SCI"].data, before["SCI"].data)


def test_gzipped_files(tmp_path, store, kind):
    path = write(tmp_path / "x.fits", kind)
    packed = tmp_path / "x.fits.gz"
    with path.open("rb") as source, gzip.open(packed, "wb") as out:
        shutil.copyfileobj(source, out)
    plain = store.plain_file(packed)
    assert is_readable_in_place(plain)
    with fits.open(path) as before, fits.open(plain) as after:
        np.testing.assert_array_equal(after["SCI"].data, before["SCI"].data)


def test_other_kinds_of_file_are_not_copied(tmp_path, store):
    path = tmp_path / "x.asdf"
    path.write_text("#ASDF 1.0.0")
    assert store.plain_file(path) == path


def test_a_changed_reference_is_decoded_again(tmp_path, store):
    path = write(tmp_path / "x.fits", "scaled")
    first = store.plain_file(path)
    assert store.plain_file(path) == first
    path.unlink()
    os.utime(write(path, "compressed"), (1, 1))
    assert store.plain_file(path) != first


def test_tables_are_rows_in_native_byte_order(tmp_path, store):
    path = write(tmp_path / "x.fits", "table")
    rows = np.load(store.table_file(path, "SCI"), mmap_mode="r", allow_pickle=False)
    assert rows.dtype["b"].base.isnative
    assert rows.shape == (3,)
    np.testing.assert_array_equal(rows["b"], np.ones((3, 2)))
    with pytest.raises(FileError, match="cannot be decoded"):
        store.table_file(path, "NOTHING")


def test_a_damaged_file_is_named(tmp_path, store):
    path = tmp_path / "x.fits.gz"
    path.write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(FileError, match=rf"^{path}: cannot be decoded"):
        store.plain_file(path)
    assert list(store.copies()) == []


def test_the_least_recently_used_copies_are_removed(tmp_path, store):
    paths = [write(tmp_path / f"{number}.fits", "scaled") for number in range(4)]
    copies = [store.plain_file(path) for path in paths]
    size = copies[0].stat().st_size
    for age, copy in enumerate(copies):  # the first is the most recently used
        os.utime(copy, (1e9 - age, 1e9 - age))
    small = DecodedCopies(store.folder, max_bytes=3 * size)
    small.plain_file(write(tmp_path / "new.fits", "scaled"))
    assert [copy.exists() for copy in copies] == [True, True, False, False]


def test_using_a_copy_renews_its_time_and_leaves_the_others_alone(tmp_path, store):
    paths = [write(tmp_path / f"{number}.fits", "scaled") for number in range(2)]
    copies = [store.plain_file(path) for path in paths]
    written = [copy.stat().st_mtime_ns for copy in copies]
    for copy in copies:
        os.utime(copy, ns=(10**18, copy.stat().st_mtime_ns))
    assert DecodedCopies(store.folder, max_bytes=0).plain_file(paths[0]) == copies[0]
    used, unused = (copy.stat() for copy in copies)
    assert used.st_atime_ns > unused.st_atime_ns == 10**18
    assert [used.st_mtime_ns, unused.st_mtime_ns] == written


def test_the_number_of_locks_is_limited(tmp_path, store):
    path = write(tmp_path / "x.fits", "table")
    for number in range(300):
        os.utime(path, (number, number))  # as if it had been replaced
        store.table_file(path, "SCI")
    assert len(list(store.copies())) == 300
    assert len(list(store.folder.glob(".*"))) <= 256


@pytest.mark.parametrize("kind", ["scaled", "compressed"])
def test_a_copy_that_another_process_has_removed_is_made_again(tmp_path, store, kind):
    path = write(tmp_path / "x.fits", kind)
    reader = RowReader(read_layout(path).hdus[1], store)
    before = reader.whole()
    np.testing.assert_array_equal(before, fits.getdata(path, "SCI"))
    shutil.rmtree(store.folder)
    np.testing.assert_array_equal(reader.whole(), before)


DECODE = """
import sys
from calbatch.models.fits.decoded_copies import DecodedCopies
for _ in range(3):
    copy = DecodedCopies(sys.argv[1]).plain_file(sys.argv[2])
    print(copy, copy.stat().st_ino)
"""


def test_many_processes_share_one_copy(tmp_path, store):
    path = write(tmp_path / "x.fits", "compressed")
    command = [sys.executable, "-c", DECODE, store.folder, path]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert len(lines) == 12
    assert len(set(lines)) == 1
