"""The part of the page that runs in a driver: it installs the page, and reports to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tornado.ioloop import IOLoop, PeriodicCallback

from calbatch.cluster.display.exposure_details import DetailsCallback
from calbatch.cluster.display.monitor import BatchMonitor, BatchSnapshot
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.sites.page.batch_page import digest_token
from calbatch.cluster.sites.page.document import load_page
from calbatch.cluster.sites.page.plugin import CalbatchPage
from calbatch.cluster.sites.scheduler_plugins import ANSWER, install_plugin
from calbatch.models.errors import one_line

EVERY = 1.0
"""Seconds between reports, if anything has changed."""

UNCHANGED_EVERY = 2.0
"""Seconds between reports if nothing has changed."""

LAST = 2.0
"""Seconds to wait for a scheduler to take the last report."""


def install_page(client: Any) -> None:
    """Install the page in a client's scheduler, unless it has one.

    Raises
    ------
    Exception
        As those of `install_plugin`.
    """
    install_plugin(client, CalbatchPage(*load_page()))


class Reporter:
    """Sends reports of a batch to the page; runs in the client's event loop.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    monitor : BatchMonitor
        The batch.
    token : str
        The token that paths and reasons need.
    describe : callable
        Returns the details of an exposure, in any thread.
    """

    def __init__(
        self, client: Any, monitor: BatchMonitor, token: str, describe: DetailsCallback
    ) -> None:
        self._client, self._monitor, self._describe = client, monitor, describe
        self._digest = digest_token(token)
        self._sent = float("-inf")
        self._shown: Any = None
        self._clock: PeriodicCallback | None = None
        self._sending = asyncio.Lock()  # the last report must not overtake the one before

    async def start(self) -> None:
        """Report now, and from time to time."""
        await self.send_if_due()
        self._clock = PeriodicCallback(self.send_if_due, 1000 * EVERY)
        self._clock.start()

    async def stop(self) -> None:
        """Stop reporting, with a last report if the scheduler is not lost."""
        if self._clock is not None:
            self._clock.stop()
        if self._client.status == "running":
            await self.send(self._monitor.take_snapshot(running=False))

    async def send_if_due(self) -> None:
        """Send a report if anything has changed, or if the last one is old."""
        snapshot = self._monitor.take_snapshot()
        visible = (snapshot.grid, snapshot.free, snapshot.failures)
        if visible == self._shown and time.monotonic() - self._sent < UNCHANGED_EVERY:
            return
        with suppress(Exception):  # the driver itself notices that the scheduler is lost
            await self.send(snapshot)
            self._shown, self._sent = visible, time.monotonic()

    async def send(self, snapshot: BatchSnapshot) -> None:
        """Send a report, and the details of the exposures that the answer asks for."""
        scheduler, batch = self._client.scheduler, snapshot.batch
        async with self._sending:
            wanted = await scheduler.calbatch_report(
                batch=batch,
                public=snapshot.public_part(),
                private=snapshot.private_part(),
                digest=self._digest,
            )
        for number in wanted:
            details = await IOLoop.current().run_in_executor(None, self._describe, number)
            await scheduler.calbatch_details(batch=batch, number=number, details=details)


@contextmanager
def report_batch(
    client: Any,
    monitor: BatchMonitor,
    token: str,
    say: Callable[[str], None],
    *,
    describe: DetailsCallback,
) -> Iterator[bool]:
    """Install the page, and report a batch to it in the background.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    monitor : BatchMonitor
        The batch.
    token : str
        The token that paths and reasons need.
    say : callable
        Shows the reason why there is no page.
    describe : callable
        Returns the details of an exposure, in any thread.

    Yields
    ------
    bool
        True if there is a page.
    """
    reporter = Reporter(client, monitor, token, describe)
    try:
        install_page(client)
        client.sync(reporter.start, callback_timeout=ANSWER)
    except Exception as error:  # a batch does not need a page
        reason = one_line(error) or type(error).__name__
        say(escape_text(f"the dashboard has no page for the batch: {reason}"))
        yield False
        return
    try:
        yield True
    finally:
        with suppress(Exception):  # the scheduler may be lost
            client.sync(reporter.stop, callback_timeout=LAST)
