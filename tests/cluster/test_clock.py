"""Clocks set back with libfaketime, during a batch and between batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.batches import DATE, calbatch, checksums

from calbatch.cluster.ledger import View

pytestmark = pytest.mark.services  # a skip is a failure where this must run

SETS_BACK = """
import os
from pathlib import Path
from calbatch.calibrate.step import Step
from calbatch.models.datamodels import RampModel

def set_back(data, *, path):
    clock = os.environ.get("FAKETIME_TIMESTAMP_FILE")
    if clock and "_00002_" in path:
        Path(clock).write_text("-400d")
    return data

class SetsBack(Step):
    def process(self, exposure):
        return RampModel(exposure).map_tiles(set_back, ["data"], path=str(exposure.path))
"""


@pytest.fixture
def clock(tmp_path):
    """Return the environment in which a file holds the clock's offset."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("libfaketime not found: apt-get install faketime")
    (tmp_path / "clock").write_text("+0")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture
def calibrate(tmp_path, simulated, monkeypatch):
    """Return a function that runs a batch, in a process of its own if that has another clock."""
    (tmp_path / "clocks.py").write_text(SETS_BACK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delitem(sys.modules, "clocks", raising=False)
    how = ("--scheduler", "sync", "--date", DATE, "--no-fsync", "-o")
    command = ["run", "clocks:SetsBack", simulated.folder / "exposures", *how]

    def run(output, **clock):
        if not clock:
            done = calbatch(*command, output)
            assert done.status == 0, done.err
            return done.err
        done = subprocess.run(
            [sys.executable, "-m", "calbatch.cluster", *command, output],
            env={**os.environ, **clock},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


def test_the_clock_is_set_back_during_a_batch(tmp_path, clock, calibrate):
    out = tmp_path / "out"
    completed = calibrate(out, **clock)
    assert (tmp_path / "clock").read_text() == "-400d"
    assert "3/3 done, 0 failed" in completed
    with View(out / ".calbatch") as view:
        (batch,) = view.batches()
        rows = list(view.exposures(batch.id))
    assert batch.ended < batch.started  # the clock has been set back
    assert [row.state for row in rows] == ["done"] * 3
    assert all(0 <= row.seconds < 60 for row in rows)
    manifest = next(out.glob(".calbatch/*/manifest.json"))
    assert [e["state"] for e in json.loads(manifest.read_text())["exposures"]] == ["done"] * 3
    assert "3 of them earlier" in calibrate(out)  # measured by the correct clock


@pytest.mark.ci
def test_the_clock_is_set_back_between_batches(tmp_path, clock, calibrate):
    calibrate(tmp_path / "a")
    (tmp_path / "clock").write_text("-400d")
    assert "3 of them earlier" in calibrate(tmp_path / "a", **clock)
    calibrate(tmp_path / "b", **clock)
    assert checksums(tmp_path / "a") == checksums(tmp_path / "b")
