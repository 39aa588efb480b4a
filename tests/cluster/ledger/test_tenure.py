"""The tenure of a driver, in a ledger that a driver on another host may write, too."""

import sqlite3
from contextlib import closing

import pytest

from calbatch.cluster.ledger import Ledger, LedgerError, View


@pytest.fixture
def driven(tmp_path):
    """Return an open ledger, and the number of the batch that this process drives."""
    with Ledger(tmp_path) as ledger:
        paths = ["/0_uncal.fits"]
        batch = ledger.add_batch("b", "jump", paths, request={}, parameters={}, software={})
        ledger.set_driver(batch, "threads", None)
        yield ledger, batch


def change(ledger, assignment):
    """Change the batch as another driver does, on a host that this one's lock does not reach."""
    with closing(sqlite3.connect(ledger.path)) as connection, connection:
        connection.execute(f"UPDATE batches SET {assignment}")


def read(ledger):
    with View(ledger.path.parent) as view:
        return view.batch("b")


@pytest.mark.parametrize("pid", [7, 0])
def test_a_driver_that_has_been_replaced_changes_nothing(driven, pid):
    ledger, batch = driven
    change(ledger, f"host = 'elsewhere', pid = {pid}, beat = 1.0, state = 'done'")  # or has ended
    theirs = read(ledger)
    ledger._tenure.record_beat(ledger._connection)
    with pytest.raises(LedgerError, match="another driver has taken over the batch, on elsewhere"):
        ledger.end_batch(batch, "interrupted")
    ledger.close()
    assert read(ledger) == theirs


def test_a_driver_goes_on_after_it_has_recorded_an_end(driven):
    ledger, batch = driven
    assert ledger.end_batch(batch, "done")
    assert ledger.end_batch(batch, "interrupted")
    assert read(ledger).state == "interrupted"


def test_a_driver_takes_a_batch_over(driven):
    ledger, batch = driven
    change(ledger, "host = 'elsewhere', pid = 7")
    ledger._queue.clear()
    ledger._tenure = None  # as in a process that opens the ledger now
    ledger.set_driver(batch, "threads", None)
    assert ledger.end_batch(batch, "done")


def test_a_driver_that_could_not_be_recorded_at_once_can_be_replaced(driven):
    ledger, batch = driven
    ledger._connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(ledger.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ledger.set_driver(batch, "threads", None)
        assert ledger.stuck
    assert ledger.commit()
    change(ledger, "host = 'elsewhere', pid = 7")
    with pytest.raises(LedgerError, match="another driver has taken over"):
        ledger.end_batch(batch, "done")
