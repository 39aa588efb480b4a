"""The status of batches, while they run and afterwards."""

import pytest
from support.recorded import record_all_states, record_batch

from calbatch.cluster.batch.watching import batch_status as module
from calbatch.cluster.batch.watching.batch_status import Status, read_status
from calbatch.cluster.ledger import Ledger


@pytest.fixture
def batch(tmp_path):
    return record_all_states(tmp_path)


def test_exposures_are_counted_by_state(batch):
    found = read_status(batch)
    assert (found.state, found.total, found.exit_status) == ("running", 9, 3)
    assert (found.waiting, found.running, found.done, found.before) == (1, 2, 3, 1)
    assert (found.failed, found.quarantined) == (1, 1)


def test_the_rate_is_that_of_exposures_calibrated_lately(batch, monkeypatch):
    with Ledger(batch.state) as ledger:
        began = ledger.batch(batch.name).started
    monkeypatch.setattr(module.time, "time", lambda: began + 60)
    found = read_status(batch)
    assert found.rate == pytest.approx(5.0)  # done, failed and quarantined, within a minute
    assert found.left == pytest.approx(3 / 5 * 60)
    monkeypatch.setattr(module.time, "time", lambda: began + 10_000)
    found = read_status(batch)
    assert (found.rate, found.left) == (0.0, None)


def test_a_batch_that_has_ended_has_no_rate(tmp_path):
    folder = record_batch(tmp_path, [{"state": "failed"}], "failed", "too bad")
    found = read_status(folder)
    assert (found.rate, found.left, found.exit_status, found.reason) == (0.0, None, 1, "too bad")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"done": 2, "before": 1}, "b running: 3/9 done, 1 of them earlier"),
        ({"running": 2, "failed": 1, "quarantined": 3},
         "b running: 0/9 done, 2 running, 1 failed, 3 quarantined"),
        ({"rate": 2.5, "left": 3725.4}, "b running: 0/9 done, 2.5 per minute, 1:02:05 left"),
        ({"rate": 1e-9, "left": 1e12},
         "b running: 0/9 done, 1e-09 per minute, more than 100 days left"),
        ({"held": 2}, "b running: 0/9 done, 2 waiting for others"),
    ],
)  # fmt: skip
def test_the_line_omits_empty_counts(fields, line):
    assert Status(**NOTHING | fields).line() == line


NOTHING = {
    "batch": "b", "state": "running", "reason": "", "pipeline": "jump", "output": "/out",
    "total": 9, "waiting": 0, "running": 0, "done": 0, "before": 0, "failed": 0,
    "quarantined": 0, "rate": 0.0, "left": None, "dashboard": "", "updated": 0.0,
}  # fmt: skip


def test_waiting_units_are_named_with_their_makers():
    waits_for = {"p": ["/in/a.fits"], "/o/m": [f"/in/{n}" for n in "bcdef"]}
    assert list(Status(**NOTHING | {"held": 2, "waits_for": waits_for}).details()) == [
        "p waits for a.fits", "m waits for b, c, d and 2 more", "products of jump are in /out",
    ]  # fmt: skip


@pytest.mark.parametrize(("state", "shown"), [("running", True), ("done", False)])
def test_the_dashboard_is_named_while_the_batch_runs(state, shown):
    found = Status(**NOTHING | {"state": state, "dashboard": "http://host:8787/status"})
    assert ("dashboard: http://host:8787/status" in found.details()) == shown
