"""Reading an object by ranges of its bytes, with few requests.

What will be read is told beforehand where it is known: neighbouring ranges then make one request,
long ones several, and some are under way at once. Otherwise reading goes ahead a little, the more
so the longer it goes straight on.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress

from calbatch.models.errors import ChangedError, FileError, StorageError
from calbatch.models.storage.location import Url
from calbatch.models.storage.stores import ObjectInfo, Store

Range = tuple[int, int]
"""Start and stop, in bytes."""

GAP = 256 << 10
"""Bytes between two ranges that are read along, rather than in another request."""

PIECE = 8 << 20
"""The longest request."""

AT_ONCE = 32 << 20
"""Bytes that are held, and asked for together."""

_AHEAD = 64 << 10
_FARTHEST_AHEAD = 4 << 20


def merge_ranges(wanted: Iterable[Range], gap: int = GAP, longest: int = PIECE) -> list[Range]:
    """Return the requests that cover some ranges, in rising order and without overlap.

    Parameters
    ----------
    wanted : iterable of (start, stop)
        In any order.
    gap : int
        Ranges this close to each other are joined.
    longest : int
        What is longer is cut.
    """
    joined: list[Range] = []
    for start, stop in sorted(r for r in wanted if r[0] < r[1]):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return [
        (at, min(at + longest, stop))
        for start, stop in joined
        for at in range(start, stop, longest)
    ]


def group_requests(requests: Sequence[Range], at_once: int = AT_ONCE) -> list[list[Range]]:
    """Return requests in lots that are under way together, none much larger than ``at_once``."""
    lots: list[list[Range]] = []
    room = 0
    for start, stop in requests:
        if not lots or stop - start > room:
            lots.append([])
            room = at_once
        lots[-1].append((start, stop))
        room -= stop - start
    return lots


class OpenRemoteFile:
    """An object that is being read, by one thread.

    Parameters
    ----------
    url : Url
        The object.
    facts : Facts
        What it was when it was looked at.
    wanted : sequence of (start, stop)
        Ranges that will be read; others may be too.
    """

    def __init__(self, url: Url, facts: ObjectInfo, wanted: Sequence[Range] = ()) -> None:
        self._store = Store(url)
        self._facts = facts
        self._lots = group_requests(merge_ranges(wanted))
        self._starts = [lot[0][0] for lot in self._lots]
        self._held: list[tuple[int, bytes]] = []
        self._ahead = _AHEAD
        self._reached = -1

    @property
    def untouched(self) -> bool:
        """Whether nothing was read."""
        return self._reached < 0

    def check(self, tries: int = 3) -> None:
        """Refuse an object that has been replaced: what was read may be of both.

        Raises
        ------
        ChangedError
            It is another one than when it was looked at.
        """
        now = self._store.facts(tries)
        if (now.size, now.identity) != (self._facts.size, self._facts.identity):
            raise ChangedError(self._store.url, "was replaced or changed since it was first read")

    def read(self, position: int, count: int) -> bytes:
        """Return bytes at a position, fewer where the object ends."""
        stop = min(position + count, self._facts.size)
        found = bytearray()
        while position + len(found) < stop:
            piece = self._piece(position + len(found), stop)
            found += piece[: stop - position - len(found)]
        return bytes(found)

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill a buffer with the bytes at a position.

        Raises
        ------
        FileError
            The object ends too early, is gone or was replaced.
        StorageError
            Its server fails.
        """
        if position + len(view) > self._facts.size:
            raise FileError(
                self._store.url,
                f"truncated while reading: {len(view)} bytes wanted at byte {position}, "
                f"{max(0, self._facts.size - position)} are there",
            )
        done = 0
        while done < len(view):
            piece = self._piece(position + done, position + len(view))
            count = min(len(piece), len(view) - done)
            view[done : done + count] = piece[:count]
            done += count

    def stream(self) -> io.BufferedReader:
        """Return a file object that reads it."""
        return io.BufferedReader(_Stream(self, self._facts.size))

    def _piece(self, position: int, stop: int) -> memoryview:
        """Return bytes from a position on, as many as are held; ask for more if there are none."""
        for _ in range(2):
            for start, data in reversed(self._held):
                if start <= position < start + len(data):
                    return memoryview(data)[position - start :]
            self._hold(position, stop)
        raise AssertionError("what was asked for is held")

    def _hold(self, position: int, stop: int) -> None:
        index = bisect_right(self._starts, position) - 1
        lot = self._lots[index] if index >= 0 else []
        if any(start <= position < end for start, end in lot):
            self._held = self._fetch(lot)
            return
        straight_on = position == self._reached
        self._ahead = min(2 * self._ahead, _FARTHEST_AHEAD) if straight_on else _AHEAD
        stop = min(max(stop, position + self._ahead), self._facts.size)
        # The last one stays: headers are read with small steps back.
        self._held = [*self._held[-1:], *self._fetch([(position, min(stop, position + PIECE))])]

    def _fetch(self, requests: Sequence[Range]) -> list[tuple[int, bytes]]:
        found: dict[Range, bytes] = {}

        def missing() -> None:
            self._ask([r for r in requests if r not in found], found)

        self._reached = requests[-1][1]
        try:
            self._store.tried("reading", missing)
        except StorageError:
            # Of an object that became shorter, say that rather than what the server says.
            with suppress(StorageError):
                self.check(tries=1)
            raise
        return [(start, found[start, stop]) for start, stop in requests]

    def _ask(self, requests: Sequence[Range], found: dict[Range, bytes]) -> None:
        """Read some ranges at once, keep what came, and raise the first fault."""
        path = self._store.path
        answers = self._store.run(
            "cat_ranges",
            [path] * len(requests),
            [start for start, _ in requests],
            [stop for _, stop in requests],
            on_error="return",
            size=sum(stop - start for start, stop in requests),
        )
        faults = []
        for (start, stop), answer in zip(requests, answers, strict=True):
            if isinstance(answer, bytes) and len(answer) == stop - start:
                found[start, stop] = answer
            elif isinstance(answer, bytes):
                faults.append(EOFError(f"{len(answer)} bytes came"))
            else:
                faults.append(answer)
        if faults:
            start, stop = next(r for r in requests if r not in found)
            raise self._store.fault(f"reading {stop - start} bytes at byte {start}", faults[0])


class _Stream(io.RawIOBase):
    """What Python's and astropy's readers of files take."""

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
