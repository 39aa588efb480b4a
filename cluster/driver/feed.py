"""Planning ahead: a thread that reads headers and fetches references while others calibrate."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from calbatch.cluster.exposure.outcome import kind_of
from calbatch.cluster.exposure.policy import Action, History, Policy
from calbatch.cluster.planning.planner import Planned, Planner
from calbatch.models.storage.location import Location

AHEAD = 2
"""Blocks that are planned ahead of what is taken."""

POLL = 0.1
"""Seconds between looks at what is to be planned again, when all else is planned."""

Block = Sequence[Planned]


class Feed:
    """Gives planned exposures, in order, as they are asked for.

    Entering it plans the first block, so that a request that cannot be started fails there.

    Parameters
    ----------
    planner : Planner
        Plans them.
    inputs : sequence of (int, Path)
        Their numbers and files.
    policy : Policy, optional
        How often what fails for a reason that may pass, such as a connection's, is planned again.
    ahead : bool
        Whether to plan in a thread of its own. Not where this process calibrates as well: Python's
        warnings, which both collect, belong to the process.
    """

    def __init__(
        self,
        planner: Planner,
        inputs: Sequence[tuple[int, Location]],
        policy: Policy | None = None,
        *,
        ahead: bool = True,
    ) -> None:
        self._planner = planner
        self._inputs = inputs
        self._policy = policy or Policy()
        self._histories: dict[int, History] = {}
        self._late: list[tuple[float, int, Location]] = []
        self._ahead = ahead
        self._ready: list[Planned] = []
        self._blocks: queue.Queue[Block | BaseException | None] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="calbatch-feed", daemon=True)

    def __enter__(self) -> Feed:
        self._pending = self._planned()
        self._take(next(self._pending, None))
        if self._ahead:
            self._thread.start()
        return self

    def _planned(self) -> Iterator[Block]:
        """Yield blocks; an empty one where all that is left is to be planned later."""
        for block in self._planner.blocks(self._inputs):
            yield self._sifted(block)
            while self._late and self._late[0][0] <= time.monotonic():
                yield self._planned_again()
        while self._late:
            if self._late[0][0] <= time.monotonic():
                yield self._planned_again()
            else:
                if self._ahead:
                    self._stop.wait(POLL)
                yield ()

    def _planned_again(self) -> Block:
        _, number, path = heapq.heappop(self._late)
        return self._sifted([self.replan(number, path)])

    def _sifted(self, block: Block) -> Block:
        """Return what is settled; keep back what failed for a reason that may pass."""
        settled = []
        for planned in block:
            if planned.fault is not None:
                history = self._histories.setdefault(planned.number, History())
                decision = self._policy.after(kind_of(planned.fault), history, alone=False)
                if decision.action is Action.AGAIN:
                    due = time.monotonic() + decision.delay
                    heapq.heappush(self._late, (due, planned.number, planned.path))
                    continue
            settled.append(planned)
        return settled

    def __exit__(self, *fault: object) -> None:
        self._stop.set()
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
        try:
            for block in self._pending:
                if not self._put(block):
                    return
            self._put(None)
        except BaseException as error:  # told where it is waited for
            self._put(error)

    def _put(self, block: Block | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._blocks.put(block, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _take(self, block: Block | BaseException | None) -> None:
        if isinstance(block, BaseException):
            self._ended = True
            raise block
        if block is None:
            self._ended = True
        else:
            self._ready = list(reversed(block))

    def next(self) -> Planned | None:
        """Return the next exposure; None when none is planned yet, or there is none.

        Raises
        ------
        RequestError
            When references cannot be chosen any more.
        """
        if not self._ready and not self._ended:
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
        """Whether all have been taken."""
        return self._ended and not self._ready

    def replan(self, number: int, path: Location) -> Planned:
        """Plan an exposure again: its input has changed, or could not be read for a while."""
        return self._planner.block([(number, path)])[0]


def inputs_of(paths: Iterable[Location]) -> list[tuple[int, Location]]:
    """Return files with their numbers."""
    return list(enumerate(paths))
