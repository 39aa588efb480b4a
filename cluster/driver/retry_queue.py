"""Exposures that wait for a try: what is due, without a walk over all that is not."""

from __future__ import annotations

import heapq
from itertools import count

from calbatch.cluster.driver.recording import Attempted


class Waiting:
    """Exposures that are to be tried, those first that are due first.

    What is to run alone waits apart: the others are tried before.
    """

    def __init__(self) -> None:
        self._heaps: dict[bool, list[tuple[float, int, Attempted]]] = {False: [], True: []}
        self._serial = count()

    def add(self, one: Attempted) -> None:
        """Have an exposure wait."""
        heapq.heappush(self._heaps[one.alone], (one.due, next(self._serial), one))

    def take(self, now: float, *, alone: bool) -> Attempted | None:
        """Return an exposure that is due, which waits no more; None where none is."""
        heap = self._heaps[alone]
        if not heap or heap[0][0] > now:
            return None
        return heapq.heappop(heap)[2]

    def left(self, *, alone: bool) -> bool:
        """Return whether any waits, due or not."""
        return bool(self._heaps[alone])

    def example(self) -> Attempted | None:
        """Return one of those that wait."""
        heap = self._heaps[False] or self._heaps[True]
        return heap[0][2] if heap else None
