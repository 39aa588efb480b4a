"""Batches whose messages or output cannot be written."""

import os
import subprocess
import sys

import pytest
from support.batches import small_set
from support.cases import long

from calbatch.cluster.folder import find_registered, state_of
from calbatch.cluster.ledger import View

PROGRAM = "from calbatch.cluster.cli import main; main()"


def run(folder, redirections, command="run", unbuffered=""):
    """Run a batch of one exposure in a shell; return the completed process."""
    made, out = small_set(), folder / "out"
    words = f'"$0" -P -c "$1" {command} dq_init "$2" -o "$3" --scheduler sync {redirections}'
    command = ["sh", "-c", words, sys.executable, PROGRAM, made.exposures[0], out]
    changes = {"CALBATCH_STATE_DIR": str(folder / "notes"), "PYTHONUNBUFFERED": unbuffered}
    environment = {**os.environ, **made.environment(), **changes}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "redirections", ["2>&- >/dev/full", long("2>/dev/full"), long(">&- 2>&- <&-")]
)
def test_a_batch_does_not_need_its_messages(tmp_path, redirections):
    assert run(tmp_path, redirections).returncode == 0
    assert [p.name for p in (tmp_path / "out").glob("*.fits")]
    with View(state_of(tmp_path / "out")) as view:
        [batch] = view.batches()
        assert (batch.state, view.counts(batch.id)) == ("done", {"done": 1})


@pytest.mark.parametrize("unbuffered", ["", long("1")])
def test_a_summary_that_cannot_be_printed_is_reported(tmp_path, unbuffered):
    completed = run(tmp_path, ">/dev/full", unbuffered=unbuffered)
    assert completed.returncode == 0
    assert "the summary cannot be printed: No space left on device" in completed.stderr


def test_a_batch_that_cannot_be_announced_is_not_started(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    completed = run(tmp_path, ">/dev/full", command="submit")
    assert completed.returncode == 2
    assert "No space left on device" in completed.stderr
    assert list(find_registered()) == []
    with View(state_of(tmp_path / "out")) as view:
        assert view.batches() == []
