"""The interface of records of earlier work."""

import inspect

import pytest

from calbatch.cluster.ledger import HistoryQueries
from calbatch.cluster.planning.history import HistoryLookup

METHODS = [name for name in vars(HistoryLookup) if name.startswith("find_")]


def test_there_are_questions():
    assert "find_products" in METHODS


@pytest.mark.parametrize("name", METHODS)
def test_the_ledger_answers_with_the_same_arguments(name):
    wanted = inspect.signature(getattr(HistoryLookup, name)).parameters
    assert list(inspect.signature(getattr(HistoryQueries, name)).parameters) == list(wanted)
