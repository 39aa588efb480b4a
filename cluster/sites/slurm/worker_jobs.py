"""Slurm jobs that run workers, and the cluster that keeps a number of them running."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Status

from calbatch.cluster.sites.slurm.commands import error_line, job_environment, job_script

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between counts of the workers, which do not query Slurm."""

ASK = 2.0
"""Seconds between queries of Slurm while workers are missing."""

ASK_SELDOM = 30.0
"""Seconds between queries if workers have been missing for a long time: queues may take hours."""


@dataclass(frozen=True)
class Recipe:
    """The definition of a worker job.

    Attributes
    ----------
    name : str
        The jobs' name, which is unique to the cluster.
    sbatch : sequence of str
        Arguments of sbatch.
    worker : sequence of str
        The command that starts workers, without their name and the scheduler.
    before : sequence of str
        Shell lines that run first.
    variables : mapping
        Environment variables of the job, in addition to those of this process.
    """

    name: str
    sbatch: Sequence[str]
    worker: Sequence[str]
    before: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


class WorkerJob(SLURMJob):
    """A job that runs workers.

    dask-jobqueue writes all options into a script, unquoted. This class passes them to Slurm as
    arguments; its script is one quoted command.
    """

    def __init__(
        self, scheduler: Any = None, name: Any = None, *, recipe: Recipe, **kwargs: Any
    ) -> None:
        super().__init__(scheduler=scheduler, name=name, **kwargs)
        self.recipe = recipe

    def job_script(self) -> str:
        """Return the job's script."""
        command = [*self.recipe.worker, "--name", str(self.name), str(self.scheduler)]
        return job_script(command, self.recipe.before)

    async def _submit_job(self, script_filename: str) -> str:
        command = ["sbatch", *self.recipe.sbatch, script_filename]
        return str(await self._call(command, env=job_environment(self.recipe.variables)))

    async def close(self) -> None:
        """Cancel the job."""
        await super().close()
        self.status = Status.closed
        self._event_finished.set()


class WorkerCluster(SLURMCluster):
    """A scheduler in this process, and a constant number of worker jobs.

    Parameters
    ----------
    recipe : Recipe
        Definition of a job.
    jobs, cores : int
        Number of jobs, and of workers per job.
    **kwargs
        Passed to SLURMCluster.

    Attributes
    ----------
    wasted : int
        Jobs that have ended without a worker since the last worker arrived.
    """

    job_cls: type[SLURMJob] = WorkerJob

    def __init__(self, recipe: Recipe, jobs: int, cores: int, **kwargs: Any) -> None:
        self.recipe, self.jobs, self.wasted = recipe, jobs, 0
        self._expected = jobs * cores
        self._numbers = itertools.count()
        self._watching: asyncio.Task[None] | None = None
        self._filling: asyncio.Task[None] | None = None
        super().__init__(recipe=recipe, cores=cores, processes=cores, name=recipe.name, **kwargs)

    def submit(self) -> None:
        """Submit the jobs, and replace those that end from now on.

        Raises
        ------
        RuntimeError
            If Slurm refuses them.
        """
        self.sync(self._fill)
        self.sync(self._start_watching)

    def _new_worker_name(self, worker_number: int) -> str:
        """Return an unused name: the scheduler may not know yet that an earlier worker is gone."""
        return f"{self._name}-{next(self._numbers)}"

    async def _fill(self) -> None:
        while len(self.worker_spec) < self.jobs:
            self.worker_spec.update(self.new_worker_spec())
        await self._correct_state()

    async def _start_watching(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Replace jobs that have ended, as long as the cluster is open."""
        present, pause, ask = -1, ASK, 0.0
        scheduler: Any = self.scheduler
        while True:
            await asyncio.sleep(LOOK)
            now, before = time.monotonic(), present
            present = len(scheduler.workers)
            if present > before:
                self.wasted = 0
            if present != before:
                pause, ask = ASK, now
            if present < self._expected and now >= ask:
                try:
                    await self._replace()
                except (RuntimeError, OSError) as error:  # Slurm may be unavailable for a while
                    log.warning("Slurm jobs: %s", error_line(str(error)))
                pause = min(ASK_SELDOM, pause * 1.3)
                ask = time.monotonic() + pause

    async def _replace(self) -> None:
        submitted = dict(self.workers)
        alive = await self._query_jobs()
        for name, job in submitted.items():
            if job.job_id in alive:
                continue
            if job.job_id is not None:
                self.wasted += 1
                log.warning("Slurm job %s is gone, and is replaced", job.job_id)
            job.status = Status.closed
            self.workers.pop(name, None)
            self.worker_spec.pop(name, None)
        # Closing asserts that no job is half submitted, so a submission is not interrupted.
        self._filling = asyncio.create_task(self._fill())
        await asyncio.shield(self._filling)

    async def _query_jobs(self) -> set[str]:
        ask = ["squeue", "--noheader", "--format=%A", f"--user={os.getuid()}"]
        listed = await WorkerJob._call([*ask, f"--name={self.recipe.name}"], env=job_environment())
        return set(listed.split())

    async def _stop_watching(self) -> None:
        """Replace no more jobs, and wait until those that are being submitted have been."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None
        if self._filling is not None:
            with suppress(RuntimeError, OSError):
                await self._filling
            self._filling = None

    async def _close(self) -> None:
        await self._stop_watching()
        await super()._close()
        # Cancel jobs that were being submitted meanwhile.
        with suppress(RuntimeError, OSError):
            await WorkerJob._call(["scancel", f"--name={self.recipe.name}"], env=job_environment())
