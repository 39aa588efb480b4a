"""Objects at URLs as files, read by byte ranges with few requests.

Ranges that are announced before reading are grouped: neighbours make one request, long ones
several, and some requests run concurrently. Other reads are extended by a read-ahead that grows
while reading is sequential.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache

from calbatch.models.errors import ChangedError, FileError, StorageError, format_count
from calbatch.models.storage.location import Url
from calbatch.models.storage.stamps import GZIP_MAGIC, FileVersion, Hashing, Range, ReadAt, Stamp
from calbatch.models.storage.stores import ObjectInfo, Store

GAP = 256 << 10
"""Largest gap between two ranges, in bytes, that is read rather than split into two requests."""

PIECE = 8 << 20
"""Longest request, in bytes."""

AT_ONCE = 32 << 20
"""Bytes that are requested, and held in memory, together."""

_READ_AHEAD = 64 << 10
_LONGEST_READ_AHEAD = 4 << 20


@dataclass(frozen=True)
class RemoteFile:
    """An object at a URL.

    Parameters
    ----------
    url : Url
        Its URL.
    """

    url: Url

    def stamp(self) -> Stamp:
        """Return the identity of a non-empty object.

        Raises
        ------
        FileError
            If there is no such object, or it is a folder or empty.
        StorageError
            If the server cannot be reached or fails.
        """
        info = Store(self.url).describe()
        if info.size == 0:
            raise FileError(self.url, "is empty (0 bytes)")
        return Stamp(
            path=self.url.text,
            size=info.size,
            mtime_ns=info.mtime_ns,
            is_gzipped=_is_gzipped(self.url, info),
            version=info.version,
            version_kind=info.version_kind,
        )

    def version(self) -> FileVersion:
        """Return the object's URL, size and time; raises as `stamp`."""
        stamp = self.stamp()
        return FileVersion(stamp.path, stamp.size, stamp.mtime_ns)

    @contextmanager
    def open(self, stamp: Stamp, ranges: Sequence[Range] = ()) -> Iterator[OpenRemoteFile]:
        """Open the object, and verify at the end that it still has the stamp's version.

        Raises
        ------
        ChangedError
            If the object was replaced.
        FileError
            If the object is gone.
        StorageError
            If the server fails.
        """
        info = ObjectInfo(stamp.size, stamp.mtime_ns, stamp.version, stamp.version_kind)
        remote = OpenRemoteFile(self.url, info, ranges)
        try:
            yield remote
        except StorageError:
            raise
        except Exception:
            remote.check()  # unintelligible data may stem from two versions
            raise
        if remote.has_read:
            remote.check()

    def content_digest(self, stamp: Stamp, hashing: Hashing) -> str:
        """Return the object's version after its kind; nothing is read."""
        del hashing
        return f"{stamp.version_kind}:{stamp.version}"


@lru_cache(maxsize=1024)
def _is_gzipped(url: Url, info: ObjectInfo) -> bool:
    # Not verified here: a caller that goes on reading verifies the version itself.
    magic = OpenRemoteFile(url, info, [(0, len(GZIP_MAGIC))]).read(0, len(GZIP_MAGIC))
    return magic == GZIP_MAGIC


def merge_ranges(ranges: Iterable[Range], gap: int = GAP, longest: int = PIECE) -> list[Range]:
    """Return the requests that cover some ranges, sorted and without overlap.

    Parameters
    ----------
    ranges : iterable of (int, int)
        Start and stop of each range, in any order.
    gap : int
        Ranges at most this far apart are joined.
    longest : int
        Longer requests are split.
    """
    requests: list[Range] = []
    for start, stop in sorted(r for r in ranges if r[0] < r[1]):
        if requests and start - requests[-1][1] <= gap:
            requests[-1] = (requests[-1][0], max(stop, requests[-1][1]))
        else:
            requests.append((start, stop))
    return [
        (at, min(at + longest, stop))
        for start, stop in requests
        for at in range(start, stop, longest)
    ]


def group_requests(requests: Sequence[Range], at_once: int = AT_ONCE) -> list[list[Range]]:
    """Return groups of requests to run concurrently.

    A group transfers at most ``at_once`` bytes, unless a single request is longer.
    """
    groups: list[list[Range]] = []
    room = 0
    for start, stop in requests:
        if not groups or stop - start > room:
            groups.append([])
            room = at_once
        groups[-1].append((start, stop))
        room -= stop - start
    return groups


