"""Headers of inputs in the ledger, so that unchanged files need not be read again.

The headers of a batch are much alike. The first one with its keywords is a pattern: it is kept in
full among the bodies that many exposures share, and the others are compressed with its text as
dictionary, to a tenth of what each takes by itself.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from calbatch.cluster.ledger.records import KnownHeader

MOST_PATTERNS = 16
"""Maximum number of patterns of a driver; further headers use the latest."""

UNREADABLE = (ValueError, TypeError, RecursionError, zlib.error)
"""Errors that a damaged header raises."""

_LONGEST_HEADER = 64 << 20
"""Size limit of a header's JSON in bytes; no real header comes close."""


class _Pattern(NamedTuple):
    """A header that others resemble."""

    digest: str
    text: bytes


class HeaderRows:
    """Mixin that writes and reads headers of inputs."""

    path: Path
    """Path of the database."""

    def __init__(self) -> None:
        self._patterns: dict[frozenset[str], _Pattern] = {}

    def add_body(self, digest: str, body: Mapping[str, Any]) -> None:
        """Store what many exposures share."""
        raise NotImplementedError

    def _change(self, statement: str, *values: Any) -> None:
        raise NotImplementedError

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def add_header(
        self, path: str, size: int, mtime_ns: int, digest: str, header: Mapping[str, Any]
    ) -> None:
        """Store the header of an input, so that it need not be read again."""
        text = json.dumps(header, sort_keys=True).encode()
        pattern = self._pattern_of(header, text)
        self._change(
            "INSERT OR REPLACE INTO inputs (path, size, mtime_ns, digest, header, pattern) "
            "VALUES (?, ?, ?, ?, ?, (SELECT id FROM bodies WHERE digest = ?))",
            path, size, mtime_ns, digest, _pack(text, pattern.text), pattern.digest,
        )  # fmt: skip

    def _pattern_of(self, header: Mapping[str, Any], text: bytes) -> _Pattern:
        """Return the pattern of a header, which is the header itself if it is the first one."""
        names = frozenset(header)
        if names not in self._patterns:
            if len(self._patterns) == MOST_PATTERNS:
                return next(reversed(self._patterns.values()))
            pattern = _Pattern(hashlib.sha256(text).hexdigest(), text)
            self.add_body(pattern.digest, header)
            self._patterns[names] = pattern
        return self._patterns[names]

    def find_headers(self, places: Sequence[tuple[str, int, int]]) -> dict[str, KnownHeader]:
        """Return the headers of unchanged inputs, by path.

        Parameters
        ----------
        places : sequence of (str, int, int)
            Path, size and modification time of each input; at most a few hundred.
        """
        now = {path: (size, mtime_ns) for path, size, mtime_ns in places}
        marks = ", ".join("?" * len(now))
        found = self._rows(f"SELECT * FROM inputs WHERE path IN ({marks})", *now)
        rows = [row for row in found if (row["size"], row["mtime_ns"]) == now[row["path"]]]
        headers = {}
        texts = self._pattern_texts({row.get("pattern") for row in rows})
        for row in rows:
            with suppress(*UNREADABLE):  # a damaged header is read again from the file
                header = _unpack(row["header"], texts.get(row.get("pattern"), b""))
                headers[row["path"]] = KnownHeader(row["digest"], header)
        return headers

    def _pattern_texts(self, numbers: Collection[int | None]) -> dict[int | None, bytes]:
        """Return the texts of patterns by their number; headers of older ledgers have none."""
        known = [number for number in numbers if number is not None]
        query = f"SELECT id, body FROM bodies WHERE id IN ({', '.join('?' * len(known))})"
        rows = self._rows(query, *known) if known else ()
        return {row["id"]: str(row["body"]).encode() for row in rows}

    def _unpack_measured(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield rows that have the columns of inputs, with the header as a mapping."""
        texts: dict[int | None, bytes] = {None: b""}
        for row in rows:
            number = row.get("pattern")
            if number not in texts:
                texts.update({number: b"", **self._pattern_texts({number})})
            with suppress(*UNREADABLE):
                yield {**row, "header": _unpack(row["header"], texts[number])}


def pack_alone(header: Mapping[str, Any]) -> bytes:
    """Return a header that is stored without a pattern."""
    return _pack(json.dumps(header, sort_keys=True).encode(), b"")


def _pack(text: bytes, pattern: bytes) -> bytes:
    packer = zlib.compressobj(zdict=pattern) if pattern else zlib.compressobj()
    return packer.compress(text) + packer.flush()


def _unpack(packed: bytes, pattern: bytes) -> dict[str, Any]:
    """Return the metadata of an input from its compressed JSON."""
    unpacker = zlib.decompressobj(zdict=pattern) if pattern else zlib.decompressobj()
    header = json.loads(unpacker.decompress(packed, _LONGEST_HEADER))
    if not isinstance(header, dict):
        raise TypeError(f"a header is {type(header).__name__}")
    return header
