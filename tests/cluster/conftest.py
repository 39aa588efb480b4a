"""Fixtures for tests of the batch service."""

import pytest
from support.batches import small_set
from support.onehost import one_host


@pytest.fixture
def simulated(monkeypatch):
    """Return a small set of exposures, and select its reference cache."""
    made = small_set()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture(scope="session")
def slurm_host():
    """Run a one-node Slurm that the environment selects; return its folder."""
    with one_host() as folder:
        yield folder
