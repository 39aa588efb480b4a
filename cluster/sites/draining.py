"""Draining: workers with a time limit start no exposure that they cannot finish."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

from distributed import Status, WorkerPlugin
from tornado.ioloop import PeriodicCallback

from calbatch.cluster.exposure.messages import escape_python_messages

log = logging.getLogger(__name__)

ENDS = "CALBATCH_WORKER_ENDS"
"""Environment variable: the time by which a worker must have stopped, in seconds since 1970."""

BEGAN = "CALBATCH_WORKER_BEGAN"
"""Environment variable: the start of the worker's job, in seconds since 1970."""

SLACK = 1.25
"""Factor by which an exposure may take longer than the longest so far."""

EVERY = 0.5
"""Seconds between checks of the clock."""

FETCHED = 30.0
"""Seconds to wait for clients to fetch the last results, which are lost with the worker."""


class Draining(WorkerPlugin):
    """Pause, then retire, a worker before its job's time limit.

    The worker starts nothing more once the remaining time is less than the longest exposure so far
    took, with some slack. It closes when its last exposure has ended, so that its job makes room
    for a new one. At the limit it closes in any case, and the scheduler moves its exposure to
    another worker.

    Parameters
    ----------
    longest : float
        Duration of the longest exposure of other workers, in seconds.

    Notes
    -----
    The limit is that of the job: a worker that is restarted after a crash has less time. If `ENDS`
    is not set, there is no limit.
    """

    name = "calbatch-draining"
    longest_known = 0.0  # per process: it outlives this plugin, which is replaced from time to time

    def __init__(self, longest: float = 0.0) -> None:
        self.longest = longest
        self._began: dict[Any, float] = {}
        self._idle = 0.0

    def setup(self, worker: Any) -> None:
        """Start watching the clock, and make the worker's log messages safe to display."""
        escape_python_messages()
        self.worker, self.closing = worker, False
        Draining.longest_known = max(Draining.longest_known, self.longest)
        ends = os.environ.get(ENDS)
        if ends is None:
            return
        self.ends = float(ends)
        self.span = self.ends - float(os.environ.get(BEGAN) or time.time())
        self._clock = PeriodicCallback(self._look, EVERY * 1000)
        self._clock.start()

    def teardown(self, worker: Any) -> None:
        """Stop watching the clock."""
        if hasattr(self, "_clock"):
            self._clock.stop()

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Record the duration of exposures."""
        if finish == "executing":
            self._began[key] = time.monotonic()
        elif start == "executing":
            took = time.monotonic() - self._began.pop(key, time.monotonic())
            if finish == "memory":
                Draining.longest_known = max(Draining.longest_known, took)

    def required_seconds(self) -> float:
        """Return the time that must be left for a new exposure to start, in seconds.

        It is at most half of the job's time: longer exposures have to be started at some point.
        """
        return min(SLACK * Draining.longest_known, self.span / 2)

    def _look(self) -> None:
        seconds_left = self.ends - time.time()
        if (
            self.closing or seconds_left > self.required_seconds() + EVERY
        ):  # one may start until next time
            return
        if self.worker.status == Status.running:
            log.info("%.0f seconds are left: no further exposure is started", seconds_left)
            # dask's memory monitor would end the pause when little memory is used.
            self.worker.memory_manager.memory_pause_fraction = False
            self.worker.status = Status.paused
        self._idle = 0.0 if self.worker.state.executing else self._idle + EVERY
        if seconds_left <= 0 or (self._idle and not self.worker.data) or self._idle > FETCHED:
            self.closing = True
            self._ending = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        await self.worker.close_gracefully(restart=False, reason="the job's time limit is near")


def announce_duration(client: Any, seconds: float) -> None:
    """Send the duration of the longest exposure to all present and future workers.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    seconds : float
        Duration of the longest exposure.
    """
    client.register_plugin(Draining(seconds))
