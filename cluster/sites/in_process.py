"""The site for calibrating in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from calbatch.cluster.exposure.job import Job, calibrate
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.sites.silence import SilentWorker
from calbatch.models.errors import format_count


class InProcess:
    """The calling process: exposures one after another, with their tiles in threads.

    Parameters
    ----------
    threads : int
        Number of threads; 0 runs everything in the calling thread.
    """

    dashboard: str | None = None
    is_blocking = True

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.description = describe_threads(threads)
        self._waiting: list[Job] = []

    def room(self) -> int:
        """Return 1: the next exposure starts when the previous one has ended."""
        return 1

    def submit(self, job: Job) -> None:
        """Keep an exposure until `collect` calibrates it."""
        self._waiting.append(job)

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Calibrate the submitted exposures, and return their outcomes."""
        if not self._waiting:
            threading.Event().wait(timeout)
        jobs, self._waiting = self._waiting, []
        return [(job, calibrate(job, self.threads)) for job in jobs]

    def running_numbers(self) -> set[int]:
        """Return an empty set: this process is blocked while an exposure is being calibrated."""
        return set()

    def find_silent(self, limit: float) -> list[SilentWorker]:
        """Return an empty list: there are no workers."""
        return []

    def discard_worker(self, silent: SilentWorker) -> None:
        """Do nothing: there are no workers."""

    def withdraw(self, numbers: Iterable[int] | None = None, *, kill: bool = False) -> None:
        """Forget submitted exposures that have not been calibrated."""
        withdrawn = {job.number for job in self._waiting} if numbers is None else set(numbers)
        self._waiting = [job for job in self._waiting if job.number not in withdrawn]


def describe_threads(threads: int) -> str:
    """Return a description of this process with its number of threads."""
    threading = f"in {format_count(threads, 'thread')}" if threads else "without threads"
    return f"in this process, {threading}"
