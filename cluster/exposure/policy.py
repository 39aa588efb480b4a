"""The retry policy: the decision after a failure, from its kind and the exposure's history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class FailureKind(StrEnum):
    """Kinds of failures."""

    FAULT = "fault"  # in the exposure, its references or a step: a retry would fail the same way
    STORAGE = "storage"  # a disk or a connection failed
    FULL = "full"  # no space left on the disk
    CHANGED = "changed"  # the input was replaced while it was being read
    DEATH = "death"  # the worker died or was killed for an unknown reason
    CRASH = "crash"  # compiled code crashed the worker
    MEMORY = "memory"  # the worker ran out of memory
    DEADLINE = "deadline"  # the exposure took too long
    LOST = "lost"  # the scheduler was lost; the exposure is not to blame


class RetryAction(StrEnum):
    """The next action after a failure."""

    FAIL = "fail"
    AGAIN = "again"
    ALONE = "alone"  # the exposure is a suspect: it runs by itself, after all others
    QUARANTINE = "quarantine"


DEATHS = (FailureKind.DEATH, FailureKind.CRASH, FailureKind.MEMORY)

UNEXPLAINED_WEIGHT = 0.5
"""Weight of an unexplained death while running alone: something else may have killed the worker."""


@dataclass(kw_only=True)
class FailureHistory:
    """The failures of one exposure in a batch.

    Attributes
    ----------
    counts : dict
        Number of failures of each kind.
    deaths_alone : int
        Number of processes that died while the exposure was running alone.
    unexplained : int
        Number of those deaths without a known reason.
    """

    counts: dict[FailureKind, int] = field(default_factory=dict)
    deaths_alone: int = 0
    unexplained: int = 0

    def count(self, *kinds: FailureKind) -> int:
        """Return the number of failures of the given kinds."""
        return sum(self.counts.get(kind, 0) for kind in kinds)

    @property
    def blame(self) -> float:
        """Weighted number of worker deaths attributed to the exposure."""
        return self.deaths_alone - (1.0 - UNEXPLAINED_WEIGHT) * self.unexplained


@dataclass(frozen=True)
class RetryDecision:
    """The next action, and the delay before it in seconds."""

    action: RetryAction
    delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Limits on retries, delays and waiting in a batch.

    Attributes
    ----------
    retries : int
        Retries after a disk or connection failure.
    deaths : int
        Worker deaths after which an exposure that shared its workers is run alone. Until then, its
        neighbours may have caused them.
    deaths_alone : int
        Worker deaths, while running alone, after which the exposure is quarantined. Unexplained
        deaths count half.
    first_delay, longest_delay : float
        Seconds before the first retry and the upper limit; the delay doubles with each retry.
    losses : int
        Number of times that a scheduler may lose an exposure.
    deadline : float, optional
        Time limit for one exposure in seconds.
    fail_fast : bool
        True to end the batch at the first failure.
    patience : float
        Seconds to wait for disk space or for a scheduler.
    silence : float
        Seconds after which a worker that is stopped or cut off is considered dead.
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

    def __post_init__(self) -> None:
        """Refuse limits that make no sense.

        Raises
        ------
        ValueError
            If a time or number is negative or not a number, or the time for an exposure is zero.
        """
        for name, value in vars(self).items():
            least = 0 if name != "deadline" else math.ulp(0.0)
            if value is not None and not value >= least:
                words = "positive" if least else "zero or more"
                raise ValueError(f"{name} = {value}: must be {words}")

    def decide(self, kind: FailureKind, history: FailureHistory, *, alone: bool) -> RetryDecision:
        """Add a failure to an exposure's history and return the next action.

        Parameters
        ----------
        kind : FailureKind
            The kind of failure.
        history : FailureHistory
            The exposure's history; updated in place.
        alone : bool
            True if no other exposure was running.
        """
        history.counts[kind] = count = history.counts.get(kind, 0) + 1
        if kind in DEATHS:
            return self._after_death(kind, history, alone=alone)
        if kind is FailureKind.LOST:
            return RetryDecision(RetryAction.AGAIN if count <= self.losses else RetryAction.FAIL)
        if kind is FailureKind.CHANGED:
            return RetryDecision(
                RetryAction.AGAIN if count <= 1 else RetryAction.FAIL, self.first_delay
            )
        if kind is FailureKind.FULL and sum(map(self.delay, range(1, count + 1))) <= self.patience:
            return RetryDecision(RetryAction.AGAIN, self.delay(count))
        if kind is FailureKind.STORAGE and count <= self.retries:
            return RetryDecision(RetryAction.AGAIN, self.delay(count))
        return RetryDecision(RetryAction.FAIL)

    def recall(
        self, history: FailureHistory, deaths: int, kinds: Sequence[FailureKind]
    ) -> RetryAction:
        """Add the records of earlier drivers to an exposure's history; return how to begin it.

        Parameters
        ----------
        history : FailureHistory
            The exposure's history; updated in place.
        deaths : int
            Worker deaths, while running alone, of the same work when it last ended.
        kinds : sequence of FailureKind
            Kinds of the deaths since then, while running alone.
        """
        for kind in kinds:
            self.decide(kind, history, alone=True)
        was_quarantined = deaths >= self.deaths_alone > history.blame  # is tried once more
        if was_quarantined:
            history.deaths_alone += self.deaths_alone - 1
        if kinds and history.blame >= self.deaths_alone:
            return RetryAction.QUARANTINE
        return RetryAction.ALONE if kinds or was_quarantined else RetryAction.AGAIN

    def _after_death(
        self, kind: FailureKind, history: FailureHistory, *, alone: bool
    ) -> RetryDecision:
        history.deaths_alone += alone
        history.unexplained += alone and kind is FailureKind.DEATH
        if history.blame >= self.deaths_alone:
            return RetryDecision(RetryAction.QUARANTINE)
        if alone:
            return RetryDecision(RetryAction.ALONE, self.delay(history.deaths_alone))
        if kind is FailureKind.MEMORY or history.count(*DEATHS) >= self.deaths:
            return RetryDecision(RetryAction.ALONE)
        return RetryDecision(RetryAction.AGAIN, self.first_delay)

    def delay(self, count: int) -> float:
        """Return the delay in seconds before a retry, given the number of failures so far."""
        return min(self.first_delay * 2 ** min(count - 1, 16), self.longest_delay)
