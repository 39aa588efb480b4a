"""HTTP with time limits, retries, and proxies from the environment.

The standard library suffices for a few requests and streamed files in several threads.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import random
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

from calbatch.crds_client.answers import shorten
from calbatch.crds_client.errors import CrdsError
from calbatch.models.errors import format_count

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


def open_url(
    url: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float
) -> IO[bytes]:
    """Send a request and return the response, whose body is still to be read.

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
    """
    _check_scheme(url)
    try:
        request = urllib.request.Request(url, data=data, headers=dict(headers or {}))
        return _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        kind = TransientError if error.code in _PASSING_STATUS else RefusedError
        raise kind(f"{url}: {error.code} {shorten(str(error.reason))}") from None
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"{url}: {_error_text(error)}") from None
    except ValueError as error:  # not a valid URL
        raise RefusedError(f"{url}: {_error_text(error)}") from None


def _check_scheme(url: str) -> None:
    try:
        scheme = urllib.parse.urlsplit(url).scheme
    except ValueError as error:
        raise RefusedError(f"{shorten(url)}: {error}") from None
    if scheme not in ("http", "https"):
        raise RefusedError(f"{shorten(url)}: only http and https are supported")


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https. A shared one would keep its first proxies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Http(),
        _Https(),
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
    """A connection that limits the time until the response begins."""

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
    """A connection with the same limit, over TLS."""


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(
            sock, socket.SHUT_RDWR
        )  # the method of TLS sockets would wait for a lock


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request; see the base class."""
        return self.do_open(_Prompt, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request; see the base class."""
        return self.do_open(_PromptTls, req)


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
    """Read the next bytes, at most ``size``; every failure is a `TransientError`."""
    read = getattr(
        response, "read1", response.read
    )  # the available bytes, without waiting for more
    try:
        return bytes(read(size))
    except Exception as error:  # a store's client may raise anything
        raise TransientError(_error_text(error)) from None


def retry(action: Callable[[], T], attempts: int, delay: float) -> T:
    """Call a function, retrying after transient faults with doubling pauses.

    Raises
    ------
    TransientError
        The last fault, if no attempt succeeds.
    """
    for attempt in range(attempts):
        try:
            return action()
        except TransientError as error:
            if attempt == attempts - 1:
                raise
            wait = delay * 2**attempt * random.uniform(0.5, 1.5)
            log.info("%s; retrying in %.1f s", error, wait)
            time.sleep(wait)
    raise ValueError(f"attempts={attempts}: must be positive")


def _error_text(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return shorten(str(reason)) or type(error).__name__
