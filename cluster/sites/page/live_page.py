"""The page of a batch that runs in this process: it reads the batch when a browser asks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil
from tornado import web
from tornado.httpserver import HTTPServer

from calbatch.cluster.display.exposure_details import DetailsCallback
from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.sites.page.batch_page import BatchPage, digest_token
from calbatch.cluster.sites.page.document import load_page
from calbatch.models.storage.memory import memory_limit

LARGEST_REQUEST = 16 * 2**10
"""Maximum number of bytes of a request's headers, and of its body, of which there is no use."""

IDLE = 60.0
"""Seconds after which a connection is closed that asks nothing more."""

GOODBYE = 0.5
"""Seconds to wait until connections are closed."""


class LivePage(BatchPage):
    """The page of a batch of this process.

    Parameters
    ----------
    monitor : BatchMonitor
        The batch.
    token : str
        The token that paths and reasons need.
    describe : callable
        Returns the details of an exposure, in any thread.
    """

    def __init__(self, monitor: BatchMonitor, token: str, describe: DetailsCallback) -> None:
        super().__init__(*load_page())
        self._monitor, self._describe = monitor, describe
        self._digest = digest_token(token)
        self._process, self._limit = psutil.Process(), memory_limit()
        self._process.cpu_percent()  # the first value is none
        self._running = 0
        self._refresh()

    def _refresh(self) -> None:
        snapshot = self._monitor.take_snapshot()
        self._running = snapshot.counts.get("running", 0)
        parts = snapshot.public_part(), snapshot.private_part()
        self.receive_report(snapshot.batch, *parts, self._digest)

    def collect_data(self, token: str) -> dict[str, Any]:
        """Return the data of the page as they are now; see `BatchPage`."""
        self._refresh()
        return super().collect_data(token)

    def take_details(self, batch: str, number: int) -> Mapping[str, Any] | None:
        """Return the details of an exposure."""
        self.receive_details(batch, number, self._describe(number))
        return super().take_details(batch, number)

    def describe_workers(self) -> list[dict[str, Any]]:
        """Return the memory, its limit, the CPU usage and the number of tasks of this process."""
        return [
            {
                "memory": self._process.memory_info().rss,
                "limit": self._limit,
                "cpu": self._process.cpu_percent(),
                "tasks": self._running,
            }
        ]

    def make_application(self) -> web.Application:
        """Return what a web server needs to serve the page, also to those who ask for none."""
        application = super().make_application()
        application.add_handlers(
            ".*", [("/", web.RedirectHandler, {"url": "calbatch", "permanent": False})]
        )
        return application


async def serve_page(page: BatchPage, listener: socket.socket, end: socket.socket) -> None:
    """Serve a page until there is something to read at ``end``.

    Parameters
    ----------
    page : BatchPage
        The page.
    listener : socket.socket
        Accepts connections; closed at the end.
    end : socket.socket
        The end of the batch.
    """
    server = HTTPServer(
        page.make_application(),
        max_header_size=LARGEST_REQUEST,
        max_body_size=LARGEST_REQUEST,
        idle_connection_timeout=IDLE,
    )
    has_ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(end, has_ended.set)
    server.add_sockets([listener])
    try:
        await has_ended.wait()
    finally:
        loop.remove_reader(end)
        server.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.close_all_connections(), GOODBYE)
