"""Invalid files: each gives a one-line message that names the file and the fault."""

import errno
import os
import pickle
import warnings

import pytest
from support.fits_bytes import primary

from calbatch.models.errors import FileError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.fits.readers import RowReader
from calbatch.models.fits.tables import read_table

# The message of reading the layout; None if only the metadata or the instrument are wrong.
OPENING = {
    "ascii.fits": None,
    "checksum_false.fits": None,
    "history_header.fits": None,
    "invalid.asdf": "is a damaged ASDF file, not FITS",
    "jw00001001001_01101_00001_MIRIMAGE_uncal.0d017fa5.fits": None,
    "jw00034001001_01101_00001_NIRISS_uncal.25d1635b.fits": None,
    "jw01075001001_03105_00009_nrca2_uncal.fits": None,
    "jwst_bad_instrument.1923986e.fits": None,
    "jwst_bad_keyword.336e92d3.fits": None,
    "jwst_bad_type.bdb1b732.fits": None,
    "jwst_truncated.1625f78b.fits": (
        "truncated: HDU 1 needs 2880 bytes of data from byte 5760 on, but only 1240 are present"
    ),
    "jwst_truncated.7ac5c241.fits": (
        "truncated: the file ends in the header of HDU 0, after 1000 bytes"
    ),
    "lfs-pointer.fits": "is a Git LFS pointer, not the file itself: run `git lfs pull`",
    "s7g1700gl_dead_bad_xsum.fits": None,
    "zerowidth.fits": None,
}

VERIFYING = {
    "checksum_false.fits": (
        "HDU 0: the data do not match DATASUM: it is 3949466131, they add up to 3949456131"
    ),
    "s7g1700gl_dead_bad_xsum.fits": (
        "HDU 1: the data do not match DATASUM: it is 375880257, they add up to 375880323"
    ),
}

NOT_FITS = {
    b"": "is empty (0 bytes)",
    b"#ASDF 1.0.0\n": "is an ASDF file, not FITS",
    b"\x1f\x8bnot gzip at all": "damaged or truncated gzip data",
}


def opening(path):
    """Return the message of reading a layout, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read_layout(path)
        except FileError as error:
            return str(error)
    return None


def test_the_table_lists_every_file(real_data):
    assert sorted(p.name for p in (real_data / "bad_inputs").iterdir()) == sorted(OPENING)


@pytest.mark.parametrize("name", OPENING)
def test_opening(real_data, name):
    path = real_data / "bad_inputs" / name
    wanted = OPENING[name]
    assert opening(path) == (wanted and f"{path}: {wanted}")


@pytest.mark.parametrize("name", [name for name, message in OPENING.items() if message is None])
def test_verifying(real_data, name):
    layout = read_layout(real_data / "bad_inputs" / name)
    if name not in VERIFYING:
        assert verify_checksums(layout) == 0
        return
    with pytest.raises(FileError) as caught:
        verify_checksums(layout)
    assert str(caught.value) == f"{layout.path}: {VERIFYING[name]}"


@pytest.mark.parametrize("name", [name for name, message in OPENING.items() if message is None])
def test_files_that_open_can_be_read_completely(real_data, name):
    for hdu in read_layout(real_data / "bad_inputs" / name).hdus:
        assert hdu.header is not None
        if hdu.kind == "image":
            assert RowReader(hdu).whole().shape == hdu.shape
        if hdu.kind == "table":
            assert read_table(hdu).shape == hdu.shape


@pytest.mark.parametrize(("content", "message"), NOT_FITS.items())
def test_files_of_other_formats(tmp_path, content, message):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    found = opening(path)
    assert found.startswith(f"{path}: {message}")
    assert "\n" not in found


def test_paths_that_are_not_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere.fits")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").write_bytes(primary())
    messages = {
        ".": "is a directory, not a file",
        "pipe": "is not a regular file",  # reading does not wait for a writer
        "absent.fits": "there is no such file",
        "file/a.fits": "there is no such file: part of the path is not a directory",
        "dangling": "is a symbolic link to nowhere.fits, which does not exist",
        "circle": "its symbolic links form a loop",
        "x" * 300: f"cannot be read: {os.strerror(errno.ENAMETOOLONG)}",
    }
    for name, message in messages.items():
        assert opening(tmp_path / name) == f"{tmp_path / name}: {message}"
    path = tmp_path / "nul\0"
    assert opening(path).startswith(f"{path}: is not a path: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(primary())
    path.chmod(0)
    assert opening(path) == f"{path}: no permission to read it"


def test_errors_pickle():
    with pytest.raises(FileError) as caught:
        read_layout("absent.fits")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is type(caught.value)
    assert str(copy) == str(caught.value)
