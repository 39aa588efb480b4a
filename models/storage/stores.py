"""Access to object stores through fsspec, within time limits.

fsspec and the package for a protocol are imported when the first URL is used. Every request has a
time limit and is retried a few times; an error names the URL.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError as CancelledFutureError
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from calbatch.models.errors import FileError, MissingFileError, StorageError, one_line
from calbatch.models.storage.location import Url, scrub_secrets
from calbatch.models.threads import CancelScope, check_cancelled, pause

T = TypeVar("T")

S3 = ("s3", "s3a")
"""Protocols of S3."""

_TIMEOUT_SECONDS = 30.0
_TRIES = 3
_PAUSES = (1 / 60, 1 / 15)
"""Pauses before the second and the third try, as fractions of the timeout."""

_SLOWEST = 64 << 10
"""Bytes per second; a server that is slower than this is treated as not answering."""

_MARGIN = 1.0
"""Seconds by which a time limit may be exceeded before an event loop counts as stuck."""

_CONNECTIONS = 16
_SECOND = 10**9

# By name, so that their packages need not be imported.
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")
_MISCONFIGURED = ("ParamValidationError", "ProfileNotFound", "ConfigParseError", "NoRegionError")

# Programming errors, which no server causes.
_BUGS = (TypeError, AttributeError, LookupError, AssertionError, MemoryError)

# Fields that identify an object's version, the most reliable first, and their kinds.
_VERSIONS = {
    "ETag": "etag", "etag": "etag", "md5Hash": "md5", "Content-MD5": "md5",
    "generation": "generation",
}  # fmt: skip
_TIMES = (
    "LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created",
)  # fmt: skip


def timeout() -> float:
    """Return the limit on a server's silence, in seconds: ``CALBATCH_REMOTE_TIMEOUT``, or 30."""
    try:
        return max(0.1, float(os.environ.get("CALBATCH_REMOTE_TIMEOUT", "")))
    except ValueError:
        return _TIMEOUT_SECONDS


@dataclass(frozen=True)
class ObjectInfo:
    """An object as described by its store.

    Attributes
    ----------
    size : int
        Size in bytes.
    mtime_ns : int
        Time of the last modification in nanoseconds. Stores report whole seconds; the fraction is
        derived from the version, if there is one, so that size and time distinguish versions.
    version : str
        The store's identifier of this version of the object (an ETag), otherwise the time; empty
        if the store reports neither.
    version_kind : str
        The kind of that identifier: ``etag``, ``weak-etag``, ``md5``, ``generation``, ``time`` or
        ``nothing``.
    """

    size: int
    mtime_ns: int
    version: str
    version_kind: str = "nothing"


