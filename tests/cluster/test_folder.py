"""The files of a batch, and the registry in which users' batches are found."""

import json
import os
import re
import stat

import pytest

from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import (
    STATE,
    BatchFolder,
    find_batch,
    find_registered,
    forget_batch,
    make_batch_name,
    registry,
    remove_batch,
    state_of,
)
from calbatch.cluster.ledger import Ledger
from calbatch.models.storage.location import location

NAMES = ("20240131-120000-aaaa", "20240131-120000-bbbb", "20240201-120000-cccc")


@pytest.fixture(autouse=True)
def _own_registry(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "registry"))


@pytest.fixture
def batches(tmp_path):
    """Make three batches in one output folder."""
    (tmp_path / "out").mkdir()
    found = [BatchFolder(tmp_path / "out", name) for name in NAMES]
    with Ledger(state_of(tmp_path / "out")) as ledger:
        for number, folder in enumerate(found):
            folder.make()
            os.utime(registry() / f"{folder.name}.json", ns=(number, number))
            ledger.add_batch(folder.name, "jump", [], request={}, parameters={}, software={})
    return found


def test_names_sort_by_time_and_are_unlikely_to_clash():
    names = {make_batch_name() for _ in range(50)}
    assert len(names) > 45
    assert all(re.fullmatch(r"\d{8}-\d{6}-[a-z2-9]{4}", name) for name in names)


def test_the_files_of_a_batch_are_private(batches):
    folder = batches[0]
    assert folder.path == folder.output / STATE / NAMES[0]
    for made in (folder.state, folder.path, folder.logs, registry()):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    files = (folder.config, folder.manifest, folder.control, folder.pid, folder.job, folder.log)
    assert {file.parent for file in files} == {folder.path}
    assert len(set(files)) == len(files)
    assert folder.unfinished == folder.output


def test_the_state_of_a_url_is_in_the_registry():
    url = location("s3://bucket/out")
    assert state_of(url).parent == registry() / "elsewhere"
    assert state_of(url) == state_of(location("s3://bucket/out/"))
    assert state_of(url) != state_of(location("s3://bucket/other"))
    folder = BatchFolder(url, NAMES[0])
    folder.make()
    assert folder.path.is_dir()
    assert [found.output for found in find_registered()] == [url]


def test_the_registry_is_in_the_xdg_state_directory_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("CALBATCH_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert registry() == tmp_path / "xdg" / "calbatch"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry() == tmp_path / ".local" / "state" / "calbatch"


def test_registered_batches_are_listed_oldest_first(batches):
    assert [folder.name for folder in find_registered()] == list(NAMES)
    forget_batch(batches[1])
    forget_batch(batches[1])
    assert [folder.name for folder in find_registered()] == [NAMES[0], NAMES[2]]


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", json.dumps({"output": 5}), json.dumps({"output": "/nowhere"})]
)
def test_damaged_and_outdated_notes_are_ignored(batches, text):
    (registry() / f"{NAMES[1]}.json").write_text(text)
    (registry() / "notes.json").write_text(json.dumps({"output": str(batches[0].output)}))
    assert {folder.name for folder in find_registered()} == {NAMES[0], NAMES[2]}


def test_a_registry_that_others_can_write_is_refused(batches):
    registry().chmod(0o777)
    with pytest.raises(RequestError, match="CALBATCH_STATE_DIR"):
        list(find_registered())


def test_removing_a_batch_leaves_the_others(batches):
    remove_batch(batches[0])
    assert not batches[0].path.exists()
    assert [folder.name for folder in find_registered()] == list(NAMES[1:])


def test_a_batch_is_found_by_name_prefix_folder_or_as_the_latest(batches):
    assert find_batch(NAMES[1]) == batches[1]
    assert find_batch("202402") == batches[2]
    assert find_batch(str(batches[0].output)) == batches[2]
    assert find_batch(None) == batches[2]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ("", "the name of the batch is empty"),
        ("20240131", f"the names of 2 batches start with this: {NAMES[0]}, {NAMES[1]}"),
        ("absent", "neither one of your batches"),
    ],
)
def test_an_ambiguous_or_unknown_batch_is_an_error(batches, batch, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        find_batch(batch)


def test_without_batches_there_is_no_latest_one():
    with pytest.raises(RequestError, match="you have no batches yet"):
        find_batch(None)


def test_a_batch_can_be_made_without_a_registry(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "file" / "registry"))
    folder = BatchFolder(tmp_path, NAMES[0])
    folder.make()
    assert folder.path.is_dir()
