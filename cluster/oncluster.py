"""Exposures on a dask scheduler."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from calbatch.cluster.errors import DeathError, LostError, SiteLostError
from calbatch.cluster.job import Job, calibrate, prepared, success
from calbatch.cluster.outcome import Clock, Outcome, Peak, failure, peak_memory, remarks
from calbatch.models.saving import written_of

WINDOW_PER_THREAD = 2
"""Exposures under way for each thread: enough that none waits, few enough to stop quickly."""

COUNT_EVERY = 5.0
"""Seconds between counts of a scheduler's threads: workers come and go."""


@dataclass(frozen=True)
class _Task:
    """An exposure under way."""

    job: Job
    future: Any
    clock: Clock = field(default_factory=Clock)
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
        self._running: dict[Any, _Task] = {}
        self._ended: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._serial = 0

    def room(self) -> int:
        """Return how many exposures to have under way."""
        now = time.monotonic()
        if now - self._counted > COUNT_EVERY and self.client.status == "running":
            threads = sum(self.client.nthreads().values())
            self._room, self._counted = WINDOW_PER_THREAD * max(threads, 1), now
        return self._room or WINDOW_PER_THREAD

    def submit(self, job: Job) -> Outcome | None:
        """Begin an exposure; return its outcome where it failed before there was a task.

        Raises
        ------
        SiteLostError
            When the scheduler is gone.
        """
        self._require_scheduler()
        clock, remarkable = Clock(), list[str]()
        try:
            with remarks(remarkable):
                future, writers = self._submitted(job)
        except Exception as error:  # one exposure's failure is its own
            self._require_scheduler()
            return failure(job.number, job.path, error, clock, remarkable)
        self._running[future.key] = _Task(job, future, clock, writers, remarkable)
        future.add_done_callback(self._note)
        return None

    def _require_scheduler(self) -> None:
        if self.client.status != "running":
            raise SiteLostError("the connection to the scheduler was lost")

    def _submitted(self, job: Job) -> tuple[Any, Sequence[Any]]:
        """Return a job's future, and the writers of this process."""
        if self.grain == "tile":
            return self._submitted_tiles(job)
        # Keys of one group: dask queues them, and shows one bar for the batch. Oldest first.
        self._serial += 1
        key = (f"{job.step.name}-{job.batch}", self._serial)
        return self.client.submit(_calibrate, job, key=key, pure=False, priority=-job.number), ()

    def _submitted_tiles(self, job: Job) -> tuple[Any, Sequence[Any]]:
        graph, writers = prepared(job)
        try:
            return self.client.compute(graph, priority=-job.number), writers
        except BaseException:
            for writer in writers:
                writer.abort()
            raise

    def _note(self, future: Any) -> None:
        """Fetch what an ended task gave; dask calls this, in a thread of its own."""
        try:
            self._ended.put((future.key, future.result()))
        except (Exception, asyncio.CancelledError) as error:
            own = future.status == "error"  # otherwise it is the connection's, not the task's
            lost = LostError(f"the scheduler lost it: {error}")
            self._ended.put((future.key, error if own else lost))

    def ended(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return what has ended, after waiting for something to end.

        Raises
        ------
        SiteLostError
            When the scheduler is gone.
        """
        found: list[tuple[Job, Outcome]] = []
        with suppress(queue.Empty):
            while True:
                key, result = self._ended.get(timeout=0 if found else timeout)
                task = self._running.pop(key, None)
                if task is not None:  # otherwise it was taken back
                    found.append((task.job, self._outcome(task, result)))
                    task.future.release()
        if not found:
            self._require_scheduler()
        return found

    def _outcome(self, task: _Task, result: Any) -> Outcome:
        for writer in task.writers:
            writer.abort()
        if isinstance(result, BaseException):
            told = _told(result)
            return failure(task.job.number, task.job.path, told, task.clock, task.remarks)
        if isinstance(result, Outcome):
            return result
        peaks = (*self._peaks(), peak_memory())
        return success(task.job, written_of(result), task.clock, task.remarks, peaks)

    def _peaks(self) -> Sequence[Peak]:
        with suppress(Exception):  # only for display
            return tuple(self.client.run(peak_memory, on_error="ignore").values())
        return ()

    def give_up(self, numbers: Iterable[int] | None = None, *, kill: bool = False) -> None:
        """Take back exposures, all or some, and leave no unfinished files of ours.

        Parameters
        ----------
        numbers : iterable of int, optional
            Which; by default all.
        kill : bool
            Whether to restart the workers that are at them: they may never end.
        """
        wanted = None if numbers is None else set(numbers)
        taken = [k for k, t in self._running.items() if wanted is None or t.job.number in wanted]
        tasks = [self._running.pop(key) for key in taken]
        if tasks:
            with suppress(Exception):  # the scheduler may be what was lost
                workers = self._workers_of(taken) if kill else []
                self.client.cancel([task.future for task in tasks])
                if workers:
                    self.client.restart_workers(workers, timeout=30, raise_for_error=False)
        for task in tasks:
            for writer in task.writers:
                writer.abort()

    def _workers_of(self, keys: Sequence[Any]) -> list[str]:
        wanted = {str(key) for key in keys}
        at = self.client.processing()
        return [worker for worker, held in at.items() if wanted & {str(k) for k in held}]

    def started(self) -> set[int]:
        """Return the exposures that workers are at, as far as is known."""
        with suppress(Exception):
            held = {str(key) for keys in self.client.processing().values() for key in keys}
            return {t.job.number for k, t in self._running.items() if str(k) in held}
        return set()


def _calibrate(job: Job) -> Outcome:
    """Calibrate an exposure in a worker."""
    from distributed import get_worker

    limit = getattr(get_worker().memory_manager, "memory_limit", None)
    return calibrate(job, memory=int(limit or 0))


def _told(error: BaseException) -> BaseException:
    """Return an error of dask's in words of ours."""
    from distributed import CancelledError, KilledWorker

    if isinstance(error, KilledWorker):
        return DeathError(f"its worker died (the last was {error.last_worker.address})")
    if isinstance(error, (CancelledError, asyncio.CancelledError)):
        return LostError("the scheduler lost it")
    return error
