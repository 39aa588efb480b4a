"""HTTP with time limits, retries, and proxies from the environment.

The standard library suffices for a few requests and streamed files in several threads.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import logging
import random
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

from calbatch.crds_client.answers import shorten
from calbatch.crds_client.errors import CrdsError
from calbatch.models.errors import format_count
from calbatch.models.threads import (
    CancelledError,
    CancelScope,
    call_in_daemon,
    check_cancelled,
    pause,
)

log = logging.getLogger(__name__)

T = TypeVar("T")


class TransientError(CrdsError):
    """A fault that may not recur in another attempt."""


class RefusedError(CrdsError):
    """A refusal, which another attempt would not change."""


SLOWEST = 1000
"""Bytes per second below which a response is aborted after the time-out."""

_CHUNK = 2**16
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@contextlib.contextmanager
def open_url(
    url: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float
) -> Iterator[IO[bytes]]:
    """Send a request and yield the response, whose body is still to be read.

    If the work is cancelled, reading ends at once, and so does this function, though a thread may
    still wait for a connection.

    Parameters
    ----------
    url : str
        An http or https URL. Redirections are followed to http and https, but not from https to
        http; a POST is not redirected.
    data : bytes, optional
        Body of a POST request.
    headers : mapping, optional
        Headers of the request.
    timeout : float
        Longest silence, and longest time until the response begins, in seconds.

    Raises
    ------
    TransientError
        If another attempt may succeed.
    RefusedError
        If another attempt would fail, too.
    CancelledError
        If the work of this context is cancelled.
    """
    _check_scheme(url)
    exchange = _Exchange(timeout)
    with exchange.responses, CancelScope() as scope:
        scope.call_when_cancelled(lambda: _shut_down(*exchange.sockets))
        yield call_in_daemon(lambda: exchange.send(url, data, dict(headers or {})))


@dataclass
class _Exchange:
    """A request that one thread sends and another one may end."""

    timeout: float
    sockets: list[socket.socket] = field(default_factory=list)
    responses: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def send(self, url: str, data: bytes | None, headers: dict[str, str]) -> IO[bytes]:
        """Send the request; return the response, which `responses` closes."""
        try:
            request = urllib.request.Request(url, data=data, headers=headers)
            response: IO[bytes] = _opener(self.sockets).open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            kind = TransientError if error.code in _PASSING_STATUS else RefusedError
            raise kind(f"{url}: {error.code} {shorten(str(error.reason))}") from None
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{url}: {_error_text(error)}") from None
        except ValueError as error:  # not a valid URL
            raise RefusedError(f"{url}: {_error_text(error)}") from None
        self.responses.enter_context(response)
        _check_open(response)  # the other thread may have closed all responses before this one
        return response


def _check_open(connection: IO[bytes] | http.client.HTTPConnection) -> None:
    """Close a connection and raise an error if the work was cancelled."""
    try:
        check_cancelled()
    except CancelledError:
        connection.close()
        raise


def _check_scheme(url: str) -> None:
    try:
        scheme = urllib.parse.urlsplit(url).scheme
    except ValueError as error:
        raise RefusedError(f"{shorten(url)}: {error}") from None
    if scheme not in ("http", "https"):
        raise RefusedError(f"{shorten(url)}: only http and https are supported")


def _opener(sockets: list[socket.socket]) -> urllib.request.OpenerDirector:
    """Return an opener for http and https. A shared one would keep its first proxies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Http(sockets),
        _Https(sockets),
        _Redirections(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections that do not give up encryption."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request; see the base class."""
        fp.close()  # otherwise its body would be read, regardless of its length
        shown = shorten(newurl)
        if req.data is not None:
            raise RefusedError(
                f"{req.full_url}: is redirected to {shown}: set the server's own address"
            )
        try:
            _check_scheme(newurl)
        except RefusedError as error:
            raise RefusedError(f"{req.full_url}: is redirected to {error}") from None
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise RefusedError(f"{req.full_url}: is redirected to {shown}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Prompt(http.client.HTTPConnection):
    """A connection that limits the time until the response begins, and that others can shut down.

    Attributes
    ----------
    sockets : list of socket.socket
        Its socket is appended to this list.
    """

    sockets: list[socket.socket]

    def connect(self) -> None:
        """Connect, unless the work was cancelled meanwhile."""
        super().connect()
        self.sockets.append(self.sock)
        _check_open(self)

    def getresponse(self) -> http.client.HTTPResponse:
        """Return the response; shut the connection down if it takes too long."""
        watch = threading.Timer(self.timeout or 0.0, _shut_down, (self.sock,))
        watch.daemon = True
        watch.start()
        try:
            return super().getresponse()
        finally:
            watch.cancel()


class _PromptTls(http.client.HTTPSConnection, _Prompt):
    """A connection with the same limit, over TLS, whose own socket replaces the first one."""

    def connect(self) -> None:
        """Connect, unless the work was cancelled meanwhile."""
        super().connect()
        self.sockets.append(self.sock)
        _check_open(self)


def _shut_down(*sockets: socket.socket) -> None:
    for sock in sockets:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(
                sock, socket.SHUT_RDWR
            )  # the method of TLS sockets would wait for a lock


class _Http(urllib.request.HTTPHandler):
    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request; see the base class."""
        return self.do_open(functools.partial(_connection, _Prompt, self._sockets), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request; see the base class."""
        return self.do_open(functools.partial(_connection, _PromptTls, self._sockets), req)


def _connection(
    kind: type[_Prompt], sockets: list[socket.socket], host: str, **options: Any
) -> _Prompt:
    connection = kind(host, **options)
    connection.sockets = sockets
    return connection


class Pace:
    """Aborts a response that is too slow.

    Parameters
    ----------
    timeout : float
        Seconds after which the average rate must be at least `SLOWEST`.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout, self._began, self._bytes = timeout, time.monotonic(), 0

    def add(self, count: int) -> None:
        """Count received bytes.

        Raises
        ------
        TransientError
            If the average rate is too low.
        """
        self._bytes += count
        seconds = time.monotonic() - self._began
        if seconds > self._timeout and self._bytes < SLOWEST * seconds:
            received = format_count(self._bytes, "byte")
            raise TransientError(f"only {received} received in {seconds:.0f} s")


def read_answer(response: Any, max_bytes: int, timeout: float) -> bytes:
    """Read the whole body of a response.

    Raises
    ------
    TransientError
        If it breaks off or is too slow.
    RefusedError
        If it is longer than ``max_bytes``.
    """
    pieces, size, pace = [], 0, Pace(timeout)
    while piece := read_chunk(response, _CHUNK):
        pace.add(len(piece))
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise RefusedError(f"the answer is longer than {max_bytes} bytes")
    length = getattr(response, "length", None)
    if length:  # http.client reports missing bytes only to whole reads
        raise TransientError(f"the answer ended {format_count(length, 'byte')} too early")
    return b"".join(pieces)


def read_chunk(response: Any, size: int) -> bytes:
    """Read the next bytes, at most ``size``; every failure is a `TransientError`.

    Raises
    ------
    CancelledError
        If the work of this context was cancelled; what was read may be incomplete.
    """
    read = getattr(
        response, "read1", response.read
    )  # the available bytes, without waiting for more
    try:
        piece = bytes(read(size))
    except Exception as error:  # a store's client may raise anything
        check_cancelled()
        raise TransientError(_error_text(error)) from None
    check_cancelled()
    return piece


def retry(action: Callable[[], T], attempts: int, delay: float) -> T:
    """Call a function, retrying after transient faults with doubling pauses.

    Raises
    ------
    TransientError
        The last fault, if no attempt succeeds.
    CancelledError
        If the work of this context was cancelled, which may be the cause of a fault.
    """
    for attempt in range(attempts):
        try:
            return action()
        except TransientError as error:
            check_cancelled()
            if attempt == attempts - 1:
                raise
            wait = delay * 2**attempt * random.uniform(0.5, 1.5)
            log.info("%s; retrying in %.1f s", error, wait)
            pause(wait)
    raise ValueError(f"attempts={attempts}: must be positive")


def _error_text(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return shorten(str(reason)) or type(error).__name__
