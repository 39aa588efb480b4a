"""Staging folders; tests/cluster/test_fence.py has workers publish out of them."""

import os
import stat

import pytest

from calbatch.cluster.driver.staging import (
    NAME,
    RETIRED,
    Staging,
    fence_earlier_drivers,
    retire_folder,
    take_over,
)
from calbatch.cluster.errors import FencedError, RequestError
from calbatch.cluster.folder import STATE, BatchFolder


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / STATE
    folder.mkdir()
    return folder


def test_each_attempt_has_a_private_folder(state):
    staging = Staging(state)
    folder = staging.place_for(3, 2)
    assert folder.name == "3-2"
    assert not folder.exists()
    staging.make(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.parent == staging.folder
    assert folder.parent.parent == state / NAME


def test_an_ended_attempt_is_removed_with_its_files(state):
    staging = Staging(state)
    for files in ((), ("a.fits", "b.fits")):
        folder = staging.place_for(0, len(files))
        staging.make(folder)
        for name in files:
            (folder / name).write_bytes(b"x")
        staging.remove(folder, ended=True)
        assert not folder.exists()
        staging.remove(folder, ended=True)
    assert not list(state.glob(f"{RETIRED}*"))


def test_closing_removes_all_folders(state):
    staging = Staging(state)
    staging.make(staging.place_for(0, 1))
    staging.close()
    staging.close()
    assert list(state.iterdir()) == []


def test_closing_leaves_the_folders_of_a_successor(state):
    first = Staging(state)
    first.folder.parent.joinpath("other").mkdir()
    first.close()
    assert (state / NAME / "other").is_dir()


def test_taking_over_removes_what_earlier_drivers_left(tmp_path, state):
    first = Staging(state)
    folder = first.place_for(0, 1)
    first.make(folder)
    (folder / "a.fits").write_bytes(b"x")
    (state / f"{RETIRED}killed").mkdir()
    second = take_over(BatchFolder(tmp_path, "b"))
    assert isinstance(second, Staging)
    assert second.remark == ""
    assert not folder.exists()
    assert list(state.iterdir()) == [state / NAME]
    assert list((state / NAME).iterdir()) == [second.folder]
    with pytest.raises(FencedError, match="another driver has taken over"):
        first.make(first.place_for(1, 1))


def test_links_are_removed_but_not_followed(tmp_path, state):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_bytes(b"x")
    (state / NAME).symlink_to(victim)
    fence_earlier_drivers(state)
    assert not (state / NAME).is_symlink()
    assert (victim / "precious").exists()


def test_retiring_a_missing_folder_does_nothing(state):
    retire_folder(state / "absent", state)
    assert list(state.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove everything")
def test_folders_that_cannot_be_removed_are_an_error(state, monkeypatch):
    monkeypatch.setattr("calbatch.cluster.driver.staging.PATIENCE", 0.0)
    (state / NAME / "other").mkdir(parents=True)
    state.chmod(0o500)
    with pytest.raises(RequestError, match="cannot remove the unfinished products"):
        Staging(state)
    state.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RequestError):
        Staging(tmp_path / "file")
