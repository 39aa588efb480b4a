"""Exposures on a dask scheduler."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from calbatch.cluster.errors import DeathError, LostError, SiteLostError
from calbatch.cluster.exposure.job import Job, calibrate, prepare_job, success
from calbatch.cluster.exposure.outcome import (
    MemoryPeak,
    Outcome,
    Stopwatch,
    collect_remarks,
    failure,
    peak_memory,
)
from calbatch.cluster.sites.silence import (
    ANSWER,
    Condition,
    SilentWorker,
    WorkerWatch,
    add_numbers,
    kill_worker,
)
from calbatch.cluster.sites.timeouts import call_within
from calbatch.models.saving import save_result

WINDOW_PER_THREAD = 2
"""Exposures under way for each thread: enough that none waits, few enough to stop quickly."""

TOGETHER = 0.05
"""Seconds in which results are fetched together: each fetch asks every worker that has one."""

COUNT_EVERY = 5.0
"""Seconds between counts of a scheduler's threads: workers come and go."""


FORGET = 10.0
"""Seconds to wait until a scheduler has forgotten a worker."""

RESTART = 30.0
"""Seconds to wait until workers have been restarted."""


@dataclass(frozen=True)
class _Task:
    """An exposure under way."""

    job: Job
    future: Any = None
    clock: Stopwatch = field(default_factory=Stopwatch)
    writers: Sequence[Any] = ()
    remarks: Sequence[str] = ()


def _calibrate(job: Job) -> Outcome:
    """Calibrate an exposure in a worker."""
    from distributed import get_worker

    limit = getattr(get_worker().memory_manager, "memory_limit", None)
    return calibrate(job, memory=int(limit or 0))


