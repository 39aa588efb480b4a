"""Fixtures for tests of the batch service."""

import pytest
from support.batches import small_set
from support.forking import driver_server
from support.gated import HOLD
from support.onehost import one_host

from calbatch.cluster.batch import liveness


@pytest.fixture
def simulated(monkeypatch):
    """Return a small set of exposures, and select its reference cache."""
    made = small_set()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def forked_drivers(monkeypatch):
    """Fork drivers in the background from a process that has imported everything."""
    monkeypatch.setattr(liveness, "start_detached", driver_server().start)


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """Return the file that keeps one brief exposure from ending, and with it the batch."""
    monkeypatch.setenv(HOLD, str(tmp_path / "hold"))
    return tmp_path / "hold"


@pytest.fixture(scope="session")
def slurm_host():
    """Run a one-node Slurm that the environment selects; return its folder."""
    with one_host() as folder:
        yield folder
