"""The layout of a cache, and names and links that would leave it."""

import os
import pickle
from pathlib import Path

import pytest

from calbatch.crds_client.answers import MAX_ANSWER
from calbatch.crds_client.cache.layout import Cache
from calbatch.crds_client.errors import ContextError, CrdsError, ReferenceMissing, UnsafeName

NAME = "jwst_nircam_dark_0001.fits"


@pytest.fixture
def cache(tmp_path):
    for folder in ("mappings/jwst", "references/jwst/nircam", "config/jwst"):
        (tmp_path / "cache" / folder).mkdir(parents=True)
    return Cache(tmp_path / "cache")


@pytest.mark.parametrize("folder", ["", "nircam"])
def test_finds_references_in_either_layout(cache, folder):
    path = cache.references / folder / NAME
    path.write_text("x")
    assert cache.locate(NAME) == path


def test_new_files_follow_the_configured_layout(cache):
    assert cache.new_path(NAME) == cache.references / "nircam" / NAME
    (cache.config / "ref_cache_subdir_mode").write_text("flat\n")
    assert cache.new_path(NAME) == cache.references / NAME
    assert cache.new_path("jwst_0001.pmap") == cache.mappings / "jwst_0001.pmap"


def test_a_missing_file_says_how_to_fetch_it(cache):
    with pytest.raises(ReferenceMissing, match=f"calbatch refs sync --files {NAME}") as raised:
        cache.locate(NAME)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (again.name, str(again)) == (NAME, str(raised.value))


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "a/b.fits", "..", "", ".hidden", "a\\b", "a\0b", "a\nb", "a..b/c",
     "jwst_.._dark_0001.fits", "x" * 300],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_rejected(cache, name):
    for use in (cache.locate, cache.find, cache.new_path):
        with pytest.raises(UnsafeName):
            use(name)


def test_links_that_leave_the_cache_are_rejected(cache, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / NAME).write_text("secret")
    link = cache.references / "nircam" / NAME
    link.symlink_to(outside / NAME)
    with pytest.raises(UnsafeName, match="link"):
        cache.locate(NAME)
    link.unlink()
    (cache.references / "nircam").rmdir()
    (cache.references / "nircam").symlink_to(outside)
    with pytest.raises(UnsafeName, match="link"):
        cache.locate(NAME)


def test_links_within_the_cache_and_of_its_top_folders_are_accepted(cache, tmp_path):
    (cache.references / NAME).write_text("x")
    (cache.references / "nircam" / NAME).symlink_to(cache.references / NAME)
    assert cache.locate(NAME).read_text() == "x"
    moved = tmp_path / "elsewhere"
    cache.references.rename(moved)
    cache.references.symlink_to(moved)
    assert cache.locate(NAME).read_text() == "x"


def test_lists_contexts_by_number(cache):
    for number in ("0999", "1000", "0003"):
        (cache.mappings / f"jwst_{number}.pmap").touch()
    (cache.mappings / "jwst_x.pmap").touch()
    assert cache.contexts() == ["jwst_0003.pmap", "jwst_0999.pmap", "jwst_1000.pmap"]


def test_server_config_must_be_a_literal(cache):
    assert cache.server_config() == {}
    path = cache.config / "server_config"
    path.write_text("{'bad_files_list': ['x.fits']}")
    assert cache.bad_files() == {"x.fits"}
    path.write_text("__import__('os')")
    with pytest.raises(ContextError, match="server_config"):
        cache.server_config()


def list_descriptors():
    """Return the names of this process's open descriptors, with that of the listing itself."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def make_pipe(path):
    os.mkfifo(path)


def make_endless(path):
    path.symlink_to("/dev/zero")


def make_long(path):
    with path.open("wb") as file:
        file.truncate(MAX_ANSWER + 1)


@pytest.mark.parametrize("make", [make_pipe, make_endless, make_long, os.mkdir])
def test_files_that_cannot_be_read_are_named_without_waiting(cache, make):
    for name, read in (("bad_files.txt", cache.bad_files), ("server_config", cache.server_config)):
        make(cache.config / name)
        with pytest.raises(ContextError, match=f"config/jwst/{name}: "):
            read()
    before = list_descriptors()
    make(cache.config / "ref_cache_subdir_mode")
    assert cache.layout == "instrument"
    assert list_descriptors() == before


def test_rules_that_are_too_long_are_not_read(cache):
    make_long(cache.mappings / "jwst_0001.pmap")
    with pytest.raises(CrdsError, match=r"jwst_0001\.pmap.* longer than"):
        cache.read_mapping("jwst_0001.pmap")


def test_real_server_config(real_data):
    cache = Cache(real_data / "crds")
    assert cache.server_config()["operational_context"] == "jwst_0541.pmap"
    assert "jwst_miri_dark_0025.fits" in cache.bad_files()
