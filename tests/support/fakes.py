"""A site and a planner without workers and files: second implementations of their interfaces."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import SiteLostError
from calbatch.cluster.exposure.job import Job
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.cluster.planning.identity import InputVersion
from calbatch.cluster.planning.planned_exposure import PlannedExposure, StepSettings
from calbatch.models.fits.writer import Product

SETTINGS = StepSettings(step=Step(), digest="d", body={"": {}})

Work = Callable[[Job], Outcome | None]


def exposure_path(number: int) -> Path:
    """Return the path of an exposure, which does not exist."""
    return Path(f"/data/e{number}_uncal.fits")


def plan(number: int, **fields: Any) -> PlannedExposure:
    """Return a planned exposure without references."""
    path = exposure_path(number)
    how = {
        "settings": SETTINGS,
        "references": ResolvedReferences(""),
        "source": InputVersion(str(path), 10, 20, f"header {number}"),
        "header": {"meta.number": number},
    }
    return PlannedExposure(number=number, path=path, **(how | fields))


def inputs(count: int) -> list[tuple[int, Path]]:
    """Return the numbers and paths of some exposures."""
    return [(number, exposure_path(number)) for number in range(count)]


def succeed(job: Job, size: int = 5) -> Outcome:
    """Return the outcome of an exposure with one product."""
    product = Product(f"/out/{job.number}_rate.fits", size, 7, "digest")
    return Outcome(number=job.number, path=job.path, written=(product,), content="content")


def fail(job: Job, kind: FailureKind = FailureKind.FAULT) -> Outcome:
    """Return the outcome of a failed exposure."""
    return Outcome(number=job.number, path=job.path, error=f"{job.path}: {kind}", kind=kind)


class FakePlanner:
    """Plans exposures without reading files.

    Parameters
    ----------
    planned : mapping, optional
        Number to the plans of an exposure, the last of which is repeated.
    block_size : int
        Exposures in a block.
    """

    def __init__(
        self, planned: Mapping[int, list[PlannedExposure]] | None = None, block_size: int = 2
    ) -> None:
        self.planned = {number: list(plans) for number, plans in (planned or {}).items()}
        self.block_size = block_size
        self.calls: list[list[int]] = []

    def plan_blocks(self, exposures: Iterable[tuple[int, Path]]) -> Iterable[list[PlannedExposure]]:
        """Yield planned exposures in blocks."""
        pending = list(exposures)
        for start in range(0, len(pending), self.block_size):
            yield self.plan_block(pending[start : start + self.block_size])

    def plan_block(self, exposures: Iterable[tuple[int, Path]]) -> list[PlannedExposure]:
        """Return some planned exposures."""
        self.calls.append([number for number, _ in exposures])
        return [self._plan(number) for number in self.calls[-1]]

    def _plan(self, number: int) -> PlannedExposure:
        plans = self.planned.get(number)
        if not plans:
            return plan(number)
        return plans.pop(0) if len(plans) > 1 else plans[0]


class FakeSite:
    """Calls a function for each job when outcomes are collected.

    Parameters
    ----------
    work : callable
        Returns the outcome of a job; None if the job does not end yet.
    slots : int
        Number of jobs to keep in flight.
    lost_after : int, optional
        Number of outcomes after which the site is lost.
    """

    description, dashboard, is_blocking = "on a fake site", None, False

    def __init__(self, work: Work = succeed, slots: int = 2, lost_after: int | None = None) -> None:
        self.work, self.slots, self.lost_after = work, slots, lost_after
        self.submitted: list[Job] = []
        self.withdrawn: list[int] = []
        self.killed: list[int] = []
        self.discarded: list[Any] = []
        self.most = 0
        self.silent: list[Any] = []
        self._jobs: dict[int, Job] = {}

    def room(self) -> int:
        """Return the number of slots."""
        return self.slots

    def submit(self, job: Job) -> None:
        """Accept a job."""
        self.submitted.append(job)
        self._jobs[job.number] = job
        self.most = max(self.most, len(self._jobs))

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Work on all jobs, and return the outcomes of those that end."""
        ended = []
        for number, job in list(self._jobs.items()):
            if self.lost_after == 0:
                raise SiteLostError("the fake site is gone")
            outcome = self.work(job)
            if outcome is not None:
                ended.append((job, outcome))
                del self._jobs[number]
                self.lost_after = None if self.lost_after is None else self.lost_after - 1
        if not ended:
            Event().wait(min(timeout, 0.01))
        return ended

    def running_numbers(self) -> set[int]:
        """Return the numbers of the jobs that have not ended."""
        return set(self._jobs)

    def find_silent(self, limit: float) -> list[Any]:
        """Return the silent workers that a test has set, once."""
        silent, self.silent = self.silent, []
        return silent

    def discard_worker(self, silent: Any) -> None:
        """Record a worker that is abandoned."""
        self.discarded.append(silent)

    def withdraw(self, numbers: Iterable[int] | None = None, *, kill: bool = False) -> None:
        """Forget jobs, all by default."""
        gone = list(self._jobs if numbers is None else numbers)
        for number in gone:
            self._jobs.pop(number, None)
        (self.killed if kill else self.withdrawn).extend(gone)


class FakeSites:
    """Enters one site after another; the last one is entered again and again."""

    def __init__(self, *sites: FakeSite) -> None:
        self.sites, self.entered = list(sites), []

    @contextmanager
    def enter(self, alone: bool) -> Iterable[FakeSite]:
        """Yield the next site."""
        self.entered.append(alone)
        yield self.sites.pop(0) if len(self.sites) > 1 else self.sites[0]
