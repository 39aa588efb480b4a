"""Waiting for conditions: the only module of the tests that looks at clocks or sleeps."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

GENEROUS = 120.0
"""Seconds that a condition may take. Only a failing test waits that long."""


class WaitTimeoutError(AssertionError):
    """A condition did not become true in time."""


class Limit:
    """A time limit for a loop of a test.

    Parameters
    ----------
    seconds : float
        Time limit in seconds.
    """

    def __init__(self, seconds: float = GENEROUS) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self, what: object = "") -> None:
        """Raise WaitTimeoutError with the message ``what`` if the time is up."""
        if time.monotonic() > self._end:
            raise WaitTimeoutError(f"not within {self.seconds:g} s: {what}")


def eventually(
    condition: Callable[[], T],
    seconds: float = GENEROUS,
    *,
    every: float = 0.05,
    state: Callable[[], object] | None = None,
) -> T:
    """Wait until a condition is true, and return its value.

    Parameters
    ----------
    condition : callable
        Called repeatedly.
    seconds : float
        Time limit. It slows only failing tests: be generous.
    every : float
        Seconds between two calls.
    state : callable, optional
        Returns details for the message of a failure.
    """
    limit = Limit(seconds)
    while not (found := condition()):
        limit.check(state() if state else condition)
        time.sleep(every)
    return found


def be_slow(seconds: float) -> None:
    """Take time, like a slow step, server or disk.

    For work that a test gives to others; a test itself waits for conditions.
    """
    time.sleep(seconds)


def now() -> float:
    """Return the time of day, for records of time."""
    return time.time()
