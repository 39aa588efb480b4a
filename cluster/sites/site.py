"""The interface of sites: places where exposures are calibrated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from calbatch.cluster.exposure.job import Job
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.sites.silence import SilentWorker


class Site(Protocol):
    """A place where exposures are calibrated, open and ready for them."""

    @property
    def description(self) -> str:
        """A description of the site for users."""
        ...

    @property
    def dashboard(self) -> str | None:
        """The address of its dashboard, if it has one."""
        ...

    @property
    def is_blocking(self) -> bool:
        """True if `collect` calibrates in the calling thread, which does nothing else meanwhile."""
        ...

    def room(self) -> int:
        """Return the number of exposures to keep in flight."""
        ...

    def submit(self, job: Job) -> Outcome | None:
        """Submit an exposure; return its outcome if it failed at once.

        Raises
        ------
        SiteLostError
            If the site is gone.
        """
        ...

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Wait for exposures to end, and return those that have.

        Parameters
        ----------
        timeout : float
            Longest wait, in seconds.

        Raises
        ------
        SiteLostError
            If the site is gone.
        """
        ...

    def running_numbers(self) -> set[int]:
        """Return the numbers of the exposures that are being calibrated."""
        ...

    def find_silent(self, limit: float) -> list[SilentWorker] | None:
        """Return the workers that send no heartbeats; None if it is too early to look again.

        Parameters
        ----------
        limit : float
            Seconds of silence after which stopped workers are abandoned.
        """
        ...

    def discard_worker(self, silent: SilentWorker) -> None:
        """Abandon a silent worker: kill it if possible, and send it nothing more."""
        ...

    def withdraw(self, numbers: Iterable[int] | None = None, *, kill: bool = False) -> None:
        """Withdraw submitted exposures and remove their unfinished files.

        Parameters
        ----------
        numbers : iterable of int, optional
            Their numbers; all exposures by default.
        kill : bool
            Restart the workers that are calibrating them.
        """
        ...
