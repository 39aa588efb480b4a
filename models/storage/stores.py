"""Objects at URLs by fsspec: looked at, read, listed and written, within time limits.

fsspec and what it needs for a protocol are imported when the first URL is met. Every request has a
limit, and is tried a few times; what then still fails names the URL.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from calbatch.models.errors import FileError, StorageError, one_line
from calbatch.models.storage.location import Url, scrub_secrets

T = TypeVar("T")

_TIMEOUT_SECONDS = 30.0
_TRIES = 3
_PAUSES = (1 / 60, 1 / 15)
"""Before the second and the third try, as parts of the time limit."""

_SLOWEST = 64 << 10
"""Bytes a second: a server that is slower does not count as answering."""

_CONNECTIONS = 16
_SECOND = 10**9

# By name: their packages are not imported.
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")
_MISCONFIGURED = ("ParamValidationError", "ProfileNotFound", "ConfigParseError", "NoRegionError")

# No server's fault.
_BUGS = (TypeError, AttributeError, LookupError, AssertionError, MemoryError)

# What stores call an object's version, the surest first, and what each is.
_VERSIONS = {
    "ETag": "etag", "etag": "etag", "md5Hash": "md5", "Content-MD5": "md5",
    "generation": "generation",
}  # fmt: skip
_TIMES = (
    "LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created",
)  # fmt: skip


def timeout() -> float:
    """Return how long a server may be silent, in seconds: ``CALBATCH_REMOTE_TIMEOUT``, or 30."""
    try:
        return max(0.1, float(os.environ.get("CALBATCH_REMOTE_TIMEOUT", "")))
    except ValueError:
        return _TIMEOUT_SECONDS


@dataclass(frozen=True)
class ObjectInfo:
    """An object as its store describes it.

    Attributes
    ----------
    size : int
        In bytes.
    mtime_ns : int
        Time of the last change in nanoseconds. Stores tell whole seconds: what is below is made
        of the version where they tell one, so that size and time tell versions apart.
    identity : str
        What the store calls this version of it (an ETag), else the time; empty if it has neither.
    kind : str
        What that is: ``etag``, ``weak-etag``, ``md5``, ``generation``, ``time`` or ``nothing``.
    """

    size: int
    mtime_ns: int
    identity: str
    kind: str = "nothing"


class Store:
    """What fsspec reaches an object or folder by.

    Parameters
    ----------
    url : Url
        The object or folder.

    Attributes
    ----------
    files : fsspec.AbstractFileSystem
        The file system.
    path : str
        What it calls the object.

    Raises
    ------
    FileError
        fsspec knows no such protocol, or the package for it is not installed.
    """

    def __init__(self, url: Url) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        text = url.protocol + url.text[len(url.protocol) :]
        try:
            self.files, self.path = url_to_fs(text, **_options(url.protocol))
        except ImportError as error:
            raise FileError(url, _not_installed(url.protocol, error)) from None
        except ValueError as error:
            raise FileError(url, f"cannot be reached: {_told(error)}") from None
        # Trying again is done here, the same for every protocol and within one limit.
        if url.protocol in ("s3", "s3a"):
            self.files.retries = 1

    def run(self, method: str, *arguments: Any, size: int = 0, **named: Any) -> Any:
        """Call a method of the file system, once.

        Parameters
        ----------
        method : str
            Its name.
        *arguments, **named
            Its arguments.
        size : int
            Bytes that it moves: large ones may take longer.
        """
        if not getattr(self.files, "async_impl", False):
            return getattr(self.files, method)(*arguments, **named)
        from fsspec.asyn import sync

        function = getattr(self.files, f"_{method}")
        return sync(self.files.loop, function, *arguments, timeout=self.limit(size), **named)

    @staticmethod
    def limit(size: int = 0) -> float:
        """Return how many seconds a request may take that moves so many bytes."""
        return 2 * timeout() + size / _SLOWEST

    def tried(self, what: str, call: Callable[[], T], tries: int = _TRIES) -> T:
        """Call something, again after a pause where it may then succeed.

        Parameters
        ----------
        what : str
            Such as ``reading``, for the message.
        call : callable
            What to do.
        tries : int
            How often at most.

        Raises
        ------
        FileError
            There is no such object, or no permission.
        StorageError
            The server cannot be reached, does not answer, or fails; after the last try.
        """
        for pause in _PAUSES[: tries - 1]:
            try:
                return call()
            except _BUGS:
                raise
            except Exception as error:
                fault = self.fault(what, error)
                if not isinstance(fault, StorageError):
                    raise fault from None
            time.sleep(pause * timeout())
        try:
            return call()
        except _BUGS:
            raise
        except Exception as error:
            # The cause stays out of tracebacks: its text was not looked through for secrets.
            raise self.fault(what, error) from None

    def fault(self, what: str, error: BaseException) -> FileError:
        """Return what an exception of fsspec or a store's package means, in one line."""
        if isinstance(error, FileError):
            return error
        if isinstance(error, FileNotFoundError):
            return FileError(self.url, "there is no such object")
        if isinstance(error, PermissionError):
            return FileError(self.url, f"{what} is not permitted: {_told(error)}")
        if type(error).__name__ in _NO_CREDENTIALS:
            return FileError(self.url, f"{what} needs credentials, and none were found")
        if isinstance(error, ValueError) or type(error).__name__ in _MISCONFIGURED:
            return FileError(self.url, f"{what} cannot be asked for: {_told(error)}")
        if isinstance(error, NotImplementedError):
            return FileError(self.url, f"{what} is not possible by {self.url.protocol}")
        if _timed_out(error):
            return StorageError(
                self.url, f"{what} failed: no answer within the limit ({timeout():g} s of silence)"
            )
        return StorageError(self.url, f"{what} failed: {_told(error)}")

    def facts(self, tries: int = _TRIES) -> ObjectInfo:
        """Ask for the object's size and version.

        Raises
        ------
        FileError
            There is none, it is a folder, or the store does not tell its size.
        StorageError
            The server fails.
        """
        info = self.tried("looking at it", lambda: self.run("info", self.path), tries)
        if info.get("type") == "directory":
            raise FileError(self.url, "is a folder, not an object")
        if info.get("size") is None:
            raise FileError(self.url, "its server does not tell its size")
        return object_info(info)