class Store:
    """The file system of an object or folder.

    Parameters
    ----------
    url : Url
        The object or folder.

    Attributes
    ----------
    path : str
        The file system's name for the object or folder.

    Raises
    ------
    FileError
        If fsspec does not know the protocol, or the package for it is not installed.
    """

    def __init__(self, url: Url) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        text = url.protocol + url.text[len(url.protocol) :]
        self._files: Any
        self.path: str
        try:
            self._files, self.path = url_to_fs(text, **_options(url.protocol))
        except ImportError as error:
            raise FileError(url, _not_installed(url.protocol, error)) from None
        except ValueError as error:
            raise FileError(url, f"cannot be reached: {_summarize(error)}") from None
        # `retry` does this for every protocol, within one time limit.
        if url.protocol in S3:
            self._files.retries = 1

    @property
    def bucket_and_key(self) -> tuple[str, str]:
        """The bucket and the name in it (S3 only)."""
        bucket, key, _ = self._files.split_path(self.path)
        return bucket, key

    def call(self, method: str, *arguments: Any, size: int = 0, **named: Any) -> Any:
        """Call a method of the file system once.

        Parameters
        ----------
        method : str
            Its name.
        *arguments, **named
            Its arguments.
        size : int
            Number of bytes that it transfers, which extends the time limit.
        """
        if not getattr(self._files, "async_impl", False):
            return getattr(self._files, method)(*arguments, **named)
        return self.run(lambda: self.call_async(method, *arguments, **named), size)

    async def call_async(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of an asynchronous file system once, from a coroutine."""
        return await getattr(self._files, f"_{method}")(*arguments, **named)

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes | BaseException]:
        """Request ranges of the object concurrently; return the bytes or the error of each."""
        if not getattr(self._files, "async_impl", False):
            starts, stops = zip(*ranges, strict=True)
            answers: list[bytes | BaseException] = self._files.cat_ranges(
                [self.path] * len(ranges), list(starts), list(stops), on_error="return"
            )
            return answers

        import asyncio

        async def read_all() -> list[bytes | BaseException]:
            # All end with this coroutine; those of `cat_ranges` would go on.
            requests = (
                self.call_async("cat_file", self.path, start=start, end=stop)
                for start, stop in ranges
            )
            return await asyncio.gather(*requests, return_exceptions=True)

        return self.run(read_all, sum(stop - start for start, stop in ranges))

    def run(self, function: Callable[[], Coroutine[Any, Any, T]], size: int = 0) -> T:
        """Run a coroutine function on fsspec's event loop, with a time limit for ``size`` bytes.

        It is cancelled with the work of this context, and if this thread is interrupted.
        """
        import asyncio

        limit, loop = self.time_limit(size), self._files.loop
        with CancelScope() as scope:
            future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(function(), limit), loop)
            scope.call_when_cancelled(future.cancel)
            try:
                return future.result(limit + _MARGIN)
            except CancelledFutureError:
                check_cancelled()
                raise

    def rename(self, source: str) -> None:
        """Rename a file of the file system to this one."""
        self._files.mv(source, self.path)  # not every protocol has an asynchronous form

    @staticmethod
    def time_limit(size: int = 0) -> float:
        """Return the seconds that a request may take if it transfers ``size`` bytes."""
        return 2 * timeout() + size / _SLOWEST

    def retry(self, what: str, function: Callable[[], T], tries: int = _TRIES) -> T:
        """Call a function, retrying after a pause if it may then succeed.

        Parameters
        ----------
        what : str
            A noun for the message, such as ``reading``.
        function : callable
            The function.
        tries : int
            The maximum number of calls.

        Raises
        ------
        FileError
            If there is no such object, or no permission.
        StorageError
            If the server cannot be reached, does not answer or fails, after the last try.
        """
        for fraction in _PAUSES[: tries - 1]:
            try:
                return function()
            except _BUGS:
                raise
            except Exception as error:
                check_cancelled()
                raised = self.to_error(what, error)
                if not isinstance(raised, StorageError):
                    raise raised from None
            pause(fraction * timeout())
        try:
            return function()
        except _BUGS:
            raise
        except Exception as error:
            check_cancelled()
            # The cause stays out of tracebacks, as its text may hold secrets.
            raise self.to_error(what, error) from None

    def to_error(self, what: str, error: BaseException) -> FileError:
        """Convert an exception of fsspec or of a store's package to the corresponding error."""
        if isinstance(error, FileError):
            return error
        if isinstance(error, FileNotFoundError):
            return MissingFileError(self.url, "there is no such object")
        if isinstance(error, PermissionError):
            return FileError(self.url, f"{what} is not permitted: {_summarize(error)}")
        if type(error).__name__ in _NO_CREDENTIALS:
            return FileError(self.url, f"{what} needs credentials, and none were found")
        if isinstance(error, ValueError) or type(error).__name__ in _MISCONFIGURED:
            return FileError(self.url, f"{what} failed, invalid request: {_summarize(error)}")
        if isinstance(error, NotImplementedError):
            return FileError(self.url, f"{what} is not supported by {self.url.protocol}")
        if _is_timeout(error):
            return StorageError(
                self.url, f"{what} failed: no answer within the limit ({timeout():g} s of silence)"
            )
        return StorageError(self.url, f"{what} failed: {_summarize(error)}")

    def describe(self, tries: int = _TRIES) -> ObjectInfo:
        """Request the object's size and version.

        Raises
        ------
        FileError
            If there is no such object, it is a folder, or the store does not report its size.
        StorageError
            If the server fails.
        """
        info = self.retry("looking it up", lambda: self.call("info", self.path), tries)
        if info.get("type") == "directory":
            raise FileError(self.url, "is a folder, not an object")
        if info.get("size") is None:
            raise FileError(self.url, "its server does not report its size")
        return object_info(info)


def object_info(info: dict[str, Any]) -> ObjectInfo:
    """Return the description of an object from the one that fsspec returns."""
    times = (_nanoseconds(info[name]) for name in _TIMES if info.get(name))
    mtime_ns = next(times, 0)
    versions = ((str(info[name]).strip('"'), kind) for name, kind in _VERSIONS.items()
                if info.get(name))  # fmt: skip
    version, kind = next(versions, ("", "time" if mtime_ns else "nothing"))
    kind = f"weak-{kind}" if version.startswith("W/") else kind  # same meaning, other bytes
    if not version:
        return ObjectInfo(int(info["size"]), mtime_ns, str(mtime_ns or ""), kind)
    fraction = int.from_bytes(hashlib.sha256(version.encode()).digest()[:8], "big") % _SECOND
    return ObjectInfo(int(info["size"]), mtime_ns - mtime_ns % _SECOND + fraction, version, kind)


def _nanoseconds(moment: Any) -> int:
    if isinstance(moment, str):
        for parse in (datetime.fromisoformat, parsedate_to_datetime):
            with suppress(ValueError):
                return _nanoseconds(parse(moment))
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return int(aware.timestamp()) * _SECOND + aware.microsecond * 1000
    return int(moment * _SECOND) if isinstance(moment, (int, float)) else 0


def _options(protocol: str) -> dict[str, Any]:
    """Return options for a file system: no cached listings, and timeouts."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if protocol in S3:
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
    if protocol in S3:
        return "needs s3fs: pip install 'calbatch[s3]'"
    return f"needs a package that is not installed: {_summarize(error)}"


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _summarize(error: BaseException) -> str:
    """Return an exception's text in one line, without secrets."""
    plain = error.strerror if isinstance(error, OSError) else None
    text = scrub_secrets(" ".join(plain.split()) if plain else one_line(error))
    return text[:300] if text else type(error).__name__
