"""Listings: the names that a pattern matches, and the objects of folders and globs."""

import fsspec
import pytest

from calbatch.models.errors import FileError
from calbatch.models.storage import listing
from calbatch.models.storage.listing import is_match, list_objects, require_writable, total_size
from calbatch.models.storage.location import Url

ROOT = Url("memory://listing/raw")
PATTERN = "*_uncal.fits"
NAMES = ["a_uncal.fits", "b-uncal.fits.gz", "deep/er/c_UNCAL.fits", "deep/d_rate.fits"]
HIDDEN = ["._a_uncal.fits", ".trash/e_uncal.fits"]


@pytest.fixture(autouse=True)
def files():
    files = fsspec.filesystem("memory")
    for size, name in enumerate([*NAMES, *HIDDEN], 1):
        files.pipe_file(f"/listing/raw/{name}", bytes(size))
    yield files
    files.rm("/listing", recursive=True)


@pytest.mark.parametrize(
    "name",
    ["a_uncal.fits", "a-uncal.fits", "A_UNCAL.FITS", "a_uncal.fits.gz", "a_uncal.FITS.fz"],
)
def test_names_that_match(name):
    assert is_match(name, PATTERN)


@pytest.mark.parametrize(
    "name", ["._a_uncal.fits", ".a_uncal.fits", "a_rate.fits", "a_uncal.fits.zip", "auncal.fits"]
)
def test_names_that_do_not_match(name):
    assert not is_match(name, PATTERN)


def test_an_object_stands_for_itself():
    url = ROOT / "deep/d_rate.fits"
    assert list_objects(url, PATTERN) == [url]


def test_a_folder_stands_for_its_matching_objects():
    assert list_objects(ROOT, PATTERN) == [ROOT / "a_uncal.fits", ROOT / "b-uncal.fits.gz"]


def test_a_recursive_listing_leaves_out_hidden_folders():
    found = list_objects(ROOT, PATTERN, recursive=True)
    expected = ["a_uncal.fits", "b-uncal.fits.gz", "deep/er/c_UNCAL.fits"]
    assert sorted(found) == [ROOT / name for name in expected]


def test_a_glob_stands_for_the_objects_that_match_it():
    assert list_objects(ROOT / "*.fits", PATTERN) == [ROOT / "a_uncal.fits"]
    assert list_objects(ROOT / "**" / "d_*.fits", PATTERN) == [ROOT / "deep/d_rate.fits"]
    assert list_objects(ROOT / "._*.fits", PATTERN) == [ROOT / "._a_uncal.fits"]


def test_a_missing_folder_is_reported():
    with pytest.raises(FileError, match="memory://listing/absent: there is no such object"):
        list_objects(Url("memory://listing/absent"), PATTERN)


@pytest.mark.parametrize("many", [1, 100], ids=["listed", "one by one"])
def test_sizes_add_up_and_missing_objects_count_nothing(monkeypatch, many):
    monkeypatch.setattr(listing, "_MANY", many)
    urls = [ROOT / "a_uncal.fits", ROOT / "b-uncal.fits.gz", ROOT / "absent.fits"]
    elsewhere = [ROOT / "deep/d_rate.fits", Url("memory://nowhere/a.fits")]
    assert total_size([*urls, *elsewhere]) == 1 + 2 + 4


def test_a_writable_folder_is_left_as_it_was(files):
    before = files.find("/listing")
    require_writable(ROOT)
    assert files.find("/listing") == before


def test_a_read_only_protocol_is_rejected():
    with pytest.raises(FileError, match="cannot be written: https is read-only"):
        require_writable(Url("https://127.0.0.1:9/out"))


def test_a_folder_that_refuses_is_reported(monkeypatch, files):
    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(type(files), "pipe_file", refuse)
    with pytest.raises(FileError, match="memory://listing/raw: writing is not permitted"):
        require_writable(ROOT)
