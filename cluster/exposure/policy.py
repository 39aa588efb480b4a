"""What is done about a failure: by its kind, and by what happened to the exposure before."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of failures."""

    FAULT = "fault"  # of the exposure, its references or a step: another try fails likewise
    STORAGE = "storage"  # a disk or a connection failed
    FULL = "full"  # no room on the disk
    CHANGED = "changed"  # the input was replaced while it was read
    DEATH = "death"  # the worker died, or was killed: nothing says why
    CRASH = "crash"  # compiled code crashed the worker
    MEMORY = "memory"  # the worker died for lack of memory
    DEADLINE = "deadline"  # it took too long
    LOST = "lost"  # the scheduler was lost: the exposure is not to blame


class Action(StrEnum):
    """What is done next."""

    FAIL = "fail"
    AGAIN = "again"
    ALONE = "alone"
    QUARANTINE = "quarantine"


DEATHS = (Kind.DEATH, Kind.CRASH, Kind.MEMORY)

UNEXPLAINED = 0.5
"""What a death alone counts that nothing explains: whoever ends processes may have ended it."""


@dataclass
class History:
    """What happened to an exposure in a batch.

    Attributes
    ----------
    tries : dict
        Kind of failure to how many there were.
    deaths_alone : int
        Workers that it took with it when it was alone.
    unexplained : int
        How many of them with nothing that says why.
    """

    tries: dict[Kind, int] = field(default_factory=dict)
    deaths_alone: int = 0
    unexplained: int = 0

    def count(self, *kinds: Kind) -> int:
        """Return how many failures of some kinds there were."""
        return sum(self.tries.get(kind, 0) for kind in kinds)

    @property
    def blame(self) -> float:
        """How many deaths the exposure is to blame for, as far as one can tell."""
        return self.deaths_alone - (1.0 - UNEXPLAINED) * self.unexplained


@dataclass(frozen=True)
class Decision:
    """What is done next, and in how many seconds."""

    action: Action
    delay: float = 0.0


@dataclass(frozen=True)
class Policy:
    """How patient a batch is.

    Attributes
    ----------
    retries : int
        Further tries after a failure of a disk or a connection.
    deaths : int
        Workers that an exposure may lose in company before it is suspected, and runs alone: its
        neighbours may have been what killed them.
    deaths_alone : int
        Workers that it may lose alone before it is quarantined; those count half of which nothing
        says why they died.
    first_delay, longest_delay : float
        Seconds before the first further try; doubled each time, up to the longest.
    losses : int
        Times that a scheduler may lose an exposure.
    deadline : float, optional
        Seconds that an exposure may take.
    fail_fast : bool
        Whether the first failure ends the batch.
    patience : float
        Seconds to wait for room on the disk, or for a scheduler.
    silence : float
        Seconds after which a worker that is stopped, or cut off, is taken for dead.
    """

    retries: int = 4
    deaths: int = 2
    deaths_alone: int = 3
    first_delay: float = 0.5
    longest_delay: float = 30.0
    losses: int = 20
    deadline: float | None = None
    fail_fast: bool = False
    patience: float = 600.0
    silence: float = 60.0

    def after(self, kind: Kind, history: History, *, alone: bool) -> Decision:
        """Take note of a failure, and decide.

        Parameters
        ----------
        kind : Kind
            Of the failure.
        history : History
            Of the exposure; the failure is added to it.
        alone : bool
            Whether the exposure was the only one under way.
        """
        history.tries[kind] = count = history.tries.get(kind, 0) + 1
        if kind in DEATHS:
            return self._after_death(kind, history, alone=alone)
        if kind is Kind.LOST:
            return Decision(Action.AGAIN if count <= self.losses else Action.FAIL)
        if kind is Kind.CHANGED:
            return Decision(Action.AGAIN if count <= 1 else Action.FAIL, self.first_delay)
        if kind is Kind.FULL and sum(map(self.delay, range(1, count + 1))) <= self.patience:
            return Decision(Action.AGAIN, self.delay(count))
        if kind is Kind.STORAGE and count <= self.retries:
            return Decision(Action.AGAIN, self.delay(count))
        return Decision(Action.FAIL)

    def _after_death(self, kind: Kind, history: History, *, alone: bool) -> Decision:
        history.deaths_alone += alone
        history.unexplained += alone and kind is Kind.DEATH
        if history.blame >= self.deaths_alone:
            return Decision(Action.QUARANTINE)
        if alone:
            return Decision(Action.ALONE, self.delay(history.deaths_alone))
        if kind is Kind.MEMORY or history.count(*DEATHS) >= self.deaths:
            return Decision(Action.ALONE)
        return Decision(Action.AGAIN, self.first_delay)

    def delay(self, count: int) -> float:
        """Return the seconds before a further try."""
        return min(self.first_delay * 2 ** min(count - 1, 16), self.longest_delay)
