"""Where a batch runs: in this process, on a cluster of this machine, or on a scheduler's."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from calbatch.cluster.errors import RequestError, SiteLostError
from calbatch.cluster.exposure.job import Job, calibrate
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.sites.config import NamedSite, opened, overridden, site_named
from calbatch.cluster.sites.options import LocalOptions, SlurmOptions
from calbatch.cluster.sites.silence import Silent
from calbatch.cluster.sites.slurm.commands import sent

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

    def room(self) -> int:
        """Return how many exposures to have under way."""
        ...

    def submit(self, job: Job) -> Outcome | None:
        """Begin an exposure; return its outcome where it failed at once.

        Raises
        ------
        SiteLostError
            When the place is gone.
        """
        ...

    def ended(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return what has ended, after waiting for something to end.

        Raises
        ------
        SiteLostError
            When the place is gone.
        """
        ...

    def started(self) -> set[int]:
        """Return the numbers of the exposures that are being calibrated."""
        ...

    def silent(self, limit: float) -> list[Silent] | None:
        """Return the workers that are not heard of, by a limit in seconds.

        None where it is too early for another look.
        """
        ...

    def discard(self, silent: Silent) -> None:
        """End a worker that is given up, and give it nothing more."""
        ...

    def give_up(self, numbers: Iterable[int] | None = None, *, kill: bool = False) -> None:
        """Take back exposures, all or some; with ``kill``, by ending the processes at them."""
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
        self._waiting: list[Job] = []

    def room(self) -> int:
        """Return 1: the next exposure begins when one has ended."""
        return 1

    def submit(self, job: Job) -> None:
        """Keep an exposure until `ended` calibrates it. A crash could not be read of in a log."""
        self._waiting.append(replace(job, log=None))

    def ended(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Calibrate what was submitted."""
        if not self._waiting:
            threading.Event().wait(timeout)
        jobs, self._waiting = self._waiting, []
        return [(job, calibrate(job, self.threads)) for job in jobs]

    def started(self) -> set[int]:
        """Return nothing: while something is calibrated, nobody can ask."""
        return set()

    def silent(self, limit: float) -> list[Silent]:
        """Return nothing: there are no workers but this process."""
        return []

    def discard(self, silent: Silent) -> None:
        """Do nothing."""

    def give_up(self, numbers: Iterable[int] | None = None, *, kill: bool = False) -> None:
        """Forget what waits."""
        wanted = None if numbers is None else set(numbers)
        self._waiting = [j for j in self._waiting if wanted and j.number not in wanted]


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
    site : str, optional
        A site by its name, instead of ``scheduler``.
    options : mapping
        What is said about that site beside its configuration: option to text.
    """

    scheduler: str = "auto"
    workers: int | None = None
    grain: str = "auto"
    insecure: bool = False
    site: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def named(self) -> NamedSite | None:
        """Return the site that is asked for by name, with its options.

        Raises
        ------
        RequestError
            When there is none, or it cannot be so.
        """
        if self.site is None:
            if self.options:
                raise RequestError(f"--site.{next(iter(self.options))}: of which site? --site NAME")
            return None
        return overridden(site_named(self.site), self.options)


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
    named : NamedSite, optional
        The site that has this name.
    """

    scheduler: str
    workers: int
    grain: str
    insecure: bool = False
    named: NamedSite | None = None

    @property
    def description(self) -> str:
        """What to call it, before it is there."""
        if self.scheduler == "threads":
            return InProcess(self.workers).description
        if self.scheduler == "sync":
            return InProcess(0).description
        if self.scheduler == "local":
            return f"{self.workers} local worker{'s' * (self.workers > 1)}"
        if self.named is not None:
            return f"the site {self.named.name}"
        return f"the scheduler at {self.scheduler}"

    def alone(self) -> Place:
        """Return the place for one exposure that may need all of it, or more memory."""
        if self.named is not None and isinstance(self.named.options, SlurmOptions):
            return replace(self, named=replace(self.named, options=_roomy(self.named.options)))
        return replace(self, workers=1) if self.scheduler == "local" else self


def _roomy(options: SlurmOptions) -> SlurmOptions:
    """Return one job of a single worker, with twice the memory that a worker has otherwise.

    Where memory comes with cores, because ``--mem`` is not said, the job has more of those. Where
    neither can be said, the worker has the memory of a whole job.
    """
    from dask.utils import parse_bytes

    whole = int(parse_bytes(options.memory))
    memory = max(whole, 2 * (whole // options.cores))
    directives = options.directives
    if not sent("mem", options.skip, directives):
        if sent("cpus-per-task", options.skip, directives):
            directives = (*directives, f"--cpus-per-task={max(options.cores, 2)}")
        else:
            memory = whole
    return replace(options, jobs=1, cores=1, memory=f"{memory // 2**20}MiB", directives=directives)


def checked(wish: Wish) -> None:
    """Refuse what cannot be, before anything is begun.

    Raises
    ------
    RequestError
        For a scheduler of no known kind, or one that is not safe.
    """
    if wish.named() is None and "://" in wish.scheduler:
        from calbatch.cluster.sites.remote import refuse_insecure

        refuse_insecure(wish.scheduler, insecure=wish.insecure)
    decided(wish, 1, 0)


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
    named = wish.named()
    if named is not None and isinstance(named.options, LocalOptions):
        workers = wish.workers or named.options.workers
        wish = replace(wish, scheduler="local", workers=workers)
    elif named is not None:
        grain = wish.grain if wish.grain != "auto" else "exposure"
        return Place(named.kind, 0, grain, named=named)
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
    workers = wish.workers or _affordable()
    grain = wish.grain
    if grain == "auto":  # too few exposures keep some workers idle
        grain = "tile" if exposures < workers else "exposure"
    if grain == "exposure" and not wish.workers:
        workers = max(1, min(workers, exposures))
    return Place(scheduler, workers, grain)


def _cores() -> int:
    from dask.system import CPU_COUNT  # what a container leaves us

    return CPU_COUNT


def _affordable() -> int:
    from calbatch.cluster.sites.local import affordable

    return affordable()


def announced(place: Place) -> None:
    """Begin what takes time, of what `entered` will need."""
    if place.scheduler == "local":
        from calbatch.cluster.sites.local import start_server

        start_server()


def entered(place: Place, alone: bool = False, batch: str = "") -> AbstractContextManager[Site]:
    """Return a place as a context that gives a site to run on.

    Parameters
    ----------
    place : Place
        Where.
    alone : bool
        Whether it is for one exposure that may need all of it, or more memory than others.
    batch : str
        The batch's name, where it is for one: what earlier drivers of it left there is ended.

    Raises
    ------
    RequestError
        On entering, when a scheduler cannot be reached or used.
    """
    place = place.alone() if alone else place
    if place.scheduler in ("threads", "sync"):
        return _here(InProcess(place.workers if place.scheduler == "threads" else 0))
    if place.named is not None:
        return opened(place.named, place.grain, batch)
    if place.scheduler == "local":
        from calbatch.cluster.sites.local import local_cluster

        return local_cluster(place.workers, place.grain)
    from calbatch.cluster.sites.remote import existing

    return existing(place.scheduler, place.grain, insecure=place.insecure)


class Kept:
    """A place whose site stays from one batch to the next, until it is lost.

    Parameters
    ----------
    place : Place
        Where.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._open = ExitStack()
        self._site: Site | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self._open.close()

    @contextmanager
    def entered(self, place: Place, alone: bool, batch: str) -> Iterator[Site]:
        """Give the site; after a loss, another. One for an exposure alone is not kept."""
        if alone:
            with entered(self.place, True, batch) as other:
                yield other
            return
        if self._site is None:
            self._site = self._open.enter_context(entered(self.place))
        try:
            yield self._site
        except SiteLostError:
            self._site = None
            with suppress(Exception):  # it is lost already
                self._open.close()
            raise


@contextmanager
def _here(site: InProcess) -> Iterator[Site]:
    yield site
