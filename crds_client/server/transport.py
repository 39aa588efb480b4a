"""HTTP with time limits, proxies (from the environment) and repeated attempts.

The standard library is enough: a few requests and streamed files, many at once in threads.
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

log = logging.getLogger(__name__)

T = TypeVar("T")


class TransientError(CrdsError):
    """A fault that may be gone at the next attempt."""


class RefusedError(CrdsError):
    """The server answered that it will not: no use to ask again."""


SLOWEST = 1000
"""Bytes a second below which a response is given up, after the time-out."""

_CHUNK = 2**16
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def open_url(
    url: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float
) -> IO[bytes]:
    """Begin a request and give its response.

    Parameters
    ----------
    url : str
        Of http or https. Redirections to others are not followed, nor from https to http; a
        question that is posted is not redirected at all.
    data : bytes, optional
        Posted.
    headers : mapping, optional
        Sent.
    timeout : float
        Seconds without a sign of life, and for the response to begin.

    Raises
    ------
    Transient, Refused
        By the kind of fault.
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
    except ValueError as error:  # no address at all, or none that could be asked
        raise RefusedError(f"{url}: {_error_text(error)}") from None


def _check_scheme(url: str) -> None:
    try:
        scheme = urllib.parse.urlsplit(url).scheme
    except ValueError as error:
        raise RefusedError(f"{shorten(url)}: {error}") from None
    if scheme not in ("http", "https"):
        raise RefusedError(f"{shorten(url)}: only http and https are asked")


def _opener() -> urllib.request.OpenerDirector:
    """Make an opener that knows http and https; a shared one keeps the proxies it saw first."""
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
    """Follows redirections where no more can be read or changed on the way than before."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request; see the base class."""
        fp.close()  # it would be read to its end, wherever that is
        shown = shorten(newurl)
        if req.data is not None:
            raise RefusedError(
                f"{req.full_url}: is redirected to {shown}: use the server's own address"
            )
        try:
            _check_scheme(newurl)
        except RefusedError as error:
            raise RefusedError(f"{req.full_url}: is redirected to {error}") from None
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise RefusedError(f"{req.full_url}: is redirected to {shown}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Prompt(http.client.HTTPConnection):
    """A connection whose response has to begin in time, however its bytes trickle in."""

    def getresponse(self) -> http.client.HTTPResponse:
        """Return the response; a connection that takes too long is shut."""
        watch = threading.Timer(self.timeout or 0.0, _shut_down, (self.sock,))
        watch.daemon = True
        watch.start()
        try:
            return super().getresponse()
        finally:
            watch.cancel()


class _PromptTls(http.client.HTTPSConnection, _Prompt):
    """The same, encrypted."""


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of TLS would wait for its lock


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Ask; see the base class."""
        return self.do_open(_Prompt, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Ask; see the base class."""
        return self.do_open(_PromptTls, req)


class Pace:
    """Notices a response that only trickles in.

    Parameters
    ----------
    timeout : float
        Seconds after which it must have come at `SLOWEST` on average.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout, self._began, self._bytes = timeout, time.monotonic(), 0

    def add(self, count: int) -> None:
        """Count bytes that came.

        Raises
        ------
        Transient
            If there are too few, by now.
        """
        self._bytes += count
        seconds = time.monotonic() - self._began
        if seconds > self._timeout and self._bytes < SLOWEST * seconds:
            raise TransientError(f"only {self._bytes} bytes came in {seconds:.0f} s")


def read_answer(response: Any, most: int, timeout: float) -> bytes:
    """Read a response to its end.

    Raises
    ------
    Transient
        If it breaks off, or only trickles in.
    Refused
        If it is longer than ``most`` bytes.
    """
    pieces, size, pace = [], 0, Pace(timeout)
    while piece := read_chunk(response, _CHUNK):
        pace.add(len(piece))
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise RefusedError(f"the answer is longer than {most} bytes")
    length = getattr(response, "length", None)
    if length:  # http.client tells only whole reads that bytes are missing
        raise TransientError(f"the answer was cut short, {length} bytes before its end")
    return b"".join(pieces)


def read_chunk(response: Any, size: int) -> bytes:
    """Read on, at most so many bytes; whatever breaks is a `Transient` fault."""
    read = getattr(response, "read1", response.read)  # what is there, without waiting for more
    try:
        return bytes(read(size))
    except Exception as error:  # a store's client may raise anything
        raise TransientError(_error_text(error)) from None


def retry(action: Callable[[], T], attempts: int, delay: float) -> T:
    """Act, and act again after transient faults, waiting twice as long each time.

    Raises
    ------
    Transient
        The last one, if no attempt succeeds.
    """
    for attempt in range(attempts):
        try:
            return action()
        except TransientError as error:
            if attempt == attempts - 1:
                raise
            wait = delay * 2**attempt * random.uniform(0.5, 1.5)
            log.info("%s; trying again in %.1f s", error, wait)
            time.sleep(wait)
    raise AssertionError("attempts must be positive")


def _error_text(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return shorten(str(reason)) or type(error).__name__
