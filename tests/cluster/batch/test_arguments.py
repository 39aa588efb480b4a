"""Keyword arguments for type checkers follow the options of a batch."""

from typing import get_type_hints

from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.options import BatchOptions


def test_type_checkers_know_the_type_of_each_option():
    assert get_type_hints(BatchArguments) == get_type_hints(BatchOptions)
    assert BatchArguments.__required_keys__ == set()
