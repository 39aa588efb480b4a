"""The page of a batch that runs in this process: it reads the batch when a browser asks."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from calbatch.cluster.display.exposure_details import DetailsCallback
from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.sites.page.batch_page import BatchPage, Handler, digest_token
from calbatch.cluster.sites.page.document import load_page
from calbatch.models.storage.memory import memory_limit

log = logging.getLogger(__name__)

LARGEST_REQUEST = 16 * 2**10
"""Maximum number of bytes of a request's headers, and of its body, of which there is no use."""

IDLE = 60.0
"""Seconds after which a connection is closed that asks nothing more."""

MOST_CONNECTIONS = 20
"""Maximum number of connections at a time; the batch needs descriptors for its own files."""

RETRY = 1.0
"""Seconds after which connections are accepted again when no descriptor was left."""

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
        """Return what a web server needs to serve the page, and to lead to it."""
        application = super().make_application()
        routes = [
            web.url("/", _LeadToPage, {"page": self}),
            web.url(".*", _RefusePath, {"page": self}),
        ]
        application.wildcard_router.add_rules(routes)
        return application


class _LeadToPage(Handler):
    """Leads browsers to the page."""

    def get(self) -> None:
        """Send the way."""
        self.redirect("calbatch")


class _RefusePath(Handler):
    """Answers requests for what there is not."""

    def prepare(self) -> None:
        """Refuse the request."""
        raise web.HTTPError(404)


class _PageServer(HTTPServer):
    """A server that knows the number of its connections."""

    connected = 0

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a connection."""
        self.connected += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """Count a connection no longer."""
        self.connected -= 1
        super().on_close(server_conn)


class _Acceptor:
    """Accepts connections for a server, as many at a time as the batch can spare descriptors."""

    def __init__(self, server: _PageServer, listener: socket.socket) -> None:
        self._server, self._listener = server, listener
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to accept connections, or go on with it."""
        self._loop.add_reader(self._listener, self._take_connection)

    def stop(self) -> None:
        """Accept no more connections."""
        self._loop.remove_reader(self._listener)

    def _take_connection(self) -> None:
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:  # no descriptor is left: the socket would be ready again at once
            self.stop()
            self._loop.call_later(RETRY, self.start)
            return
        if self._server.connected >= MOST_CONNECTIONS:
            connection.close()
            return
        connection.setblocking(False)
        self._server.handle_stream(IOStream(connection), address)


async def serve_page(page: BatchPage, listener: socket.socket, end: socket.socket) -> None:
    """Serve a page until there is something to read at ``end``.

    Parameters
    ----------
    page : BatchPage
        The page.
    listener : socket.socket
        Accepts connections.
    end : socket.socket
        The end of the batch.
    """
    server = _PageServer(
        page.make_application(),
        max_header_size=LARGEST_REQUEST,
        max_body_size=LARGEST_REQUEST,
        idle_connection_timeout=IDLE,
    )
    has_ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_fault)
    loop.add_reader(end, has_ended.set)
    acceptor = _Acceptor(server, listener)
    acceptor.start()
    try:
        await has_ended.wait()
    finally:
        loop.remove_reader(end)
        acceptor.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.close_all_connections(), GOODBYE)


def _log_fault(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log a fault for developers: anyone may cause it, and the terminal is the user's."""
    log.debug("%s", context.get("message"), exc_info=context.get("exception"))