def object_info(info: dict[str, Any]) -> ObjectInfo:
    """Return the facts in what fsspec tells of an object."""
    moments = (_nanoseconds(info[name]) for name in _TIMES if info.get(name))
    mtime_ns = next(moments, 0)
    versions = ((str(info[name]).strip('"'), kind) for name, kind in _VERSIONS.items()
                if info.get(name))  # fmt: skip
    version, kind = next(versions, ("", "time" if mtime_ns else "nothing"))
    kind = f"weak-{kind}" if version.startswith("W/") else kind  # not of bytes, but of meaning
    if not version:
        return ObjectInfo(int(info["size"]), mtime_ns, str(mtime_ns or ""), kind)
    below = int.from_bytes(hashlib.sha256(version.encode()).digest()[:8], "big") % _SECOND
    return ObjectInfo(int(info["size"]), mtime_ns - mtime_ns % _SECOND + below, version, kind)


def _nanoseconds(moment: Any) -> int:
    if isinstance(moment, str):
        for read in (datetime.fromisoformat, parsedate_to_datetime):
            with suppress(ValueError):
                return _nanoseconds(read(moment))
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return int(aware.timestamp()) * _SECOND + aware.microsecond * 1000
    return int(moment * _SECOND) if isinstance(moment, (int, float)) else 0


def _options(protocol: str) -> dict[str, Any]:
    """Return what a file system is made with: no memory of listings, and limits of time."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if protocol in ("s3", "s3a"):
        from fsspec.config import conf

        own = {
            "connect_timeout": timeout(),
            "read_timeout": timeout(),
            "retries": {"max_attempts": 0},
            "max_pool_connections": _CONNECTIONS,
        }
        options["config_kwargs"] = own | conf.get("s3", {}).get("config_kwargs", {})
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        silence = ClientTimeout(total=None, sock_connect=timeout(), sock_read=timeout())
        options["client_kwargs"] = {"timeout": silence}
    return options


def _not_installed(protocol: str, error: ImportError) -> str:
    if protocol in ("s3", "s3a"):
        return "needs s3fs: pip install 'calbatch[s3]'"
    return f"needs a package that is not installed: {_told(error)}"


def _timed_out(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _told(error: BaseException) -> str:
    plain = error.strerror if isinstance(error, OSError) else None
    text = scrub_secrets(" ".join(plain.split()) if plain else one_line(error))
    return text[:300] if text else type(error).__name__
