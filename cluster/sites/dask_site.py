"""The site for a dask scheduler with its workers."""

from __future__ import annotations

import faulthandler
import math
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dask

from calbatch.cluster.errors import SiteLostError
from calbatch.cluster.exposure.job import Job, calibrate, prepare_job, success
from calbatch.cluster.exposure.log import log_to_file
from calbatch.cluster.exposure.outcome import (
    MemoryPeak,
    Outcome,
    Stopwatch,
    collect_warnings,
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
from calbatch.cluster.sites.task_results import (
    Key,
    Message,
    find_error,
    pack_task,
    run_task,
    send_result,
    unpack_result,
)
from calbatch.cluster.sites.timeouts import call_within
from calbatch.models.saving import save_result
from calbatch.models.tiling.tile_edges import KEPT

WINDOW_PER_THREAD = 2
"""Exposures in flight per thread: enough to keep threads busy, few enough to stop quickly."""

GATHERING_TIME = 0.05
"""Seconds for which results are gathered, to be handled together."""

LOOK_EVERY = 0.2
"""Seconds between checks for tasks that have failed; results are sent, but failures are not."""

ENDED = ("error", "cancelled")
"""States of tasks that will send no result."""

COUNT_EVERY = 5.0
"""Seconds between counts of a scheduler's threads: workers come and go."""

FORGET = 10.0
"""Seconds to wait until the scheduler has removed a worker."""

RESTART = 30.0
"""Seconds to wait until workers have been restarted."""


@dataclass(frozen=True)
class _Task:
    """An exposure in flight."""

    job: Job
    future: Any = None
    clock: Stopwatch = field(default_factory=Stopwatch)
    writers: Sequence[Any] = ()
    remarks: Sequence[str] = ()


def _calibrate(job: Job) -> Outcome:
    """Calibrate an exposure; runs in a worker."""
    from distributed import get_worker
    from distributed.metrics import context_meter

    limit = getattr(get_worker().memory_manager, "memory_limit", None)
    faulthandler.disable()  # its crash belongs in the log of the exposure
    outcome = calibrate(job, memory=int(limit or 0))
    for step, seconds in outcome.stages.items():  # on the page Fine Performance Metrics
        context_meter.digest_metric(step, seconds, "seconds")
    return outcome


class DaskSite:
    """A dask scheduler with its workers.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    grain : {"exposure", "tile"}
        Size of a task: a whole exposure, or one of its tiles.
    description : str
        A description of the site for users.
    dashboard : str, optional
        The address of its dashboard.
    """

    is_blocking = False
    work: Callable[[Job], Outcome] = staticmethod(_calibrate)
    """The function that workers run on an exposure that is one task."""

    def __init__(
        self, client: Any, grain: str, description: str, dashboard: str | None = None
    ) -> None:
        self.client, self.grain = client, grain
        self.description, self.dashboard = description, dashboard
        self._connection = client.scheduler_comm
        self._room, self._counted = 0, float("-inf")
        self._running, self._answered = dict[Key, _Task](), list[Any]()
        self._received: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._serial = 0
        self._unsent: dict[Key, Job] = {}
        self._took = self._looked = float("-inf")
        self._topic = ""
        self._watch = WorkerWatch(client)

    def room(self) -> int:
        """Return the number of exposures to keep in flight."""
        now = time.monotonic()
        if now - self._counted > COUNT_EVERY and self.client.status == "running":
            # `find_silent` reports a scheduler that does not answer, `collect` one that is lost
            with suppress(OSError):
                threads = self.client.sync(self.client.scheduler.ncores, callback_timeout=ANSWER)
                self._room = WINDOW_PER_THREAD * max(sum(threads.values()), 1)
            self._counted = now
        return self._room or WINDOW_PER_THREAD

    def submit(self, job: Job) -> Outcome | None:
        """Submit an exposure; return its outcome if it failed before there was a task.

        An exposure that is one task is sent together with others, by the next call of `collect`.

        Raises
        ------
        SiteLostError
            If the scheduler is gone.
        """
        self._require_scheduler()
        self._start_receiving()
        # All keys form one group: dask queues them, and shows one bar for the batch, to which the
        # page adds those not in flight. The number is that of `calbatch logs`.
        self._serial += 1
        key = f"{job.step.name}-{job.batch}", job.number, self._serial
        if self.grain == "tile":
            return self._submit_tiles(key, job)
        self._unsent[key] = job
        return None

    def _submit_tiles(self, key: Key, job: Job) -> Outcome | None:
        clock, remarks = Stopwatch(), list[str]()
        try:
            with log_to_file(job.log), collect_warnings(remarks):  # in this process
                future, writers = self._compute(key, job)
        except Exception as error:  # fails this exposure only
            self._require_scheduler()
            return failure(job.number, job.path, error, clock, remarks)
        self._running[key] = _Task(job, future, clock, writers, remarks)
        return None

    def _start_receiving(self) -> None:
        """Subscribe to the messages of workers, until all exposures are withdrawn."""
        if not self._topic:
            # that of what the client does: the scheduler forgets it after the client has left
            self._topic = self.client.id
            self.client.subscribe_topic(self._topic, self._receive)

    def _stop_receiving(self) -> None:
        topic, self._topic = self._topic, ""
        if topic:
            with suppress(Exception):  # the scheduler may be lost
                self.client.unsubscribe_topic(topic)

    def _is_connected(self) -> bool:
        """Return whether the client still has its first connection: a new one has no tasks."""
        return self.client.status == "running" and self.client.scheduler_comm is self._connection

    def _require_scheduler(self) -> None:
        if not self._is_connected():
            raise SiteLostError("the connection to the scheduler was lost")

    def _send(self) -> Iterator[tuple[Job, Outcome]]:
        """Send all unsent exposures in one graph; yield those that cannot be pickled."""
        unsent, self._unsent = self._unsent, {}
        packed: dict[Key, bytes] = {}
        for key, job in unsent.items():
            try:
                packed[key] = pack_task(self.work, job, self._topic, key)
            except Exception as error:
                yield job, failure(job.number, job.path, error, Stopwatch())
        if not packed:
            return
        self._require_scheduler()
        first = min(unsent[key].number for key in packed)
        futures = self.client.map(  # oldest first
            run_task, list(packed.values()), key=list(packed), pure=False, priority=-first
        )
        for key, future in zip(packed, futures, strict=True):
            self._running[key] = _Task(unsent[key], future)

    def _compute(self, key: Key, job: Job) -> tuple[Any, Sequence[Any]]:
        """Return the future of a task that sends a job's result, and this process's writers."""
        with dask.config.set({KEPT: math.inf}):  # its workers keep all tiles; dask spills
            graph, writers = prepare_job(job)
        try:
            saved = self.client.compute(graph, priority=-job.number)
            future = self.client.submit(
                send_result, saved, self._topic, key, key=key, pure=False, priority=-job.number
            )
        except BaseException:
            for writer in writers:
                writer.abort()
            raise
        return future, writers

    def _receive(self, event: tuple[float, Any]) -> None:
        """Take a worker's message, or ignore what the scheduler reports under the same topic."""
        _, message = event
        if isinstance(message, tuple):
            self._received.put(message)

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Wait for exposures to end, and return those that have.

        Raises
        ------
        SiteLostError
            If the scheduler is gone.
        """
        outcomes = list(self._send())
        outcomes += [*self._take_outcomes(0 if outcomes else timeout), *self._find_failures()]
        if not outcomes:
            self._require_scheduler()
        return outcomes

    def _take_outcomes(self, timeout: float) -> Iterator[tuple[Job, Outcome]]:
        for key, packed in self._take_messages(timeout):
            task = self._running.pop(key, None)
            if task is not None:  # otherwise it was withdrawn
                yield task.job, self._outcome(task, packed)
                self._answered.append(task.future)
        self._release_answered(0)

    def _release_answered(self, timeout: float) -> None:
        """Release tasks that have answered once they have ended: earlier would cancel them."""
        deadline = time.monotonic() + timeout
        while self._answered and self._is_connected():
            self._answered = [f for f in self._answered if f.status == "pending" or f.release()]
            if not timeout or time.monotonic() > deadline:
                return
            time.sleep(0.001)

    def _take_messages(self, timeout: float) -> Iterator[Message]:
        """Wait for a message, and yield all that arrive within `GATHERING_TIME` of the last call.

        A wake-up for each exposure would cost more than what is done with it.
        """
        with suppress(queue.Empty):
            yield self._received.get(timeout=timeout)
            time.sleep(max(0.0, self._took + GATHERING_TIME - time.monotonic()))
            self._took = time.monotonic()
            while True:
                yield self._received.get_nowait()

    def _find_failures(self) -> list[tuple[Job, Outcome]]:
        """Return the exposures whose tasks have ended without a result, from time to time."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return []
        self._looked = time.monotonic()
        ended = [key for key, task in self._running.items() if task.future.status in ENDED]
        outcomes = list(self._take_outcomes(0)) if ended else []  # of those that did end well
        if ended and self._is_connected():  # otherwise, all tasks have lost their scheduler
            tasks = [self._running.pop(key) for key in ended if key in self._running]
            outcomes += [(task.job, self._fail(task, find_error(task.future))) for task in tasks]
        return outcomes

    def _outcome(self, task: _Task, packed: bytes) -> Outcome:
        for writer in task.writers:
            writer.abort()
        try:
            result = unpack_result(packed)
        except Exception as error:
            return self._fail(task, error)
        if isinstance(result, Outcome):
            return result
        peaks = (*self._peaks(), peak_memory())
        return success(task.job, save_result(result), task.clock, task.remarks, peaks)

    def _fail(self, task: _Task, error: BaseException) -> Outcome:
        for writer in task.writers:
            writer.abort()
        return failure(task.job.number, task.job.path, error, task.clock, task.remarks)

    def _peaks(self) -> Sequence[MemoryPeak]:
        with suppress(Exception):  # only for display
            ask = partial(self.client.run, peak_memory, on_error="ignore")
            return tuple(call_within(ANSWER, ask).values())
        return ()

    def withdraw(self, numbers: Iterable[int] | None = None, *, kill: bool = False) -> None:
        """Withdraw submitted exposures, and remove unfinished files of this process.

        Parameters
        ----------
        numbers : iterable of int, optional
            Their numbers; all exposures by default.
        kill : bool
            Restart the workers that are calibrating them, which may never end by themselves.
        """
        selected = None if numbers is None else set(numbers)
        self._unsent = {
            key: job
            for key, job in self._unsent.items()
            if selected is not None and job.number not in selected
        }
        keys = [k for k, t in self._running.items() if selected is None or t.job.number in selected]
        tasks = [self._running.pop(key) for key in keys]
        if tasks:
            with suppress(Exception):  # the scheduler may be lost
                workers = self._workers_of(keys) if kill else []
                self.client.cancel([task.future for task in tasks])
                if workers:
                    options = {"timeout": RESTART, "raise_for_error": False}
                    restart = partial(self.client.restart_workers, workers, **options)
                    call_within(RESTART + ANSWER, restart)
        for task in tasks:
            for writer in task.writers:
                writer.abort()
        if numbers is None:
            self._release_answered(LOOK_EVERY)
            self._stop_receiving()

    def _workers_of(self, keys: Sequence[Any]) -> list[str]:
        names = {str(key) for key in keys}
        processing = self._task_keys()
        return [worker for worker, keys in processing.items() if names & {str(k) for k in keys}]

    def _task_keys(self) -> Mapping[str, Sequence[Any]]:
        """Return the keys of each worker's tasks.

        Raises
        ------
        TimeoutError
            If the scheduler does not answer.
        """
        ask = self.client.scheduler.processing
        processing: dict[str, Sequence[Any]] = self.client.sync(ask, callback_timeout=ANSWER)
        return processing

    def find_silent(self, limit: float) -> list[SilentWorker] | None:
        """Return the silent workers; None if it is too early to check again.

        Parameters
        ----------
        limit : float
            Seconds of silence after which stopped workers are abandoned.
        """
        silent = self._watch.look(limit)
        return add_numbers(silent, self._numbers_by_worker()) if silent else silent

    def discard_worker(self, silent: SilentWorker) -> None:
        """Kill a stopped worker through its nanny, and remove it from the scheduler."""
        if silent.condition is Condition.STOPPED:
            kill_worker(self.client, silent.worker)
        with suppress(Exception):  # the worker may have been removed, or the scheduler lost
            forget = self.client.scheduler.unregister
            arguments = {
                "address": silent.worker,
                "stimulus_id": f"calbatch-silent-{silent.worker}",
            }
            self.client.sync(forget, **arguments, callback_timeout=FORGET)

    def _numbers_by_worker(self) -> dict[str, frozenset[int]]:
        """Return the numbers of the exposures that each worker holds, as far as they are known."""
        with suppress(Exception):
            numbers = {str(key): task.job.number for key, task in self._running.items()}
            processing = self._task_keys().items()
            return {
                w: frozenset(numbers[str(k)] for k in keys if str(k) in numbers)
                for w, keys in processing
            }
        return {}

    def running_numbers(self) -> set[int]:
        """Return the numbers of the exposures that workers are calibrating, if they are known."""
        with suppress(Exception):
            keys_at_workers = {str(key) for keys in self._task_keys().values() for key in keys}
            return {t.job.number for k, t in self._running.items() if str(k) in keys_at_workers}
        return set()
