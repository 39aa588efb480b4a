"""Calls that must return in time."""

import threading

import pytest
from support.waiting import eventually

from calbatch.cluster.sites.timeouts import call_within


def test_a_call_in_time_returns_its_result():
    assert call_within(60, lambda: 3) == 3


def test_errors_of_the_call_are_raised():
    def fail():
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        call_within(60, fail)


def test_a_late_result_is_discarded():
    gate, discarded = threading.Event(), []
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        call_within(0.01, lambda: gate.wait(60), discard=discarded.append)
    gate.set()
    eventually(lambda: discarded == [True])
