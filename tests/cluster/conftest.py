"""Fixtures of the batch service's tests."""

import pytest
from support.batches import small_set
from support.onehost import one_host


@pytest.fixture
def simulated(monkeypatch):
    """Return a small set of exposures, whose references are the ones to use."""
    made = small_set()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture(scope="session")
def slurm_host():
    """Run a Slurm of one node, which the environment leads to; return its folder."""
    with one_host() as folder:
        yield folder