class DaskSite:
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

    work: Callable[[Job], Outcome] = staticmethod(_calibrate)
    """What workers do with an exposure where it is one task."""

    def __init__(
        self, client: Any, grain: str, description: str, dashboard: str | None = None
    ) -> None:
        self.client, self.grain = client, grain
        self.description, self.dashboard = description, dashboard
        self._room, self._counted = 0, float("-inf")
        self._running: dict[Any, _Task] = {}
        self._ended: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._serial = 0
        self._unsent: dict[Any, Job] = {}
        self._convert: list[Any] = []
        self._fetched = float("-inf")
        self._watch = WorkerWatch(client)

    def room(self) -> int:
        """Return how many exposures to have under way."""
        now = time.monotonic()
        if now - self._counted > COUNT_EVERY and self.client.status == "running":
            with suppress(TimeoutError):  # of a scheduler that does not answer: see `find_silent`
                ask = self.client.scheduler.ncores
                threads = sum(self.client.sync(ask, callback_timeout=ANSWER).values())
                self._room = WINDOW_PER_THREAD * max(threads, 1)
            self._counted = now
        return self._room or WINDOW_PER_THREAD

    def submit(self, job: Job) -> Outcome | None:
        """Begin an exposure; return its outcome where it failed before there was a task.

        Where an exposure is one task, it is sent with others, when it is asked what has ended.

        Raises
        ------
        SiteLostError
            When the scheduler is gone.
        """
        self._require_scheduler()
        if self.grain == "tile":
            return self._submit_tiles(job)
        # Keys of one group: dask queues them, and shows one bar for the batch.
        self._serial += 1
        self._unsent[f"{job.step.name}-{job.batch}", self._serial] = job
        return None

    def _submit_tiles(self, job: Job) -> Outcome | None:
        clock, remarkable = Stopwatch(), list[str]()
        try:
            with collect_remarks(remarkable):
                future, writers = self._computed(job)
        except Exception as error:  # one exposure's failure is its own
            self._require_scheduler()
            return failure(job.number, job.path, error, clock, remarkable)
        self._under_way({future.key: _Task(job, future, clock, writers, remarkable)})
        return None

    def _under_way(self, tasks: Mapping[Any, _Task]) -> None:
        self._running.update(tasks)
        self.client.loop.add_callback(self._follow, [task.future for task in tasks.values()])

    def _require_scheduler(self) -> None:
        if self.client.status != "running":
            raise SiteLostError("the connection to the scheduler was lost")

    def _send(self) -> Iterator[tuple[Job, Outcome]]:
        """Send what waits to be sent in one graph; yield what cannot travel."""
        unsent, self._unsent = self._unsent, {}
        if not unsent:
            return
        try:
            self._send_together(unsent)
        except Exception:  # one exposure's failure is its own
            for key, job in unsent.items():
                try:
                    self._send_together({key: job})
                except Exception as error:
                    self._require_scheduler()
                    yield job, failure(job.number, job.path, error, Stopwatch())

    def _send_together(self, jobs: Mapping[Any, Job]) -> None:
        first = min(job.number for job in jobs.values())
        futures = self.client.map(  # oldest first
            self.work, list(jobs.values()), key=list(jobs), pure=False, priority=-first
        )
        tasks = zip(jobs, jobs.values(), futures, strict=True)
        self._under_way({key: _Task(job, future) for key, job, future in tasks})

    def _computed(self, job: Job) -> tuple[Any, Sequence[Any]]:
        """Return a job's future, and the writers of this process."""
        graph, writers = prepare_job(job)
        try:
            return self.client.compute(graph, priority=-job.number), writers
        except BaseException:
            for writer in writers:
                writer.abort()
            raise

    # What follows runs in the client's event loop: a thread, or a wake-up, for each would cost
    # more than all else that is done about an exposure.

    async def _follow(self, futures: Sequence[Any]) -> None:
        """Note what becomes of tasks."""
        await asyncio.gather(*map(self._follow_one, futures))

    async def _follow_one(self, future: Any) -> None:
        with suppress(Exception, asyncio.CancelledError):
            await future.exception()  # which waits for its end
        if future.status != "finished":
            await self._fetch([future])
            return
        self._convert.append(future)
        if len(self._convert) == 1:
            due = self._fetched + TOGETHER - time.monotonic()
            if due > 0:
                await asyncio.sleep(due)
            self._fetched = time.monotonic()
            together, self._convert = self._convert, []
            await self._fetch(together)

    async def _fetch(self, futures: Sequence[Any]) -> None:
        """Fetch what ended tasks gave."""
        try:
            results = await self.client.gather(futures)
        except (Exception, asyncio.CancelledError) as error:
            if len(futures) > 1:  # it is one's
                await asyncio.gather(*(self._fetch([future]) for future in futures))
                return
            own = futures[0].status == "error"  # otherwise it is the connection's, not the task's
            results = [error if own else LostError(f"the scheduler lost it: {error}")]
        for future, result in zip(futures, results, strict=True):
            self._ended.put((future.key, result))

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return what has ended, after waiting for something to end.

        Raises
        ------
        SiteLostError
            When the scheduler is gone.
        """
        found = list(self._send())
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
            told = _translate_error(result)
            return failure(task.job.number, task.job.path, told, task.clock, task.remarks)
        if isinstance(result, Outcome):
            return result
        peaks = (*self._peaks(), peak_memory())
        return success(task.job, save_result(result), task.clock, task.remarks, peaks)

    def _peaks(self) -> Sequence[MemoryPeak]:
        with suppress(Exception):  # only for display
            ask = partial(self.client.run, peak_memory, on_error="ignore")
            return tuple(call_within(ANSWER, ask).values())
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
        self._unsent = {
            key: job
            for key, job in self._unsent.items()
            if wanted is not None and job.number not in wanted
        }
        taken = [k for k, t in self._running.items() if wanted is None or t.job.number in wanted]
        tasks = [self._running.pop(key) for key in taken]
        if tasks:
            with suppress(Exception):  # the scheduler may be what was lost
                workers = self._workers_of(taken) if kill else []
                self.client.cancel([task.future for task in tasks])
                if workers:
                    restart = self.client.restart_workers
                    how = {"timeout": RESTART, "raise_for_error": False}
                    call_within(RESTART + ANSWER, lambda: restart(workers, **how))
        for task in tasks:
            for writer in task.writers:
                writer.abort()

    def _workers_of(self, keys: Sequence[Any]) -> list[str]:
        wanted = {str(key) for key in keys}
        return [worker for worker, held in self._held().items() if wanted & {str(k) for k in held}]

    def _held(self) -> Mapping[str, Sequence[Any]]:
        """Return the keys of the tasks that each worker has.

        Raises
        ------
        TimeoutError
            If the scheduler does not answer.
        """
        ask = self.client.scheduler.processing
        found: dict[str, Sequence[Any]] = self.client.sync(ask, callback_timeout=ANSWER)
        return found

    def find_silent(self, limit: float) -> list[SilentWorker] | None:
        """Return the workers that are not heard of, with the exposures that they have.

        None where it is too early for another look.

        Parameters
        ----------
        limit : float
            Seconds after which those that are stopped are given up.
        """
        found = self._watch.look(limit)
        return add_numbers(found, self._at()) if found else found

    def discard_worker(self, silent: SilentWorker) -> None:
        """Kill a stopped worker where its nanny can, and have the scheduler forget it."""
        if silent.condition is Condition.STOPPED:
            kill_worker(self.client, silent.worker)
        with suppress(Exception):  # the scheduler may know that it is gone, or be lost
            forget = self.client.scheduler.unregister
            how = {"address": silent.worker, "stimulus_id": f"calbatch-silent-{silent.worker}"}
            self.client.sync(forget, **how, callback_timeout=FORGET)

    def _at(self) -> dict[str, frozenset[int]]:
        """Return the exposures that each worker has, as far as is known."""
        with suppress(Exception):
            mine = {str(key): task.job.number for key, task in self._running.items()}
            held = self._held().items()
            return {w: frozenset(mine[str(k)] for k in keys if str(k) in mine) for w, keys in held}
        return {}

    def running_numbers(self) -> set[int]:
        """Return the exposures that workers are at, as far as is known."""
        with suppress(Exception):
            held = {str(key) for keys in self._held().values() for key in keys}
            return {t.job.number for k, t in self._running.items() if str(k) in held}
        return set()


def _translate_error(error: BaseException) -> BaseException:
    """Return an error of dask's in words of ours."""
    from distributed import CancelledError, KilledWorker

    if isinstance(error, KilledWorker):
        return DeathError(f"its worker died (the last was {error.last_worker.address})")
    if isinstance(error, (CancelledError, asyncio.CancelledError)):
        return LostError("the scheduler lost it")
    return error
