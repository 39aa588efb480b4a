"""What a ledger knows of earlier work: asked before anything is done again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

from calbatch.cluster.ledger.records import ProductRow


class Known:
    """Questions about earlier work, for what can read a ledger's rows."""

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def known_header(
        self, path: str, size: int, mtime_ns: int
    ) -> tuple[str, dict[str, Any]] | None:
        """Return an unchanged input's digest and header."""
        query = "SELECT digest, header FROM inputs WHERE path = ? AND size = ? AND mtime_ns = ?"
        for row in self._rows(query, path, size, mtime_ns):
            return row["digest"], json.loads(zlib.decompress(row["header"]))
        return None

    def known_reference(self, path: str, size: int, mtime_ns: int) -> str | None:
        """Return an unchanged reference's checksum."""
        query = "SELECT sha1 FROM refs WHERE path = ? AND size = ? AND mtime_ns = ?"
        for row in self._rows(query, path, size, mtime_ns):
            return str(row["sha1"])
        return None

    def made_before(self, identity: str) -> list[ProductRow]:
        """Return the products of the last exposure of this identity that was done."""
        query = (
            "SELECT path, size, mtime_ns, digest FROM products WHERE exposure = ("
            "SELECT max(id) FROM exposures WHERE identity = ? AND state IN ('done', 'kept'))"
        )
        return [ProductRow.of(row) for row in self._rows(query, identity)]

    def deaths_before(self, identity: str) -> int:
        """Return how many workers the last exposure of this identity took with it, alone."""
        query = "SELECT deaths FROM exposures WHERE identity = ? ORDER BY id DESC LIMIT 1"
        for row in self._rows(query, identity):
            return int(row["deaths"])
        return 0

    def failed_before(self) -> set[str]:
        """Return the inputs that failed, or were quarantined, when they were tried last."""
        query = (
            "SELECT path FROM exposures WHERE id IN (SELECT max(id) FROM exposures GROUP BY path) "
            "AND state IN ('failed', 'quarantined')"
        )
        return {row["path"] for row in self._rows(query)}
