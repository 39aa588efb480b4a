"""The queue of attempts that are waiting, ordered by the time at which they are due."""

from __future__ import annotations

import heapq
from itertools import count
from typing import NamedTuple

from calbatch.cluster.driver.recording import Attempt


class _Entry(NamedTuple):
    due: float
    order: int
    attempt: Attempt


class RetryQueue:
    """Waiting attempts, the earliest first.

    Attempts that must run alone are queued separately, since they come after all others.
    """

    def __init__(self) -> None:
        self._heaps: dict[bool, list[_Entry]] = {False: [], True: []}
        self._order = count()

    def add(self, attempt: Attempt) -> None:
        """Add an attempt."""
        entry = _Entry(attempt.due, next(self._order), attempt)
        heapq.heappush(self._heaps[attempt.alone], entry)

    def take(self, now: float, *, alone: bool) -> Attempt | None:
        """Remove and return an attempt that is due; None if there is none."""
        heap = self._heaps[alone]
        if not heap or heap[0].due > now:
            return None
        return heapq.heappop(heap).attempt

    def has_exposures(self, *, alone: bool) -> bool:
        """Return whether any attempts are waiting, due or not."""
        return bool(self._heaps[alone])

    def peek(self) -> Attempt | None:
        """Return a waiting attempt without removing it; None if there is none."""
        heap = self._heaps[False] or self._heaps[True]
        return heap[0].attempt if heap else None
