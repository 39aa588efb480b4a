"""The queue of attempts that are waiting, ordered by the time at which they are due."""

from __future__ import annotations

import heapq
from itertools import count

from calbatch.cluster.driver.recording import Attempt


class RetryQueue:
    """Waiting attempts, the earliest first.

    Attempts that must run alone are queued separately, since they come after all others.
    """

    def __init__(self) -> None:
        self._heaps: dict[bool, list[tuple[float, int, Attempt]]] = {False: [], True: []}
        self._serial = count()

    def add(self, attempt: Attempt) -> None:
        """Add an attempt."""
        heapq.heappush(self._heaps[attempt.alone], (attempt.due, next(self._serial), attempt))

    def take(self, now: float, *, alone: bool) -> Attempt | None:
        """Remove and return an attempt that is due; None if there is none."""
        heap = self._heaps[alone]
        if not heap or heap[0][0] > now:
            return None
        return heapq.heappop(heap)[2]

    def has_exposures(self, *, alone: bool) -> bool:
        """Return whether any attempts are waiting, due or not."""
        return bool(self._heaps[alone])

    def peek(self) -> Attempt | None:
        """Return a waiting attempt without removing it; None if there is none."""
        heap = self._heaps[False] or self._heaps[True]
        return heap[0][2] if heap else None
