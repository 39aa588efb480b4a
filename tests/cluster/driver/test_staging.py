"""Staging folders; tests/cluster/test_fence.py has workers publish out of them."""

import os
import stat
import subprocess

import pytest
from support.driven_batches import Batch, failing_times, omit_delays
from support.fakes import FakeSite

from calbatch.cluster.driver import staging as staging_module
from calbatch.cluster.driver.staging import (
    NAME,
    RETIRED,
    ObjectStaging,
    Staging,
    fence_earlier_drivers,
    retire_folder,
    take_over,
)
from calbatch.cluster.errors import FencedError, RequestError
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.cluster.folder import STATE, BatchFolder
from calbatch.models.errors import FileError, StorageError
from calbatch.models.storage.location import location
from calbatch.models.storage.upload_permits import Permit


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch):
    omit_delays(monkeypatch)


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


def test_taking_over_removes_leftovers_of_earlier_drivers(tmp_path, state):
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


def test_files_that_nfs_keeps_for_a_process_are_left_to_it(tmp_path, state):
    """Like such a file, one that another file is mounted on cannot be removed."""
    kept, other = state / NAME / "0-1" / ".nfs0001", tmp_path / "other"
    kept.parent.mkdir(parents=True)
    for path in (kept, other, kept.with_name("a.fits")):
        path.write_bytes(b"x")
    if subprocess.run(["mount", "--bind", other, kept], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        fence_earlier_drivers(state)
    finally:
        (left,) = state.rglob(".nfs*")
        subprocess.run(["umount", left], check=True)
    assert not (state / NAME).exists()


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


class FakePermits:
    """Upload permits in memory."""

    marker, remark = "s3://bucket/out/.calbatch/driver-1", "conditional writes are missing"

    def __init__(self, output, generation):
        self.valid, self.held, self.error = set(), False, None

    def claim(self):
        self.held = True

    def issue(self, attempt):
        self.valid.add(attempt)
        return Permit(self.marker, attempt)

    def revoke(self, permit):
        self.valid.discard(permit.attempt)

    def release(self):
        self.held = False

    def is_held(self):
        return self.held


class Refusing(FakePermits):
    """An object store that cannot be written."""

    asked = False

    def claim(self):
        raise StorageError(self.marker, "access denied")

    def release(self):
        self.asked = True
        raise StorageError(self.marker, "access denied")


class TestObjectStores:
    @pytest.fixture
    def staging(self, monkeypatch):
        monkeypatch.setattr(staging_module, "Permits", FakePermits)
        monkeypatch.setattr(staging_module, "LOOK_EVERY", -1.0)
        return take_over(BatchFolder(location("s3://bucket/out"), "b"))

    def test_each_attempt_has_a_permit_until_it_is_removed(self, staging):
        assert isinstance(staging, ObjectStaging)
        assert staging.remark == FakePermits.remark
        first, second = staging.place_for(0, 1), staging.place_for(0, 2)
        staging.make(first)
        staging.remove(first, ended=False)
        staging.remove(second, ended=True)
        assert staging._permits.valid == {"0-2"}

    def test_a_driver_notices_that_another_one_has_taken_over(self, staging):
        staging.make(staging.place_for(0, 1))
        staging._permits.held = False
        with pytest.raises(FencedError, match="another driver has taken over"):
            staging.make(staging.place_for(1, 1))

    def test_closing_withdraws_all_permits(self, staging):
        staging.close()
        assert not staging._permits.held

    def test_an_object_store_that_refuses_is_an_error(self, monkeypatch):
        monkeypatch.setattr(staging_module, "Permits", Refusing)
        with pytest.raises(RequestError, match=r"cannot keep workers .*: access denied"):
            ObjectStaging(location("s3://bucket/out"))

    def test_permits_that_cannot_be_withdrawn_are_left_to_the_next_driver(
        self, staging, monkeypatch
    ):
        permits = Refusing("s3://bucket/out", "2")
        monkeypatch.setattr(staging, "_permits", permits)
        staging.close()
        assert permits.asked


# -- in a driver -------------------------------------------------------------------------------


def test_each_attempt_has_a_staging_folder_which_is_removed(tmp_path):
    staging = Staging(tmp_path / "state")
    batch, seen = Batch(tmp_path, staging=staging), []

    def work(job):
        seen.append(job.staging.is_dir())
        return failing(job)

    failing = failing_times({0: 1}, FailureKind.STORAGE)
    batch.run(FakeSite(work))
    assert seen == [True] * 5
    assert list(staging.folder.iterdir()) == []


def test_a_driver_that_was_fenced_off_stops(tmp_path):
    staging = Staging(tmp_path / "state")
    fence_earlier_drivers(tmp_path / "state")
    batch = Batch(tmp_path, staging=staging)
    driver = batch.run(FakeSite())
    assert driver.stopping.endswith("another driver has taken over the output folder")
    assert "done" not in batch.states


def test_a_batch_ends_if_an_attempt_cannot_be_fenced(tmp_path):
    staging = Staging(tmp_path / "state")
    batch = Batch(tmp_path, staging=staging)

    def remove(folder, *, ended):
        raise OSError("busy")

    staging.remove = remove
    driver = batch.run(FakeSite())
    assert "cannot keep an attempt from publishing products: busy" in driver.stopping
    assert "staging" in [kind for kind, _ in batch.events]


def test_a_staging_folder_that_cannot_be_made_fails_the_exposure(tmp_path):
    staging = Staging(tmp_path / "state")
    batch = Batch(tmp_path, count=1, staging=staging)

    def make(folder):
        raise FileError(folder, "cannot be made")

    staging.make = make
    batch.run(FakeSite())
    assert batch.states == ["failed"]
