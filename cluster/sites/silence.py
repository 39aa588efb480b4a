"""Workers that are not heard of any more: which of them are stopped, and which are only busy.

A worker sends a heartbeat twice a second, or less often where there are many. None comes while its
process is stopped (SIGSTOP, a suspended job), and none while a kernel holds the interpreter or a
disk keeps it waiting, which is no reason to give it up. What tells these apart is the state of the
process, which somebody else has to look at: the worker's nanny, or this process where the worker is
on this host. A nanny that does not answer either means that the whole host, or job, is stopped or
cut off.
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
"""Seconds between looks at heartbeats; a few hundred workers are looked at more seldom."""

ASK_AFTER = 4.0
"""Seconds of silence after which the state of a worker's process is asked for."""

REPORT_AFTER = 8.0
"""Seconds of silence that are told."""

ANSWER = 4.0
"""Seconds within which a scheduler answers."""

NANNY_ANSWER = 30.0
"""Seconds after which a nanny is taken to be unreachable: its host may be busy."""

_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


class Condition(StrEnum):
    """What is known about a worker that is silent."""

    STOPPED = "its process is stopped, by SIGSTOP or because its job is suspended"
    UNREACHABLE = "nothing on its side answers: its host or its job is stopped, or cut off"
    MUTE = "it answers nothing: it is stopped, overloaded, or cut off; it is waited for"
    BUSY = "its process runs: a kernel holds the interpreter, or a disk is slow; it is waited for"
    UNWATCHED = "no nanny watches it, and it is not on this host: it may be stopped, or busy"
    UNKNOWN = "nobody can tell whether it is stopped or busy; it is waited for"


GONE = (Condition.STOPPED, Condition.UNREACHABLE, Condition.UNWATCHED)
"""Conditions in which a worker is given up after a while."""


@dataclass(frozen=True)
class SilentWorker:
    """A worker that is not heard of.

    Attributes
    ----------
    worker : str
        Its address.
    seconds : float
        For how long.
    condition : Condition
        What is known about it.
    numbers : frozenset of int
        The exposures that it has.
    """

    worker: str
    seconds: float
    condition: Condition
    numbers: frozenset[int] = frozenset()

    def line(self) -> str:
        """Return it in words."""
        who = "the scheduler at" if self.condition is Condition.MUTE else "worker"
        return f"{who} {self.worker} has been silent for {self.seconds:.0f} s: {self.condition}"


class Heartbeats:
    """How long each worker has been silent, by this process's clock.

    Time in which this process did not look does not count: it may have been stopped itself.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._silent: dict[str, float] = {}
        self._looked: float | None = None

    def look(self, seen: Mapping[str, float], now: float, longest: float) -> dict[str, float]:
        """Return the seconds since each worker was heard of last.

        Parameters
        ----------
        seen : mapping
            Worker to when it was heard of last, by any clock.
        now : float
            The time by `time.monotonic`.
        longest : float
            At most so many seconds count since the look before.
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
    """What a nanny is asked about its worker."""

    asked: float
    answer: Future[Condition]
    before: Condition = Condition.UNKNOWN

    def condition(self, limit: float) -> Condition:
        """Return the answer; before there is one, the answer to the question before."""
        if self.answer.done():
            return self.answer.result()
        late = time.monotonic() - self.asked > min(NANNY_ANSWER, limit / 2)
        return Condition.UNREACHABLE if late else self.before


