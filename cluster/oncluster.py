"""Exposures on a dask scheduler, a few at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calbatch.cluster.errors import LostError
from calbatch.cluster.job import Job, calibrate, prepared
from calbatch.cluster.outcome import Outcome, Peak, failure, peak_memory, remarks
from calbatch.models.errors import StorageError
from calbatch.models.saving import written_of

WINDOW_PER_THREAD = 2
"""Exposures under way for each thread: enough that none waits, few enough to stop quickly."""

COUNT_EVERY = 5.0
"""Seconds between counts of a scheduler's threads: workers come and go."""


@dataclass(frozen=True)
class _Task:
    """An exposure under way."""

    job: Job
    start: float
    future: Any
    writers: Sequence[Any] = ()
    remarks: Sequence[str] = ()


class OnCluster:
    """A dask scheduler with its workers.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    grain : {"exposure", "tile"}
        What a task is: a whole exposure, or one of its tiles.
    description : str
        What to call it.
    dashboard : str, optional
        Where it can be watched.
    """

    def __init__(
        self, client: Any, grain: str, description: str, dashboard: str | None = None
    ) -> None:
        self.client, self.grain = client, grain
        self.description, self.dashboard = description, dashboard
        self._room, self._counted = 0, float("-inf")

    def outcomes(self, jobs: Iterator[Job], batch: str) -> Iterator[Outcome]:
        """Keep a window of exposures under way, and yield what became of each as it ends.

        An exposure that lost workers, or room on a disk, is tried once more, alone: its neighbours
        may have been what took them.
        """
        suspects: list[Job] = []
        yield from self._windowed(jobs, batch, suspects)
        for job in suspects:
            yield from self._windowed(iter([job]), f"{batch}-alone", None)

    def _windowed(
        self, jobs: Iterator[Job], batch: str, suspects: list[Job] | None
    ) -> Iterator[Outcome]:
        from distributed import as_completed

        running: dict[Any, _Task] = {}
        completed = as_completed(loop=self.client.loop)
        try:
            yield from self._fill(jobs, batch, running, completed)
            for future in completed:
                task = running.pop(future.key)
                outcome = self._outcome(task, final=suspects is None)
                for writer in task.writers:
                    writer.abort()
                future.release()
                if outcome is not None:
                    yield outcome
                elif suspects is not None:
                    suspects.append(task.job)
                yield from self._fill(jobs, batch, running, completed)
        finally:
            self._abandon(running)

    def _fill(
        self, jobs: Iterator[Job], batch: str, running: dict[Any, _Task], completed: Any
    ) -> Iterator[Outcome]:
        """Submit jobs while there is room; yield those that fail before there is a task."""
        while len(running) < self._capacity():
            job = next(jobs, None)
            if job is None:
                return
            start = time.perf_counter()
            remarkable: list[str] = []
            try:
                with remarks(remarkable):
                    future, writers = self._submitted(job, batch)
            except Exception as error:  # one exposure's failure is its own
                yield failure(job.number, job.path, error, start, remarkable)
                continue
            task = _Task(job, start, future, writers, remarkable)
            running[task.future.key] = task
            completed.add(task.future)

    def _capacity(self) -> int:
        now = time.monotonic()
        if now - self._counted > COUNT_EVERY and self.client.status == "running":
            threads = sum(self.client.nthreads().values())
            self._room, self._counted = WINDOW_PER_THREAD * max(threads, 1), now
        return self._room or WINDOW_PER_THREAD

    def _submitted(self, job: Job, batch: str) -> tuple[Any, Sequence[Any]]:
        """Return a job's future, and the writers of this process."""
        if self.client.status != "running":
            raise LostError("the connection to the scheduler was lost before its turn came")
        if self.grain == "tile":
            return self._submitted_tiles(job)
        # Keys of one group: dask queues them, and shows one bar for the batch. Oldest first.
        key = (f"{job.step.name}-{batch}", job.number)
        return self.client.submit(calibrate, job, key=key, pure=False, priority=-job.number), ()

    def _submitted_tiles(self, job: Job) -> tuple[Any, Sequence[Any]]:
        graph, writers = prepared(job)
        try:
            return self.client.compute(graph, priority=-job.number), writers
        except BaseException:
            for writer in writers:
                writer.abort()
            raise

    def _outcome(self, task: _Task, *, final: bool) -> Outcome | None:
        """Return what became of a task; None where it is to be tried again."""
        # as_completed would not give a result that is lost, with its worker, while it is fetched.
        try:
            result = task.future.result()
        except (Exception, asyncio.CancelledError) as error:
            told = _told(error)
            if isinstance(told, (LostError, StorageError)) and not final:
                return None
            return failure(task.job.number, task.job.path, told, task.start, task.remarks)
        return result if isinstance(result, Outcome) else self._tiled(task, result)

    def _tiled(self, task: _Task, computed: Any) -> Outcome:
        written = written_of(computed)
        return Outcome(
            task.job.number,
            task.job.path,
            products=tuple(Path(p.path) for p in written.products),
            warnings=tuple(dict.fromkeys(task.remarks)),
            seconds=time.perf_counter() - task.start,
            stages=written.seconds,
            peaks=(*self._peaks(), peak_memory()),
        )

    def _peaks(self) -> Sequence[Peak]:
        with suppress(Exception):  # only for display
            return tuple(self.client.run(peak_memory, on_error="ignore").values())
        return ()

    def _abandon(self, running: dict[Any, _Task]) -> None:
        """Take back what is under way, and leave no unfinished files of ours."""
        if running:
            with suppress(Exception):  # the scheduler may be what was lost
                self.client.cancel([task.future for task in running.values()])
        for task in running.values():
            for writer in task.writers:
                writer.abort()


def _told(error: BaseException) -> BaseException:
    """Return an error of dask's in words of ours."""
    from distributed import CancelledError, KilledWorker

    if isinstance(error, KilledWorker):
        return LostError(
            "every worker that took it died, even when it ran alone (the last was "
            f"{error.last_worker.address}): most likely out of memory; try fewer workers or lower "
            "tiles"
        )
    if isinstance(error, (CancelledError, asyncio.CancelledError)):
        return LostError("the scheduler lost it")
    return error
