"""`calbatch status`."""

import io
import json
import re
from contextlib import redirect_stdout

import pytest
from support.batches import calbatch
from support.recorded import change_batch, record_all_states, record_batch

from calbatch.cluster.batch.watching import batch_status as module
from calbatch.cluster.cli.commands.status import status


@pytest.fixture
def batch(tmp_path):
    return record_all_states(tmp_path)


def rows(text):
    """Return the cells of a table in a text, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_there_is_a_row_for_each_state_that_occurs(batch):
    said = calbatch("status", batch.name)
    assert said.status == 3
    assert [row[:2] for row in rows(said.out)] == [
        ["done", "3"], ["done earlier", "1"], ["running", "2"], ["waiting", "1"],
        ["failed", "1"], ["quarantined", "1"],
    ]  # fmt: skip
    assert sum(float(percent) for *_, percent in rows(said.out)) == pytest.approx(100, abs=0.5)


BAD = {"state": "failed", "reason": "/in/e1_uncal.fits: is\x1b empty", "attempts": 1}


def test_failing_exposures_are_named_with_their_reasons(tmp_path):
    folder = record_batch(
        tmp_path, [{}, BAD, {"state": "quarantined", "reason": "died"}], "failed", "no\x1broom"
    )
    lines = calbatch("status", folder.name).out.splitlines()
    assert lines[1] == r"no\x1broom"
    assert r"failed: e1_uncal.fits: is\x1b empty" in lines
    assert "quarantined: e2_uncal.fits: died" in lines
    found = json.loads(calbatch("status", folder.name, "--json").out)["failures"]
    assert [(each["path"], each["state"]) for each in found] == [
        ("/in/e1_uncal.fits", "failed"), ("/in/e2_uncal.fits", "quarantined"),
    ]  # fmt: skip


def test_many_failures_are_cut_short(tmp_path):
    folder = record_batch(tmp_path, [{"state": "failed"}] * (module.SHOWN_FAILURES + 2), "failed")
    out = calbatch("status", folder.name).out
    assert out.count("failed: e") == module.SHOWN_FAILURES
    assert f"and 2 more: `calbatch status {folder.name} --exposures`" in out


def test_the_status_is_printed_for_users_and_for_programs(batch, capsys):
    assert status(batch.name, as_json=False, watch=False) == 3
    assert capsys.readouterr().out.startswith(f"{batch.name} running: 4/9 done, 1 of them earlier")
    assert status(batch.name, as_json=True, watch=False) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["batch"], found["running"], found["output"]) == (
        batch.name, 2, str(batch.output),
    )  # fmt: skip


def end_while_waiting(monkeypatch, batch):
    """End a batch when `status` waits for the second time; the first time changes nothing."""
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            change_batch(
                batch, lambda ledger, number: ledger.end_batch(number, "cancelled", "asked")
            )

    monkeypatch.setattr(module.time, "sleep", wait)


def test_a_batch_is_watched_until_it_ends(batch, monkeypatch):
    end_while_waiting(monkeypatch, batch)
    said = calbatch("status", batch.name, "--json", "--watch")
    assert said.status == 130
    states = [json.loads(line)["state"] for line in said.out.splitlines()]
    assert states == ["running", "running", "cancelled"]


def test_changes_are_lines_with_the_time_where_nothing_can_be_redrawn(batch, monkeypatch):
    end_while_waiting(monkeypatch, batch)
    said = calbatch("status", batch.name, "--watch")
    assert said.status == 130
    dated = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (\S+ \w+): ", said.out, re.MULTILINE)
    assert dated == [f"{batch.name} running", f"{batch.name} cancelled"]
    assert ["failed", "1"] in [row[:2] for row in rows(said.out)]


UP = "\x1b[1A"


class Terminal(io.StringIO):
    """A terminal that remembers everything that is sent to it."""

    def isatty(self):
        return True


def test_a_terminal_is_redrawn_in_place(batch, monkeypatch):
    end_while_waiting(monkeypatch, batch)
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stdout(Terminal()) as terminal:
        assert status(batch.name, as_json=False, watch=True) == 130
    text = terminal.getvalue()
    first, last = text.partition(UP)[0], text.rpartition(UP)[2]
    assert text.count(UP) % first.count("\n") == 0  # back to the first line each time
    assert f"{batch.name} running: 4/9 done" in first
    assert f"{batch.name} cancelled: 4/9 done" in last
    assert len(rows(last)) == 5  # nothing is running any more
