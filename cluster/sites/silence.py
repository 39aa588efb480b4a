"""Workers that send no heartbeats, because they are stopped, unreachable or only busy.

A worker sends a heartbeat twice a second, or less often if there are many workers. It sends none
while its process is stopped (SIGSTOP, a suspended job). It also sends none while a kernel holds the
interpreter or a disk keeps it waiting, and must not be abandoned then. The state of the process
distinguishes these cases. The worker's nanny reports it, or this process examines it if the worker
is on this host. If the nanny does not answer either, the whole host or job is stopped or cut off.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import psutil

from calbatch.cluster.sites.timeouts import call_within

LOOK_EVERY = 1.0
"""Seconds between checks of heartbeats; longer with a few hundred workers."""

ASK_AFTER = 4.0
"""Seconds of silence after which the state of a worker's process is requested."""

REPORT_AFTER = 8.0
"""Seconds of silence that are reported."""

ANSWER = 4.0
"""Seconds to wait for an answer of the scheduler."""

NANNY_ANSWER = 30.0
"""Seconds to wait for an answer of a nanny, whose host may be busy."""

_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


class Condition(StrEnum):
    """The state of a silent worker, as far as it is known."""

    STOPPED = "its process is stopped, by SIGSTOP or because its job is suspended"
    UNREACHABLE = "nothing on its host answers: the host or the job is stopped, or cut off"
    MUTE = "it does not answer: it is stopped, overloaded, or cut off; calbatch waits for it"
    BUSY = (
        "its process is running: a kernel holds the interpreter, or a disk is slow; calbatch waits "
        "for it"
    )
    UNWATCHED = "it has no nanny and is not on this host: it may be stopped, or busy"
    UNKNOWN = "it may be stopped or busy; calbatch waits for it"


GONE = (Condition.STOPPED, Condition.UNREACHABLE, Condition.UNWATCHED)
"""Conditions in which a worker is abandoned after the limit."""


@dataclass(frozen=True)
class SilentWorker:
    """A worker, or the scheduler, that sends no heartbeats.

    Attributes
    ----------
    worker : str
        Its address.
    seconds : float
        Duration of its silence.
    condition : Condition
        Its state, as far as it is known.
    numbers : frozenset of int
        Numbers of the exposures that it holds.
    """

    worker: str
    seconds: float
    condition: Condition
    numbers: frozenset[int] = frozenset()

    def line(self) -> str:
        """Return a sentence about the worker."""
        subject = "the scheduler at" if self.condition is Condition.MUTE else "worker"
        return f"{subject} {self.worker} has been silent for {self.seconds:.0f} s: {self.condition}"