class WorkerWatch:
    """Looks after a scheduler's workers.

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
        """Return the workers that have been silent for a while, or the scheduler.

        None where it is too early for another look.

        Parameters
        ----------
        limit : float
            Seconds after which those that are stopped are given up.
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
        seen = {address: float(known["last_seen"]) for address, known in workers.items()}
        silent = self._heartbeats.look(seen, now, 2 * every)
        quiet = {w: s for w, s in silent.items() if s >= min(ASK_AFTER, limit / 2)}
        self._asked = {w: question for w, question in self._asked.items() if w in quiet}
        found = [
            SilentWorker(worker, seconds, self._condition(worker, workers[worker], limit))
            for worker, seconds in quiet.items()
        ]
        return [one for one in found if one.seconds >= min(REPORT_AFTER, limit)]

    def _workers(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Return what the scheduler knows of its workers; None where it does not answer."""
        client = self._client
        try:
            found: dict[str, Any] = client.sync(client.scheduler.identity, callback_timeout=ANSWER)
        except Exception:  # one that is lost is told elsewhere
            return None
        return dict(found["workers"])

    def _mute(self, asked: float, limit: float) -> list[SilentWorker]:
        """Return the scheduler as what is silent, where it has been for a while."""
        self._mute_since = self._mute_since or asked
        seconds = time.monotonic() - self._mute_since
        silent = SilentWorker(str(self._client.scheduler.address), seconds, Condition.MUTE)
        return [silent] if seconds >= min(REPORT_AFTER, limit) else []

    def _condition(self, worker: str, known: Mapping[str, Any], limit: float) -> Condition:
        """Return what is known about a worker, and have it asked for again."""
        if not known.get("nanny"):
            found = condition_of(find_listener(worker))
            return Condition.UNWATCHED if found is Condition.UNKNOWN else found
        question = self._asked.get(worker)
        found = question.condition(limit) if question else Condition.UNKNOWN
        if question is None or question.answer.done():
            self._asked[worker] = _Question(time.monotonic(), Future(), found)
            how = (self._client, worker, self._asked[worker].answer)
            Thread(target=_ask, args=how, daemon=True).start()  # the nanny may not answer
        return found


def _ask(client: Any, worker: str, answer: Future[Condition]) -> None:
    """Ask a worker's nanny for the worker's condition."""
    found = Condition.UNREACHABLE
    with suppress(Exception):
        told = client.run(_of_nanny, workers=[worker], nanny=True, on_error="ignore")
        found = next((Condition(text) for text in told.values()), found)
    answer.set_result(found)


def kill_worker(client: Any, worker: str) -> None:
    """Have a worker's nanny kill it, where there is one that answers; another takes its place."""
    with suppress(Exception):
        how = {"workers": [worker], "nanny": True, "on_error": "ignore"}
        call_within(NANNY_ANSWER, lambda: client.run(_kill_worker, **how))


def _kill_worker(dask_worker: Any) -> None:
    """Kill a nanny's worker: runs in the nanny."""
    if dask_worker.pid:
        os.kill(dask_worker.pid, signal.SIGKILL)


def _of_nanny(dask_worker: Any) -> str:
    """Return the condition of a nanny's worker: runs in the nanny."""
    return str(condition_of(dask_worker.pid))


def find_listener(address: str) -> int | None:
    """Return the process of this host that listens at an address.

    The worker itself is not asked: it may have been stopped before anybody could.
    """
    place = urlsplit(address)
    here = {a.address for found in psutil.net_if_addrs().values() for a in found}
    if place.hostname not in here:
        return None
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr.port == place.port:
                return connection.pid
    return None


def condition_of(pid: int | None) -> Condition:
    """Return the condition of a process of this host."""
    try:
        status = psutil.Process(pid).status() if pid else None
    except psutil.Error:
        return Condition.UNKNOWN
    if status is None:
        return Condition.UNKNOWN
    return Condition.STOPPED if status in _STOPPED else Condition.BUSY


class SilenceReports:
    """What has been told: each condition of a silent worker once, until it is heard of again."""

    def __init__(self) -> None:
        self._reported: dict[str, Condition] = {}

    def news(self, silent: Iterable[SilentWorker]) -> list[SilentWorker]:
        """Return what is worth telling."""
        silent = list(silent)
        fresh = [one for one in silent if self._reported.get(one.worker) != one.condition]
        self._reported = {one.worker: one.condition for one in silent}
        return fresh


def add_numbers(
    silent: Sequence[SilentWorker], at: Mapping[str, frozenset[int]]
) -> list[SilentWorker]:
    """Return silent workers with the exposures that they have."""
    return [replace(one, numbers=at.get(one.worker, frozenset())) for one in silent]
