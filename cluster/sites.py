"""Where a batch runs: in this process, on a cluster of this machine, or on a scheduler's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from calbatch.cluster.errors import RequestError
from calbatch.cluster.job import Job, calibrate
from calbatch.cluster.outcome import Outcome

SMALL = 64 * 2**20
"""Bytes of input that are calibrated sooner than a cluster starts."""


class Site(Protocol):
    """A place to run."""

    @property
    def description(self) -> str:
        """What to call it."""
        ...

    @property
    def dashboard(self) -> str | None:
        """Where it can be watched."""
        ...

    def outcomes(self, jobs: Iterator[Job], batch: str) -> Iterator[Outcome]:
        """Run jobs, a few at a time, and yield what became of each as it ends."""
        ...


class InProcess:
    """The calling process: exposures one after another, their tiles in some threads.

    Parameters
    ----------
    threads : int
        How many; 0 for none but the caller's.
    """

    dashboard: str | None = None

    def __init__(self, threads: int) -> None:
        self.threads = threads
        how = f"in {threads} thread{'s' * (threads > 1)}" if threads else "without threads"
        self.description = f"in this process, {how}"

    def outcomes(self, jobs: Iterator[Job], batch: str) -> Iterator[Outcome]:
        """Calibrate the exposures in turn."""
        for job in jobs:
            yield calibrate(job, self.threads)


@dataclass(frozen=True)
class Wish:
    """What a user asked for.

    Attributes
    ----------
    scheduler : str
        ``auto``, ``local``, ``threads``, ``sync``, or the address of a scheduler.
    workers : int, optional
        Worker processes or threads; by default one a core, as far as memory reaches.
    grain : {"auto", "exposure", "tile"}
        What a task is.
    insecure : bool
        Whether an unencrypted scheduler elsewhere is acceptable.
    """

    scheduler: str = "auto"
    workers: int | None = None
    grain: str = "auto"
    insecure: bool = False


@dataclass(frozen=True)
class Place:
    """What comes of a wish.

    Attributes
    ----------
    scheduler : str
        As in `Wish`, but never ``auto``.
    workers : int
        Processes or threads; 0 where a scheduler has its own.
    grain : {"exposure", "tile"}
        What a task is.
    insecure : bool
        As in `Wish`.
    """

    scheduler: str
    workers: int
    grain: str
    insecure: bool = False


def decided(wish: Wish, exposures: int, size: int) -> Place:
    """Decide what a wish leaves open.

    Parameters
    ----------
    wish : Wish
        What was asked for.
    exposures : int
        How many there are.
    size : int
        Bytes of all inputs.

    Raises
    ------
    RequestError
        For a scheduler of no known kind.
    """
    scheduler = wish.scheduler
    if scheduler == "auto":
        scheduler = "threads" if size <= SMALL or _cores() == 1 else "local"
    if "://" in scheduler:
        grain = wish.grain if wish.grain != "auto" else "exposure"
        return Place(scheduler, 0, grain, wish.insecure)
    if scheduler == "sync":
        return Place(scheduler, 1, "tile")
    if scheduler == "threads":
        return Place(scheduler, wish.workers or _cores(), "tile")
    if scheduler != "local":
        raise RequestError(
            f"scheduler {scheduler!r}: must be auto, local, threads, sync, or an address such as "
            "tcp://127.0.0.1:8786"
        )
    workers = wish.workers or _affordable(_cores())
    grain = wish.grain
    if grain == "auto":  # too few exposures keep some workers idle
        grain = "tile" if exposures < workers else "exposure"
    if grain == "exposure" and not wish.workers:
        workers = max(1, min(workers, exposures))
    return Place(scheduler, workers, grain)


def _cores() -> int:
    from dask.system import CPU_COUNT  # what a container leaves us

    return CPU_COUNT


def _affordable(workers: int) -> int:
    from distributed.system import MEMORY_LIMIT

    from calbatch.cluster.local import WORKER_BYTES

    return max(1, min(workers, MEMORY_LIMIT // WORKER_BYTES))


def announced(place: Place) -> None:
    """Begin what takes time, of what `entered` will need."""
    if place.scheduler == "local":
        from calbatch.cluster.local import start_server

        start_server()


def entered(place: Place) -> AbstractContextManager[Site]:
    """Return a place as a context that gives a site to run on.

    Raises
    ------
    RequestError
        On entering, when a scheduler cannot be reached or used.
    """
    if place.scheduler in ("threads", "sync"):
        return _here(InProcess(place.workers if place.scheduler == "threads" else 0))
    if place.scheduler == "local":
        from calbatch.cluster.local import local_cluster

        return local_cluster(place.workers, place.grain)
    from calbatch.cluster.remote import existing

    return existing(place.scheduler, place.grain, insecure=place.insecure)


@contextmanager
def _here(site: InProcess) -> Iterator[Site]:
    yield site
