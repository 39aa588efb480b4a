"""`calbatch status`."""

import json
import os

import pytest
from support.recorded import record_batch
from support.waiting import now

from calbatch.cluster.batch.liveness import record_driver
from calbatch.cluster.cli.commands import status as commands
from calbatch.cluster.cli.commands.status import Status, read_status, status
from calbatch.cluster.ledger import Ledger

STATES = ["done", "done", "done", "kept", "failed", "quarantined", "running", "retrying", "waiting"]


def running(folder, exposures):
    """Record a batch that this process drives."""
    made = record_batch(folder, exposures, state="running")
    record_driver(made, os.getpid())
    return made


@pytest.fixture
def batch(tmp_path):
    ended = {"ended": now() + 1}
    final = ("done", "failed", "quarantined")
    exposures = [{"state": s} | (ended if s in final else {}) for s in STATES]
    return running(tmp_path, exposures)


def change(folder, function):
    with Ledger(folder.state) as ledger:
        function(ledger, ledger.batch(folder.name).id)


def test_exposures_are_counted_by_state(batch):
    found = read_status(batch)
    assert (found.state, found.total, found.exit_status) == ("running", 9, 3)
    assert (found.waiting, found.running, found.done, found.before) == (1, 2, 3, 1)
    assert (found.failed, found.quarantined) == (1, 1)


def test_the_rate_is_that_of_exposures_calibrated_lately(batch, monkeypatch):
    with Ledger(batch.state) as ledger:
        began = ledger.batch(batch.name).started
    monkeypatch.setattr(commands.time, "time", lambda: began + 60)
    found = read_status(batch)
    assert found.rate == pytest.approx(5.0)  # done, failed and quarantined, within a minute
    assert found.left == pytest.approx(3 / 5 * 60)
    monkeypatch.setattr(commands.time, "time", lambda: began + 10_000)
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
        ({"state": "failed", "reason": "no\x1broom"}, "b failed: 0/9 done\nno\\x1broom"),
        ({"held": 2, "waits_for": {"p": ["/in/a.fits"], "/o/m": [f"/in/{n}" for n in "bcdef"]}},
         "b running: 0/9 done, 2 waiting for others\np waits for a.fits\n"
         "m waits for b, c, d and 2 more"),
    ],
)  # fmt: skip
def test_the_line_says_only_what_there_is(fields, line):
    nothing = {
        "batch": "b", "state": "running", "reason": "", "pipeline": "jump", "output": "/out",
        "total": 9, "waiting": 0, "running": 0, "done": 0, "before": 0, "failed": 0,
        "quarantined": 0, "rate": 0.0, "left": None, "dashboard": "", "updated": 0.0,
    }  # fmt: skip
    assert Status(**nothing | fields).line() == line


def test_the_status_is_printed_for_users_and_for_programs(batch, capsys):
    assert status(batch.name, as_json=False, watch=False) == 3
    assert capsys.readouterr().out.startswith(f"{batch.name} running: 4/9 done, 1 of them earlier")
    assert status(batch.name, as_json=True, watch=False) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["batch"], found["running"], found["output"]) == (
        batch.name, 2, str(batch.output),
    )  # fmt: skip


def test_a_batch_is_watched_until_it_ends(batch, capsys, monkeypatch):
    def wait(seconds):
        change(batch, lambda ledger, number: ledger.end_batch(number, "cancelled", "asked"))

    monkeypatch.setattr(commands.time, "sleep", wait)
    assert status(batch.name, as_json=True, watch=True) == 130
    states = [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]
    assert states == ["running", "cancelled"]
