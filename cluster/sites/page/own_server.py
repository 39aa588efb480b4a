"""A web server for the page of a batch that runs in this process, without a scheduler.

Most of these batches end within seconds, and nobody opens their page. Until a browser connects,
there is only a socket with a waiting thread, which then imports the server's libraries.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from calbatch.cluster.display.exposure_details import DetailsCallback
from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.sites.page.links import HOST, own_link, page_link
from calbatch.models.errors import one_line

log = logging.getLogger(__name__)

LAST = 1.0
"""Seconds to wait until the server has ended, which may be about to answer."""


@contextmanager
def serve_batch(
    monitor: BatchMonitor, token: str, say: Callable[[str], None], *, describe: DetailsCallback
) -> Iterator[str | None]:
    """Serve the page of a batch on this host until the context ends.

    Parameters
    ----------
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
    str, optional
        The address of the page.
    """
    try:
        server = _OwnServer(monitor, token, describe)
    except (OSError, RuntimeError) as error:  # a batch does not need a page
        say(escape_text(f"the batch has no page: {one_line(error)}"))
        yield None
        return
    try:
        yield page_link(own_link(server.port), token)
    finally:
        server.stop()


class _OwnServer:
    """A socket with a thread that waits for the first connection, and then serves the page."""

    def __init__(self, monitor: BatchMonitor, token: str, describe: DetailsCallback) -> None:
        self._batch = monitor, token, describe
        self._has_ended = False
        with ExitStack() as stack:
            self._listener = stack.enter_context(socket.create_server((HOST, 0)))
            self.port: int = self._listener.getsockname()[1]
            self._stop, self._end = map(stack.enter_context, socket.socketpair())
            self._thread = threading.Thread(target=self._run, name="calbatch-page", daemon=True)
            self._thread.start()
            stack.pop_all()  # the thread closes them

    def stop(self) -> None:
        """End the server, within `LAST` even if it is busy."""
        self._has_ended = True
        # Children that were forked meanwhile have copies, which closing would leave as they are.
        for each in (self._listener, self._stop):
            with suppress(OSError):  # the thread may have failed, and closed them
                each.shutdown(socket.SHUT_RDWR)
        self._stop.close()
        self._thread.join(LAST)

    def _run(self) -> None:
        with self._listener, self._end, selectors.DefaultSelector() as selector:
            for each in (self._listener, self._end):
                selector.register(each, selectors.EVENT_READ)
            selector.select()
            if not self._has_ended:
                self._serve()

    def _serve(self) -> None:
        try:
            import asyncio

            from calbatch.cluster.sites.page.live_page import LivePage, serve_page

            self._listener.setblocking(False)
            asyncio.run(serve_page(LivePage(*self._batch), self._listener, self._end))
        except Exception:  # a batch does not need a page
            log.debug("serving the page", exc_info=True)
