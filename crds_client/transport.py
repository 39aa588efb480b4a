"""HTTP with time limits, proxies (from the environment) and repeated attempts.

The standard library is enough: a few requests and streamed files, many at once in threads.
"""

from __future__ import annotations

import http.client
import logging
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

from calbatch.crds_client.errors import CrdsError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Transient(CrdsError):
    """A fault that may be gone at the next attempt."""


class Refused(CrdsError):
    """The server answered that it will not: no use to ask again."""


_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def open_url(
    url: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float
) -> IO[bytes]:
    """Begin a request and give its response.

    Raises
    ------
    Transient, Refused
        By the kind of fault.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Refused(f"{url}: only http and https are asked")
    request = urllib.request.Request(url, data=data, headers=dict(headers or {}))
    try:
        # an opener of our own, since the shared one keeps the proxies that it saw first
        return urllib.request.build_opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        kind = Transient if error.code in _PASSING_STATUS else Refused
        raise kind(f"{url}: {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Transient(f"{url}: {_plain(error)}") from None


def read_chunk(response: Any, size: int) -> bytes:
    """Read on; a broken connection is a `Transient` fault."""
    try:
        return bytes(response.read(size))
    except (OSError, http.client.HTTPException) as error:
        raise Transient(_plain(error)) from None


def persistently(action: Callable[[], T], attempts: int, delay: float) -> T:
    """Act, and act again after transient faults, waiting twice as long each time.

    Raises
    ------
    Transient
        The last one, if no attempt succeeds.
    """
    for attempt in range(attempts):
        try:
            return action()
        except Transient as error:
            if attempt == attempts - 1:
                raise
            wait = delay * 2**attempt * random.uniform(0.5, 1.5)
            log.info("%s; trying again in %.1f s", error, wait)
            time.sleep(wait)
    raise AssertionError("attempts must be positive")


def _plain(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return str(reason) or type(error).__name__
