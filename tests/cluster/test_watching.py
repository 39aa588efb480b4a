"""`calbatch watch` beside other batches, and its exit status."""

from types import SimpleNamespace

import pytest
from support.batches import DATE, calbatch, leave_staging_folder, products_in

from calbatch.cluster.cli.commands import again
from calbatch.cluster.driver.control import StopRequest, request_stop
from calbatch.cluster.folder import state_of
from calbatch.cluster.ledger import HeldLedgerError, Ledger

HOW = ("--scheduler", "sync", "--date", DATE, "--no-fsync", "--settle", "0", "--idle", "0.5")


@pytest.fixture
def folder(simulated, tmp_path, monkeypatch):
    """Return a folder with an exposure of a user without batches."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    monkeypatch.setattr(again, "EVERY", 0.05)
    made = tmp_path / "in"
    made.mkdir()
    (made / simulated.exposures[0].name).symlink_to(simulated.exposures[0])
    return made


def test_exposures_that_arrive_during_another_batch_are_calibrated_after_it(
    folder, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    out.mkdir()
    other, refused, begin = Ledger(state_of(out)), [], again.begin_batch

    def begin_or_count(*arguments, **options):
        try:
            return begin(*arguments, **options)
        except HeldLedgerError:
            refused.append(arguments)
            if len(refused) == 2:
                other.close()
            raise

    monkeypatch.setattr(again, "begin_batch", begin_or_count)
    stale = leave_staging_folder(out)
    completed = calbatch("watch", "superbias", folder, "-o", out, *HOW)
    assert completed.status == 0, completed.err
    assert completed.err.count("waiting: ") == 1
    assert len(refused) == 2
    assert not stale.exists()
    assert len(products_in(out)) == 1


def test_watch_ends_with_the_worst_status_of_its_batches(folder, simulated, tmp_path, monkeypatch):
    results = [("failed", 1), ("cancelled", 130), ("done", 0)]

    def drive(begun, *arguments, **options):
        if len(results) > 1:
            path = simulated.exposures[len(results) - 1]
            (folder / path.name).symlink_to(path)
        with begun.hold_ledger():
            state, status = results.pop(0)
        return SimpleNamespace(state=state, exit_status=status)

    monkeypatch.setattr(again, "drive", drive)
    completed = calbatch("watch", "superbias", folder, "-o", tmp_path / "out", *HOW)
    assert completed.status == 130, completed.err
    assert results == []


def interrupt_batches(monkeypatch, times):
    """Interrupt the first batches of a watched folder; return the results of all."""
    results, drive = [], again.drive

    def drive_and_record(begun, *arguments, **options):
        if len(results) < times:
            request_stop(begun.folder.control, StopRequest.LATER)
        results.append(drive(begun, *arguments, **options))
        return results[-1]

    monkeypatch.setattr(again, "drive", drive_and_record)
    return results


def test_watch_retries_the_rest_of_an_interrupted_batch(folder, tmp_path, monkeypatch):
    results = interrupt_batches(monkeypatch, 1)
    completed = calbatch("watch", "superbias", folder, "-o", tmp_path / "out", *HOW)
    assert completed.status == 0, completed.err
    assert [result.state for result in results] == ["interrupted", "done"]
    assert len(products_in(tmp_path / "out")) == 1


def test_watch_ends_when_every_batch_is_interrupted(folder, tmp_path, monkeypatch):
    results = interrupt_batches(monkeypatch, 10**6)
    completed = calbatch("watch", "superbias", folder, "-o", tmp_path / "out", *HOW)
    assert completed.status == 130, completed.err
    assert len(results) > 1
    assert not products_in(tmp_path / "out")
