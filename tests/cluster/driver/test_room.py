"""Room on the disk and in the ledger."""

from types import SimpleNamespace

import pytest

from calbatch.cluster.driver import room as room_module
from calbatch.cluster.driver.room import ROOM_LEFT, Room, describe_unwritable, wait_for_commit
from calbatch.cluster.ledger.sqlite_errors import CommitFailure


class FakeLedger:
    """A ledger that cannot be written for some commits."""

    path = "/out/ledger.sqlite"

    def __init__(self, failures=0):
        self.failures = failures
        self.stuck = CommitFailure(1.0, "disk I/O error") if failures else None

    def commit(self):
        self.failures -= 1
        if self.failures <= 0:
            self.stuck = None
        return self.stuck is None


class FakeRecorder:
    """Collects events and messages."""

    def __init__(self, ledger=None):
        self.ledger = ledger or FakeLedger()
        self.events, self.said = [], []

    def record_event(self, kind, text):
        self.events.append(kind)

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def disk(monkeypatch):
    found = SimpleNamespace(free=10 * ROOM_LEFT)
    monkeypatch.setattr(room_module.shutil, "disk_usage", lambda path: found)
    return found


def test_there_is_room_while_the_largest_products_fit(disk, tmp_path):
    recorder = FakeRecorder()
    room = Room(tmp_path, recorder, patience=600.0)
    assert room.is_available(busy=False)
    room.expect(9 * ROOM_LEFT)
    room.expect(5)
    assert room.is_available(busy=False)
    room.expect(9 * ROOM_LEFT + 1)
    assert not room.is_available(busy=False)
    assert not room.is_available(busy=False)
    disk.free += 1
    assert room.is_available(busy=False)
    assert recorder.events == ["paused", "resumed"]
    assert room.end_reason == ""


def test_a_full_disk_ends_a_batch_that_is_not_busy(disk, tmp_path):
    disk.free = 0
    room = Room(tmp_path, FakeRecorder(), patience=-1.0)
    assert not room.is_available(busy=True)
    assert room.end_reason == ""
    assert not room.is_available(busy=False)
    assert room.end_reason == f"the disk is full: {tmp_path} has 0 MB left"


def test_a_disk_that_cannot_be_examined_does_not_stop_a_batch(tmp_path):
    assert Room(tmp_path / "absent", FakeRecorder(), patience=0.0).is_available(busy=False)


def test_a_ledger_that_cannot_be_written_is_reported_once(disk, tmp_path):
    recorder = FakeRecorder(FakeLedger(failures=1))
    room = Room(tmp_path, recorder, patience=0.0)
    assert not room.is_available(busy=True)
    assert not room.is_available(busy=True)
    message = "the ledger cannot be written: /out/ledger.sqlite: disk I/O error"
    assert recorder.said == [f"paused: {message}"]
    assert room.end_reason == ""
    assert not room.is_available(busy=False)
    assert room.end_reason == message == describe_unwritable(recorder.ledger)


def test_a_commit_is_retried_within_patience(monkeypatch):
    monkeypatch.setattr(room_module, "RETRY_EVERY", 0.0)
    assert wait_for_commit(FakeLedger(), 0.0)
    far_future = CommitFailure(float("inf"), "no space")
    ledger = FakeLedger(failures=3)
    ledger.stuck = far_future
    assert wait_for_commit(ledger, 0.0)
    assert not wait_for_commit(FakeLedger(failures=3), 0.0)
