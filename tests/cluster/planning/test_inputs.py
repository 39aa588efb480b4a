"""Finding the inputs of a batch, and checking its output folder."""

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.inputs import (
    find_exposures,
    natural_key,
    refuse_name_clashes,
    require_writable_folder,
    total_bytes,
)
from calbatch.models.storage.listing import is_match

RAW = "*_uncal.fits"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b10_uncal.fits", "b9_uncal.fits", "b9_rate.fits", "notes.txt"):
        (tmp_path / name).write_bytes(b"abc")
    (tmp_path / "sub_uncal.fits").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(paths):
    return [p.name for p in paths]


def test_a_folder_yields_its_exposures_in_natural_order(folder):
    assert names(find_exposures([str(folder)], RAW)) == ["b9_uncal.fits", "b10_uncal.fits"]


def test_inputs_are_absolute(folder):
    """Workers on a scheduler elsewhere have another working folder."""
    assert all(p.is_absolute() for p in find_exposures([".", "b9_rate.fits", "b*_rate.fits"], RAW))


def test_a_file_given_by_name_is_always_an_input(folder):
    assert names(find_exposures(["notes.txt"], RAW)) == ["notes.txt"]


def test_each_file_counts_once(folder):
    found = find_exposures(["b9_uncal.fits", ".", str(folder / "b9_uncal.fits")], RAW)
    assert names(found) == ["b9_uncal.fits", "b10_uncal.fits"]


def test_globs_are_expanded(folder):
    assert names(find_exposures(["b*_rate.fits"], RAW)) == ["b9_rate.fits"]
    assert names(find_exposures([f"{folder}/b?_*.fits"], RAW)) == ["b9_rate.fits", "b9_uncal.fits"]


def test_a_dangling_link_is_an_input(folder):
    """It fails by itself and does not end the batch."""
    (folder / "link_uncal.fits").symlink_to("nowhere")
    assert "link_uncal.fits" in names(find_exposures([str(folder)], RAW))
    assert names(find_exposures(["link_uncal.fits"], RAW)) == ["link_uncal.fits"]


@pytest.mark.parametrize(
    "name",
    ["A_UNCAL.FITS", "a-uncal.fits", "a_uncal.FITS", "a_uncal.fits.gz", "a_uncal.fits.fz"],
)
def test_exposures_are_found_in_any_spelling(tmp_path, name):
    (tmp_path / name).write_bytes(b"abc")
    (tmp_path / f"._{name}").write_bytes(b"macOS leaves such files")
    (tmp_path / f".{name}.part").write_bytes(b"unfinished")
    assert names(find_exposures([str(tmp_path)], RAW)) == [name]
    assert names(find_exposures([str(tmp_path)], "*.fits")) == [name]


@given(
    st.from_regex(r"[a-z0-9_.-]{1,9}", fullmatch=True).filter(lambda stem: stem[0] != "."),
    st.sampled_from("_-"),
    st.sampled_from(["", ".gz", ".fz"]),
    st.booleans(),
)
def test_a_pattern_matches_every_spelling_but_no_hidden_file(stem, separator, compressed, capital):
    name = f"{stem}{separator}uncal.fits{compressed}"
    name = name.upper() if capital else name
    assert is_match(name, RAW)
    assert is_match(name, "*.fits")
    assert not is_match(f".{name}", RAW)
    assert not is_match(f"{name}x", RAW)


@pytest.fixture
def nights(tmp_path):
    for place in ("n2/a_uncal.fits", "n10/b_uncal.fits.gz", ".calbatch/c_uncal.fits", "n2/d.txt"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"abc")
    (tmp_path / "n2" / "round").symlink_to(tmp_path)
    return tmp_path