class OpenRemoteFile:
    """An object that one thread is reading.

    Parameters
    ----------
    url : Url
        The object.
    info : ObjectInfo
        Its description at the time it was stamped.
    ranges : sequence of (int, int)
        Ranges that will be read; other reads are possible.
    """

    def __init__(self, url: Url, info: ObjectInfo, ranges: Sequence[Range] = ()) -> None:
        self._store = Store(url)
        self._info = info
        within = [(start, min(stop, info.size)) for start, stop in ranges]
        self._groups = group_requests(merge_ranges(within))
        self._starts = [group[0][0] for group in self._groups]
        self._held: list[tuple[int, bytes]] = []
        self._read_ahead = _READ_AHEAD
        self._reached = -1

    @property
    def has_read(self) -> bool:
        """True if anything was requested."""
        return self._reached >= 0

    def check(self, tries: int = 3) -> None:
        """Raise an error if the object was replaced: the bytes read may stem from two versions.

        Raises
        ------
        ChangedError
            If its size or version has changed.
        """
        now = self._store.describe(tries)
        if (now.size, now.version) != (self._info.size, self._info.version):
            raise ChangedError(self._store.url, "was replaced or changed since it was first read")

    def read(self, position: int, count: int) -> bytes:
        """Return the bytes at a position, fewer where the object ends."""
        stop = min(position + count, self._info.size)
        result = bytearray()
        while position + len(result) < stop:
            piece = self._piece(position + len(result), stop)
            result += piece[: stop - position - len(result)]
        return bytes(result)

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill a buffer with the bytes at a position.

        Raises
        ------
        FileError
            If the object ends too early, is gone or was replaced.
        StorageError
            If the server fails.
        """
        if position + len(view) > self._info.size:
            raise FileError(
                self._store.url,
                f"truncated while reading: {format_count(len(view), 'byte')} requested at byte "
                f"{position}, only {max(0, self._info.size - position)} present",
            )
        done = 0
        while done < len(view):
            piece = self._piece(position + done, position + len(view))
            count = min(len(piece), len(view) - done)
            view[done : done + count] = piece[:count]
            done += count

    def read_ahead(self) -> ReadAt:
        """Return `read`, which reads ahead itself."""
        return self.read

    def stream(self) -> io.BufferedReader:
        """Return a file object that reads the object."""
        return io.BufferedReader(_Stream(self, self._info.size))

    def _piece(self, position: int, stop: int) -> memoryview:
        """Return the bytes held from a position on, after requesting them if there are none."""
        for _ in range(2):
            for start, data in reversed(self._held):
                if start <= position < start + len(data):
                    return memoryview(data)[position - start :]
            self._hold(position, stop)
        raise AssertionError("the requested bytes are held")

    def _hold(self, position: int, stop: int) -> None:
        index = bisect_right(self._starts, position) - 1
        group = self._groups[index] if index >= 0 else []
        if any(start <= position < end for start, end in group):
            self._held = self._fetch(group)
            return
        is_sequential = position == self._reached
        longer = min(2 * self._read_ahead, _LONGEST_READ_AHEAD)
        self._read_ahead = longer if is_sequential else _READ_AHEAD
        stop = min(max(stop, position + self._read_ahead), self._info.size)
        # The last piece is kept: headers are read with small steps back.
        self._held = [*self._held[-1:], *self._fetch([(position, min(stop, position + PIECE))])]

    def _fetch(self, requests: Sequence[Range]) -> list[tuple[int, bytes]]:
        fetched: dict[Range, bytes] = {}

        def fetch_missing() -> None:
            self._request([r for r in requests if r not in fetched], fetched)

        self._reached = requests[-1][1]
        try:
            self._store.retry("reading", fetch_missing)
        except StorageError:
            # If the object was replaced, report that rather than the server's answer.
            with suppress(StorageError):
                self.check(tries=1)
            raise
        return [(start, fetched[start, stop]) for start, stop in requests]

    def _request(self, requests: Sequence[Range], fetched: dict[Range, bytes]) -> None:
        """Request ranges concurrently, store those that arrive, and raise the first error."""
        errors: list[BaseException] = []
        answers = self._store.read_ranges(requests)
        for (start, stop), answer in zip(requests, answers, strict=True):
            if isinstance(answer, bytes) and len(answer) == stop - start:
                fetched[start, stop] = answer
            elif isinstance(answer, bytes):
                errors.append(EOFError(f"{format_count(len(answer), 'byte')} arrived"))
            else:
                errors.append(answer)
        if errors:
            start, stop = next(r for r in requests if r not in fetched)
            size = format_count(stop - start, "byte")
            raise self._store.to_error(f"reading {size} at byte {start}", errors[0])


class _Stream(io.RawIOBase):
    """The raw file object of an object, for `gzip` and astropy."""

    def __init__(self, source: OpenRemoteFile, size: int) -> None:
        self._source, self._size, self._at = source, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer
        data = self._source.read(self._at, len(buffer))
        memoryview(buffer)[: len(data)] = data
        self._at += len(data)
        return len(data)
