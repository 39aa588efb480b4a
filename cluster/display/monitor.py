"""The state of a running batch, collected for its page on the dashboard."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from calbatch.cluster.display.progress import BatchTally
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.ledger.records import FAILED, FINAL

STATE_LETTERS = {
    "waiting": "w",
    "running": "r",
    "retrying": "t",
    "done": "d",
    "kept": "k",
    "failed": "f",
    "quarantined": "q",
}
"""The letter that stands for each state of an exposure in a snapshot."""

MOST_FAILURES = 200
"""Maximum number of failures in a snapshot, the latest ones."""

LONGEST_TEXT = 500
"""Maximum number of characters of a text in a snapshot; the rest is left out."""

DISK_EVERY = 5.0
"""Seconds between measurements of the space on the disk."""

_RUN = re.compile(r"(.)\1*")


@dataclass(frozen=True, kw_only=True)
class FailedExposure:
    """An exposure that has failed.

    Attributes
    ----------
    number : int
        Its position in the batch.
    path, reason : str
        Its input, and the reason for the failure.
    """

    number: int
    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class BatchSnapshot:
    """The state of a batch at some time.

    Attributes
    ----------
    batch, pipeline : str
        Names of the batch and of its pipeline.
    state : str
        ``running``; ``ended`` when all exposures have final outcomes; otherwise ``stopped``.
    total : int
        Number of exposures.
    counts : mapping
        Number of exposures in each state.
    grid : str
        The states of all exposures in order, as runs; see `encode_runs`.
    rate : float
        Exposures calibrated per minute, recently.
    left : float, optional
        Seconds left at this rate; None if they cannot be estimated.
    seconds : float
        Seconds since the driver began.
    steps : mapping
        CPU seconds by step, since the driver began.
    cache_requests, cache_hits : int
        Numbers of requests for parts of references to the workers' caches, and of hits.
    free : int, optional
        Bytes that are free on the disk of the output folder.
    output, site : str
        The output folder, and where the batch runs.
    failures : sequence of FailedExposure
        The latest failures.
    """

    batch: str
    pipeline: str
    state: str
    total: int
    counts: Mapping[str, int]
    grid: str
    rate: float
    left: float | None
    seconds: float
    steps: Mapping[str, float]
    cache_requests: int
    cache_hits: int
    free: int | None
    output: str
    site: str
    failures: Sequence[FailedExposure]

    def public_part(self) -> dict[str, Any]:
        """Return the states and numbers, which anyone may see, as values for JSON."""
        return {k: v for k, v in asdict(self).items() if k not in ("output", "site", "failures")}

    def private_part(self) -> dict[str, Any]:
        """Return the paths and reasons, which need a token, as values for JSON."""
        failures = [asdict(failure) for failure in self.failures]
        return {"output": self.output, "site": self.site, "failures": failures}


def encode_runs(letters: str) -> str:
    """Return a text with each run of a letter as the letter and its length: ``dddw`` is ``d3w``."""
    runs = ((match[1], len(match[0])) for match in _RUN.finditer(letters))
    return "".join(f"{letter}{length}" if length > 1 else letter for letter, length in runs)


def shorten(text: str) -> str:
    """Return a text as one line, without control characters, and not too long."""
    escaped = escape_text(text[: LONGEST_TEXT + 1])
    return escaped if len(escaped) <= LONGEST_TEXT else f"{escaped[: LONGEST_TEXT - 1]}…"


class BatchMonitor:
    """Collects the states of exposures and their outcomes, from which it makes snapshots.

    The driver's thread adds to it; any thread takes snapshots.

    Parameters
    ----------
    batch, pipeline, output : str
        Names of the batch and its pipeline, and the output folder.
    states : sequence of str
        The states of all exposures, in order.
    left : int
        Number of outcomes to expect.
    failures : iterable of FailedExposure
        Exposures that failed earlier, and are not tried again.
    measure_free : callable
        Returns the bytes that are free on the disk of the output folder, or None.
    """

    def __init__(
        self,
        *,
        batch: str,
        pipeline: str,
        output: str,
        states: Sequence[str],
        left: int,
        failures: Iterable[FailedExposure] = (),
        measure_free: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.site = ""
        self._batch, self._pipeline, self._output = batch, pipeline, output
        self._letters = bytearray("".join(STATE_LETTERS.get(s, "w") for s in states), "ascii")
        self._tally = BatchTally(left)
        self._steps: Counter[str] = Counter()
        self._cache_requests = self._cache_hits = 0
        self._failures = {failure.number: failure for failure in failures}
        self._measure_free, self._free = measure_free, measure_free()
        self._began = self._measured = time.monotonic()
        self._lock = threading.Lock()

    def set_state(self, number: int, state: str) -> None:
        """Set the state of an exposure."""
        with self._lock:
            self._letters[number] = ord(STATE_LETTERS[state])
            if state not in FAILED:
                self._failures.pop(number, None)

    def add(self, outcome: Outcome) -> None:
        """Add the final outcome of an exposure."""
        with self._lock:
            self._tally.add(outcome)
            self._steps.update(outcome.stages)
            self._cache_requests += outcome.cache_requests
            self._cache_hits += outcome.cache_hits
            if outcome.failed:
                self._failures[outcome.number] = describe_failed(
                    outcome.number, str(outcome.path), outcome.error
                )
            while len(self._failures) > MOST_FAILURES:
                del self._failures[next(iter(self._failures))]
        now = time.monotonic()
        if now - self._measured >= DISK_EVERY:
            self._free, self._measured = self._measure_free(), now

    def take_snapshot(self, *, running: bool = True) -> BatchSnapshot:
        """Return the present state of the batch.

        Parameters
        ----------
        running : bool
            False if no site is open for it.
        """
        with self._lock:
            letters = self._letters.decode("ascii")
            steps, failures = dict(self._steps), tuple(self._failures.values())
            rate, left = self._tally.rate, self._tally.left
            requests, hits = self._cache_requests, self._cache_hits
        counts = {state: letters.count(letter) for state, letter in STATE_LETTERS.items()}
        is_complete = sum(counts[state] for state in FINAL) == len(letters)
        return BatchSnapshot(
            batch=self._batch,
            pipeline=shorten(self._pipeline),
            state="running" if running else "ended" if is_complete else "stopped",
            total=len(letters),
            counts={state: count for state, count in counts.items() if count},
            grid=encode_runs(letters),
            rate=rate,
            left=None if is_complete else left,
            seconds=time.monotonic() - self._began,
            steps={shorten(name): seconds for name, seconds in steps.items()},
            cache_requests=requests,
            cache_hits=hits,
            free=self._free,
            output=shorten(self._output),
            site=shorten(self.site),
            failures=failures,
        )


def describe_failed(number: int, path: str, reason: str) -> FailedExposure:
    """Return a failed exposure with texts that are safe to show, without the path in the reason."""
    path, reason = shorten(path), escape_text(reason)
    reason = reason.removeprefix(f"{path}: ")
    return FailedExposure(number=number, path=path, reason=shorten(reason))
