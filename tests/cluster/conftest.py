"""Fixtures of the batch service's tests."""

import pytest
from support.batches import small_set


@pytest.fixture
def simulated(monkeypatch):
    """Return a small set of exposures, whose references are the ones to use."""
    made = small_set()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made
