"""Drivers on two hosts, on a file system whose locks do not reach from one to the other."""

import socket

import pytest
from support.batches import (
    DATE,
    calbatch,
    make_copies,
    products_in,
    quiet_console,
    small_set,
    unfinished_products,
)
from support.chaos import status
from support.gated import GATE, SLOW
from support.placed import make_importable
from support.unlocked import NAME, run_elsewhere
from support.waiting import eventually

from calbatch import cluster
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.liveness import EXIT_STATUS
from calbatch.cluster.folder import STATE, find_batch
from calbatch.cluster.ledger import View
from calbatch.models.datamodels import RampModel

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("forked_drivers")]


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """Return the file without which no exposure is finished."""
    settings = {**small_set().environment(), GATE: str(tmp_path / "gate")}
    settings["CALBATCH_STATE_DIR"] = str(tmp_path / "state")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    make_importable(monkeypatch)
    return tmp_path / "gate"


def read(folder):
    """Return the row of a batch, its exposures, and the kinds of its events."""
    with View(folder.state) as view:
        row = view.batch(folder.name)
        events = [event.kind for event in view.events(row.id)]
        return row, list(view.exposures(row.id)), events


def test_a_driver_that_lives_elsewhere_is_replaced_but_has_not_died(gate, tmp_path):
    inputs, output, log = make_copies(2, tmp_path / "in"), tmp_path / "out", tmp_path / "log"
    how = ("-o", output, "--date", DATE, "--no-fsync")
    command = ("-m", "calbatch.cluster", "run", SLOW, inputs, *how)
    with run_elsewhere(output / STATE, *command, log=log) as replaced:
        eventually(lambda: unfinished_products(output), state=log.read_text)
        folder = find_batch(str(output))
        (theirs,) = folder.logs.iterdir()
        assert read(folder)[0].host == NAME
        resumed = calbatch("resume", folder.name, "--detach")
        assert resumed.status == 0, resumed.err
        eventually(lambda: set(folder.logs.iterdir()) - {theirs})
        row, exposures, events = read(folder)
        assert (row.host, row.site) == (socket.gethostname(), "threads")
        assert [exposure.deaths for exposure in exposures] == [0, 0]
        assert "death" not in events
        gate.touch()
        eventually(lambda: replaced.poll() is not None, state=log.read_text)
        assert replaced.returncode == EXIT_STATUS["interrupted"]
        assert "another driver has taken over" in log.read_text()
    eventually(lambda: status(folder)["state"] == "done", state=folder.log.read_text)
    _, exposures, events = read(folder)
    assert [(exposure.state, exposure.deaths) for exposure in exposures] == [("done", 0)] * 2
    assert "death" not in events
    assert len(products_in(output)) == 2


def test_a_driver_that_has_just_died_elsewhere_is_not_taken_for_a_living_one(
    gate, tmp_path, monkeypatch
):
    monkeypatch.setattr("calbatch.cluster.batch.liveness.PATIENCE", 1.0)  # of this process
    inputs, output, log = make_copies(1, tmp_path / "in"), tmp_path / "out", tmp_path / "log"
    command = ("-m", "calbatch.cluster", "run", SLOW, inputs, "-o", output, "--no-fsync")
    with run_elsewhere(output / STATE, *command, log=log) as killed:
        eventually(lambda: unfinished_products(output), state=log.read_text)
        killed.kill()
        killed.wait()
    gate.touch()
    folder = find_batch(str(output))
    assert calbatch("resume", folder.name).status == 0
    row, (exposure,), events = read(folder)
    assert (exposure.state, exposure.deaths) == ("done", 1)
    assert events.count("death") == 1
    assert row.site != "threads"  # the exposure has killed a driver


def test_a_driver_gives_signs_of_life_during_an_exposure(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr("calbatch.cluster.ledger.store.BEAT_EVERY", 0.05)

    class Patient(Step):
        """A step that waits for two heartbeats of its driver."""

        def process(self, exposure):
            folder = find_batch(str(tmp_path))
            beats = {read(folder)[0].beat}
            eventually(lambda: beats.add(read(folder)[0].beat) or len(beats) > 2)
            return RampModel(exposure)

    how = {"scheduler": "sync", "date": DATE, "fsync": False, "console": quiet_console()}
    assert cluster.run(Patient, simulated.exposures[:1], tmp_path, **how).exit_status == 0