class Heartbeats:
    """The duration of each worker's silence, by this process's clock.

    Time during which this process did not check does not count: it may have been stopped itself.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._silent: dict[str, float] = {}
        self._looked: float | None = None

    def look(self, seen: Mapping[str, float], now: float, longest: float) -> dict[str, float]:
        """Return the seconds since each worker's last heartbeat.

        Parameters
        ----------
        seen : mapping
            Worker to the time of its last heartbeat, by any clock.
        now : float
            The time by `time.monotonic`.
        longest : float
            Upper limit, in seconds, of the time that counts since the previous check.
        """
        passed = 0.0 if self._looked is None else min(max(now - self._looked, 0.0), longest)
        self._looked = now
        self._silent = {
            worker: self._silent[worker] + passed if self._seen.get(worker) == last else 0.0
            for worker, last in seen.items()
        }
        self._seen = dict(seen)
        return dict(self._silent)


@dataclass
class _Question:
    """A question to a nanny about the condition of its worker."""

    asked: float
    answer: Future[Condition]
    before: Condition = Condition.UNKNOWN

    def condition(self, limit: float) -> Condition:
        """Return the answer or, while there is none, the answer to the previous question."""
        if self.answer.done():
            return self.answer.result()
        late = time.monotonic() - self.asked > min(NANNY_ANSWER, limit / 2)
        return Condition.UNREACHABLE if late else self.before


class WorkerWatch:
    """Watches the workers of a scheduler.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._heartbeats = Heartbeats()
        self._due = 0.0
        self._asked: dict[str, _Question] = {}
        self._mute_since: float | None = None

    def look(self, limit: float) -> list[SilentWorker] | None:
        """Return the silent workers, or the scheduler if that is silent.

        The result is None if it is too early for another check.

        Parameters
        ----------
        limit : float
            Seconds of silence after which stopped workers are abandoned.
        """
        now = time.monotonic()
        if now < self._due:
            return None
        workers = self._workers()
        if workers is None:
            return self._mute(now, limit)
        self._mute_since, now = None, time.monotonic()
        every = max(LOOK_EVERY, len(workers) / 100)
        self._due = now + every
        seen = {address: float(record["last_seen"]) for address, record in workers.items()}
        silent = self._heartbeats.look(seen, now, 2 * every)
        quiet = {w: s for w, s in silent.items() if s >= min(ASK_AFTER, limit / 2)}
        self._asked = {w: question for w, question in self._asked.items() if w in quiet}
        reports = [
            SilentWorker(worker, seconds, self._condition(worker, workers[worker], limit))
            for worker, seconds in quiet.items()
        ]
        return [report for report in reports if report.seconds >= min(REPORT_AFTER, limit)]

    def _workers(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Return the scheduler's records of its workers; None if it does not answer."""
        client = self._client
        try:
            workers: dict[str, Any] = client.sync(
                client.scheduler.identity, callback_timeout=ANSWER
            )
        except Exception:  # a lost scheduler is reported elsewhere
            return None
        return dict(workers["workers"])

    def _mute(self, asked: float, limit: float) -> list[SilentWorker]:
        """Return the scheduler as silent, if it has been so for a while."""
        self._mute_since = self._mute_since or asked
        seconds = time.monotonic() - self._mute_since
        silent = SilentWorker(str(self._client.scheduler.address), seconds, Condition.MUTE)
        return [silent] if seconds >= min(REPORT_AFTER, limit) else []

    def _condition(self, worker: str, known: Mapping[str, Any], limit: float) -> Condition:
        """Return the condition of a worker, and request it again."""
        if not known.get("nanny"):
            condition = condition_of(find_listener(worker))
            return Condition.UNWATCHED if condition is Condition.UNKNOWN else condition
        question = self._asked.get(worker)
        condition = question.condition(limit) if question else Condition.UNKNOWN
        if question is None or question.answer.done():
            self._asked[worker] = _Question(time.monotonic(), Future(), condition)
            arguments = (self._client, worker, self._asked[worker].answer)
            Thread(target=_ask, args=arguments, daemon=True).start()  # the nanny may not answer
        return condition


def _ask(client: Any, worker: str, answer: Future[Condition]) -> None:
    """Ask a worker's nanny for the worker's condition."""
    condition = Condition.UNREACHABLE
    with suppress(Exception):
        replies = client.run(_worker_condition, workers=[worker], nanny=True, on_error="ignore")
        condition = next((Condition(text) for text in replies.values()), condition)
    answer.set_result(condition)


def kill_worker(client: Any, worker: str) -> None:
    """Kill a worker through its nanny, which replaces it; do nothing if no nanny answers."""
    with suppress(Exception):
        arguments = {"workers": [worker], "nanny": True, "on_error": "ignore"}
        call_within(NANNY_ANSWER, lambda: client.run(_kill_worker, **arguments))


def _kill_worker(dask_worker: Any) -> None:
    """Kill the worker of a nanny; runs in the nanny."""
    if dask_worker.pid:
        os.kill(dask_worker.pid, signal.SIGKILL)


def _worker_condition(dask_worker: Any) -> str:
    """Return the condition of the worker of a nanny; runs in the nanny."""
    return str(condition_of(dask_worker.pid))


def find_listener(address: str) -> int | None:
    """Return the ID of the process of this host that listens at an address; None if there is none.

    The worker itself cannot report it once it is stopped.
    """
    place = urlsplit(address)
    local_addresses = {a.address for addresses in psutil.net_if_addrs().values() for a in addresses}
    if place.hostname not in local_addresses:
        return None
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr.port == place.port:
                return connection.pid
    return None


def condition_of(pid: int | None) -> Condition:
    """Return the condition of a process of this host, by its ID."""
    try:
        status = psutil.Process(pid).status() if pid else None
    except psutil.Error:
        return Condition.UNKNOWN
    if status is None:
        return Condition.UNKNOWN
    return Condition.STOPPED if status in _STOPPED else Condition.BUSY


class SilenceReports:
    """Silence that has been reported: each condition of a worker once, until its next heartbeat."""

    def __init__(self) -> None:
        self._reported: dict[str, Condition] = {}

    def news(self, silent: Iterable[SilentWorker]) -> list[SilentWorker]:
        """Return the workers whose condition has not been reported yet."""
        silent = list(silent)
        fresh = [
            worker for worker in silent if self._reported.get(worker.worker) != worker.condition
        ]
        self._reported = {worker.worker: worker.condition for worker in silent}
        return fresh


def add_numbers(
    silent: Sequence[SilentWorker], at: Mapping[str, frozenset[int]]
) -> list[SilentWorker]:
    """Return silent workers with the numbers of the exposures that they hold."""
    return [replace(worker, numbers=at.get(worker.worker, frozenset())) for worker in silent]
