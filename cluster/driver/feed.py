"""Planning ahead: a thread reads headers and fetches references while exposures are calibrated."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from calbatch.cluster.exposure.outcome import classify_failure
from calbatch.cluster.exposure.policy import FailureHistory, RetryAction, RetryPolicy
from calbatch.cluster.planning.dependencies import Dependencies
from calbatch.cluster.planning.planned_exposure import PlannedExposure
from calbatch.cluster.planning.planner import Planner
from calbatch.models.storage.location import Location
from calbatch.models.threads import CancelScope

AHEAD = 2
"""Number of blocks that may be planned before the driver takes them."""

POLL = 0.1
"""Seconds between checks for exposures that are to be planned before all others."""

Block = Sequence[PlannedExposure]


class _Postponed(NamedTuple):
    due: float
    number: int
    path: Location


class Feed:
    """A queue of planned exposures, filled in the background.

    Entering it plans the first block, so that a request that cannot be started fails there. Units
    that wait for others are planned once these have ended, and come before units that wait for
    nothing.

    Parameters
    ----------
    planner : Planner
        Plans the exposures.
    inputs : sequence of (int, Path)
        Number and input file of each exposure that waits for no others.
    policy : RetryPolicy, optional
        Limits on retries of planning after a temporary failure, such as a lost connection.
    dependencies : Dependencies, optional
        The units that wait for others.
    ahead : bool
        True to plan in a thread. Use False if this process calibrates as well: both collect
        Python's warnings, whose filters are global to the process.
    """

    def __init__(
        self,
        planner: Planner,
        inputs: Sequence[tuple[int, Location]],
        policy: RetryPolicy | None = None,
        *,
        dependencies: Dependencies | None = None,
        ahead: bool = True,
    ) -> None:
        self._planner = planner
        self._inputs = inputs
        self._policy = policy or RetryPolicy()
        self._dependencies = dependencies or Dependencies()
        self._histories: dict[int, FailureHistory] = {}
        self._postponed: list[_Postponed] = []
        self._ahead = ahead
        self._ready: list[PlannedExposure] = []
        self._urgent: deque[PlannedExposure] = deque()
        self._retried: deque[PlannedExposure] = deque()
        self._expected = 0  # exposures postponed, being planned, or in these two queues
        self._guard = threading.Lock()
        self._blocks: queue.Queue[Block | BaseException | None] = queue.Queue(AHEAD)
        self._work = CancelScope()  # of the thread
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="calbatch-feed", daemon=True)

    def __enter__(self) -> Feed:
        self._pending = self._plan_blocks()
        self._take(next(self._pending, None))
        if self._ahead:
            self._thread.start()
        return self

    def _plan_blocks(self) -> Iterator[Block]:
        for block in self._planner.plan_blocks(self._inputs):
            yield self._hold_back_failures(block)

    def _plan_urgent(self) -> None:
        """Plan released units, and exposures whose planning is to be retried now."""
        while count := self._dependencies.count_released():
            self._expect(count)
            planned = self._plan_now(self._dependencies.take_released(count))
            self._urgent.extendleft(reversed(planned))
        while self._postponed and self._postponed[0].due <= time.monotonic():
            due = heapq.heappop(self._postponed)
            self._retried.extend(self._plan_now([(due.number, due.path)]))

    def _plan_now(self, pairs: Sequence[tuple[int, Location]]) -> Block:
        """Plan exposures that `_expected` counts already."""
        planned = self._hold_back_failures(self._planner.plan_block(pairs))
        self._expect(len(planned) - len(pairs))
        return planned

    def _expect(self, more: int) -> None:
        with self._guard:
            self._expected += more

    def _hold_back_failures(self, block: Block) -> Block:
        """Return a block without the exposures whose planning will be retried."""
        settled = []
        for planned in block:
            if planned.error is not None:
                history = self._histories.setdefault(planned.number, FailureHistory())
                decision = self._policy.decide(
                    classify_failure(planned.error), history, alone=False
                )
                if decision.action is RetryAction.AGAIN:
                    due = time.monotonic() + decision.delay
                    postponed = _Postponed(due, planned.number, planned.path)
                    self._expect(1)
                    heapq.heappush(self._postponed, postponed)
                    continue
            settled.append(planned)
        return settled

    def __exit__(self, *fault: object) -> None:
        self._work.cancel()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(0.05)

    def _drain(self) -> None:
        try:
            while True:
                self._blocks.get_nowait()
        except queue.Empty:
            return

    def _run(self) -> None:
        with self._work:
            try:
                self._plan_all()
            except BaseException as error:  # raised in the thread that calls `next`
                self._put(error, plan=False)

    def _plan_all(self) -> None:
        for block in self._pending:
            if not self._put(block):
                return
        self._put(None)
        while (self._dependencies.holds_any() or self._postponed) and not self._work.is_cancelled:
            self._plan_urgent()
            self._dependencies.release_event.wait(POLL)
            self._dependencies.release_event.clear()

    def _put(self, block: Block | BaseException | None, *, plan: bool = True) -> bool:
        while not self._work.is_cancelled:
            if plan:
                self._plan_urgent()
            try:
                self._blocks.put(block, timeout=POLL)
            except queue.Full:
                continue
            return True
        return False

    def _take(self, block: Block | BaseException | None) -> None:
        if isinstance(block, BaseException):
            self._ended = True
            self._expected = 0
            raise block
        if block is None:
            self._ended = True
        else:
            self._ready = list(reversed(block))

    def next(self) -> PlannedExposure | None:
        """Return the next exposure; None if none is planned yet or none is left.

        Raises
        ------
        RequestError
            If references can no longer be chosen.
        """
        if not self._ahead:
            self._plan_urgent()
        first = self._urgent if self._urgent or self._ready else self._retried
        if first:
            self._expect(-1)
            return first.popleft()
        if not self._ready and not (self._ended and self._blocks.empty()):
            if not self._ahead:
                self._take(next(self._pending, None))
            else:
                try:
                    self._take(self._blocks.get_nowait())
                except queue.Empty:
                    return None
        return self._ready.pop() if self._ready else None

    @property
    def exhausted(self) -> bool:
        """True if all exposures have been taken, except those that wait for others."""
        if not self._ended or self._ready or self._dependencies.count_released():
            return False
        return not self._expected

    def replan(self, number: int, path: Location) -> PlannedExposure:
        """Plan an exposure again, after its input has changed or a temporary failure has passed."""
        return self._planner.plan_block([(number, path)])[0]


def number_inputs(paths: Iterable[Location]) -> list[tuple[int, Location]]:
    """Return input files with their numbers."""
    return list(enumerate(paths))
