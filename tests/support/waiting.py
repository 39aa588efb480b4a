"""Waiting for conditions: the only module of the tests that looks at clocks or sleeps."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

GENEROUS = 120.0
"""Seconds that a condition may take. Only a failing test waits that long."""


class WaitedInVain(AssertionError):
    """A condition did not come true within its limit."""


class Limit:
    """A limit of time for something that a test follows by itself.

    Parameters
    ----------
    seconds : float
        How long it may take.
    """

    def __init__(self, seconds: float = GENEROUS) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self, what: object = "") -> None:
        """Raise WaitedInVain if the time is up; ``what`` is said then."""
        if time.monotonic() > self._end:
            raise WaitedInVain(f"not within {self.seconds:g} s: {what}")


def eventually(
    condition: Callable[[], T],
    seconds: float = GENEROUS,
    *,
    every: float = 0.05,
    state: Callable[[], object] | None = None,
) -> T:
    """Wait until a condition is true, and return what it returned.

    Parameters
    ----------
    condition : callable
        Asked again and again.
    seconds : float
        The limit. It matters to a test that fails, not to one that passes: be generous.
    every : float
        Seconds between two questions.
    state : callable, optional
        Returns what a failure tells beside the condition.
    """
    limit = Limit(seconds)
    while not (found := condition()):
        limit.check(state() if state else condition)
        time.sleep(every)
    return found


def be_slow(seconds: float) -> None:
    """Take time, as a slow step, server or disk does.

    For what a test has others do. A test itself waits for a condition.
    """
    time.sleep(seconds)


def now() -> float:
    """Return the time of day, for what notes times or is told them."""
    return time.time()