def test_subfolders_are_mentioned_and_searched_on_request(nights):
    with pytest.raises(RequestError) as caught:
        find_exposures([str(nights)], RAW)
    assert str(caught.value) == (
        f"no exposures: the folder {nights} has no files *_uncal.fits, but its subfolders "
        "do: use --recursive to include them"
    )
    found = find_exposures([str(nights)], RAW, recursive=True)
    assert found == [nights / "n2/a_uncal.fits", nights / "n10/b_uncal.fits.gz"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("empty", "no exposures: the folder empty has no files *_uncal.fits"),
        ("x*.fits", "no exposures: nothing matches x*.fits"),
        ("absent.fits", "no exposures: there is no file or folder absent.fits"),
    ],
)
def test_a_request_without_exposures_is_refused(folder, request_, message):
    (folder / "empty").mkdir()
    with pytest.raises(RequestError) as caught:
        find_exposures([".", request_], RAW)
    assert str(caught.value) == message


@given(st.lists(st.from_regex(r"[a-z]{0,2}[0-9]{0,3}", fullmatch=True), min_size=1, unique=True))
def test_numbers_in_names_are_sorted_as_numbers(stems):
    ordered = sorted((Path(s) for s in stems), key=natural_key)
    for letters in {s.rstrip("0123456789") for s in stems}:
        numbers = [int(str(p)[len(letters) :]) for p in ordered if is_numbered(str(p), letters)]
        assert numbers == sorted(numbers)


@given(st.lists(st.from_regex(r"[a-z.]{0,2}([0-9]{1,12}[a-c]{0,2}){0,3}", fullmatch=True)))
def test_names_are_sorted_by_their_words_and_numbers(names):
    def split(path):
        parts = re.split(r"(\d+)", str(path))
        return [int(part) if part.isdecimal() else part for part in parts]

    paths = [Path("in", name) for name in names]
    assert sorted(paths, key=natural_key) == sorted(paths, key=split)


def is_numbered(name, letters):
    return name.startswith(letters) and name[len(letters) :].isdecimal()


def test_inputs_with_the_same_name_are_refused(folder):
    (folder / "other").mkdir()
    twin = folder / "other" / "b9_uncal.fits"
    twin.write_bytes(b"")
    paths = find_exposures([".", str(twin)], RAW)
    with pytest.raises(RequestError) as caught:
        refuse_name_clashes(paths)
    assert str(folder / "b9_uncal.fits") in str(caught.value)
    assert str(twin) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".gz", ".fz"])
def test_compressed_and_uncompressed_copies_are_refused(tmp_path, ending):
    for name in ("x_uncal.fits", f"x_uncal.fits{ending}"):
        (tmp_path / name).write_bytes(b"abc")
    with pytest.raises(RequestError) as caught:
        refuse_name_clashes(find_exposures([str(tmp_path)], RAW))
    assert str(caught.value) == (
        f"the products of {tmp_path}/x_uncal.fits and {tmp_path}/x_uncal.fits{ending} would both "
        "be x_*.fits: they seem to be one exposure, compressed and uncompressed: "
        "name one of the files"
    )


def test_one_exposure_at_two_stages_is_refused(folder):
    with pytest.raises(RequestError, match="both be"):
        refuse_name_clashes([folder / "a_rate.fits", folder / "a_rateints.fits"])


def test_missing_files_count_as_empty(folder):
    assert total_bytes([folder / "b9_rate.fits", folder / "gone"]) == 3


def test_an_output_folder_is_created(tmp_path):
    made = require_writable_folder(tmp_path / "a" / "b")
    assert made.is_dir()
    assert list(made.iterdir()) == []


def test_an_output_folder_that_is_a_file_is_refused(folder):
    exists, no_folder = os.strerror(errno.EEXIST), os.strerror(errno.ENOTDIR)
    with pytest.raises(RequestError, match=rf"cannot write to .*notes\.txt: {exists}"):
        require_writable_folder(folder / "notes.txt")
    with pytest.raises(RequestError, match=rf"cannot write to .*notes\.txt/out: {no_folder}"):
        require_writable_folder(folder / "notes.txt" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RequestError, match=os.strerror(errno.EACCES)):
        require_writable_folder(tmp_path)
