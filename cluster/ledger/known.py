"""What a ledger knows of earlier work: asked before anything is done again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from calbatch.cluster.ledger.records import ProductRow

_LONGEST_HEADER = 64 << 20
"""Bytes of JSON: more than any file's header comes to."""


class Known:
    """Questions about earlier work, for what can read a ledger's rows."""

    path: Path
    """The database's file."""

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def known_headers(
        self, places: Sequence[tuple[str, int, int]]
    ) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return digest and header of inputs that are unchanged, by path.

        Parameters
        ----------
        places : sequence of (str, int, int)
            Path, size and time of each, some hundreds at most.
        """
        now = {path: (size, mtime_ns) for path, size, mtime_ns in places}
        query = "SELECT path, size, mtime_ns, digest, header FROM inputs WHERE path IN "
        found = {}
        for row in self._rows(query + _marks(now), *now):
            if (row["size"], row["mtime_ns"]) == now[row["path"]]:
                with suppress(ValueError, TypeError, RecursionError, zlib.error):  # read it again
                    found[row["path"]] = row["digest"], _header(row["header"])
        return found

    def known_reference(self, path: str, size: int, mtime_ns: int) -> str | None:
        """Return an unchanged reference's checksum."""
        query = "SELECT sha1 FROM refs WHERE path = ? AND size = ? AND mtime_ns = ?"
        for row in self._rows(query, path, size, mtime_ns):
            return str(row["sha1"])
        return None

    def made_before(self, identities: Sequence[str]) -> dict[str, list[ProductRow]]:
        """Return the products of the last exposure of each identity that was done."""
        query = (
            "SELECT identity, products.path, products.size, products.mtime_ns, products.digest "
            "FROM products JOIN exposures ON products.exposure = exposures.id "
            "WHERE exposures.id IN (SELECT max(id) FROM exposures WHERE identity IN "
            f"{_marks(identities)} AND state IN ('done', 'kept') GROUP BY identity) "
            "ORDER BY products.id"
        )
        found: dict[str, list[ProductRow]] = {}
        for row in self._rows(query, *identities):
            found.setdefault(row["identity"], []).append(ProductRow.of(row))
        return found

    def contents_before(self, identities: Sequence[str]) -> dict[str, str]:
        """Return the digest of the input that was read when each identity was done last."""
        query = (
            "SELECT * FROM exposures WHERE id IN (SELECT max(id) FROM exposures WHERE identity IN "
            f"{_marks(identities)} AND state IN ('done', 'kept') GROUP BY identity)"
        )
        found = self._rows(query, *identities)  # older ledgers have no such column
        return {row["identity"]: row.get("content") or "" for row in found}

    def deaths_before(self, identities: Sequence[str]) -> dict[str, int]:
        """Return how many workers the last exposure of each identity took with it, in vain."""
        query = (
            "SELECT identity, deaths FROM exposures WHERE id IN (SELECT max(id) FROM exposures "
            f"WHERE identity IN {_marks(identities)} GROUP BY identity) AND state != 'done'"
        )
        return {row["identity"]: row["deaths"] for row in self._rows(query, *identities)}

    def failed_before(self) -> set[str]:
        """Return the inputs that failed, or were quarantined, when they were tried last."""
        query = (
            "SELECT path FROM exposures WHERE id IN (SELECT max(id) FROM exposures GROUP BY path) "
            "AND state IN ('failed', 'quarantined')"
        )
        return {row["path"] for row in self._rows(query)}

    def tries(self, batch: int) -> dict[int, int]:
        """Return the exposures of a batch that have been tried, with how often."""
        query = "SELECT number, attempts FROM exposures WHERE batch = ? AND attempts > 0"
        return {row["number"]: row["attempts"] for row in self._rows(query, batch)}


def _header(packed: bytes) -> dict[str, Any]:
    """Return an input's metadata as the ledger keeps it."""
    unpacker = zlib.decompressobj()
    header = json.loads(unpacker.decompress(packed, _LONGEST_HEADER))
    if not isinstance(header, dict):
        raise TypeError(f"a header is {type(header).__name__}")
    return header


def _marks(values: Collection[Any]) -> str:
    return f"({', '.join('?' * len(values))})"
