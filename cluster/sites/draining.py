"""Workers whose time is limited begin nothing that they cannot end."""

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
"""The variable that says when a worker must be gone, in seconds since 1970."""

BEGAN = "CALBATCH_WORKER_BEGAN"
"""The variable that says when its job began."""

SLACK = 1.25
"""An exposure may take this much longer than the longest so far."""

EVERY = 0.5
"""Seconds between looks at the clock."""

FETCHED = 30.0
"""Seconds to wait for clients to take the last results: the worker would take them with it."""


class Draining(WorkerPlugin):
    """Let a worker rest, and end, before its job's time is up.

    Nothing new is begun once what is left is less than the longest exposure so far took, with some
    slack. When the last has ended the worker closes, so that its job makes room for a new one. At
    the very end it closes in any case, and the scheduler gives its exposure to another.

    Parameters
    ----------
    longest : float
        Seconds that the longest exposure is known to take, from other workers.

    Notes
    -----
    The end is that of the job, whichever process of it this is: a worker that is started again
    after it died has less time. Where `ENDS` is not set, nothing is done.
    """

    name = "calbatch-draining"
    known = 0.0  # of this process, whichever plugin follows another

    def __init__(self, longest: float = 0.0) -> None:
        self.longest = longest
        self._began: dict[Any, float] = {}
        self._idle = 0.0

    def setup(self, worker: Any) -> None:
        """Watch the clock; what the worker says goes to a log that people look at."""
        escape_python_messages()
        self.worker, self.closing = worker, False
        Draining.known = max(Draining.known, self.longest)
        ends = os.environ.get(ENDS)
        if ends is None:
            return
        self.ends = float(ends)
        self.span = self.ends - float(os.environ.get(BEGAN) or time.time())
        self._clock = PeriodicCallback(self._look, EVERY * 1000)
        self._clock.start()

    def teardown(self, worker: Any) -> None:
        """Stop watching."""
        if hasattr(self, "_clock"):
            self._clock.stop()

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Note how long exposures take."""
        if finish == "executing":
            self._began[key] = time.monotonic()
        elif start == "executing":
            took = time.monotonic() - self._began.pop(key, time.monotonic())
            if finish == "memory":
                Draining.known = max(Draining.known, took)

    def needed(self) -> float:
        """Return the seconds that a new exposure needs, so that it ends in time.

        Never more than half of the job: exposures that take longer have to be begun some time.
        """
        return min(SLACK * Draining.known, self.span / 2)

    def _look(self) -> None:
        left = self.ends - time.time()
        if self.closing or left > self.needed() + EVERY:  # another may begin until the next look
            return
        if self.worker.status == Status.running:
            log.info("%.0f seconds are left: nothing new is begun", left)
            # Memory must not let it go on: while it has little, dask's own watch ends all pauses.
            self.worker.memory_manager.memory_pause_fraction = False
            self.worker.status = Status.paused
        self._idle = 0.0 if self.worker.state.executing else self._idle + EVERY
        if left <= 0 or (self._idle and not self.worker.data) or self._idle > FETCHED:
            self.closing = True
            self._ending = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        await self.worker.close_gracefully(restart=False, reason="its time is up")


def announce_duration(client: Any, seconds: float) -> None:
    """Tell all workers, and those that come, how long the longest exposure takes.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    seconds : float
        How long.
    """
    client.register_plugin(Draining(seconds))
