"""Queries for earlier work, which decide which exposures are calibrated again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from calbatch.cluster.ledger.records import BatchRow, KnownHeader, ProductRow
from calbatch.cluster.ledger.schema import LedgerError
from calbatch.cluster.ledger.sqlite_errors import decoding

_LONGEST_HEADER = 64 << 20
"""Size limit of a header's JSON in bytes; no real header comes close."""


class HistoryQueries:
    """Mixin with queries for earlier work."""

    path: Path
    """Path of the database."""

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def find_headers(self, places: Sequence[tuple[str, int, int]]) -> dict[str, KnownHeader]:
        """Return the headers of unchanged inputs, by path.

        Parameters
        ----------
        places : sequence of (str, int, int)
            Path, size and modification time of each input; at most a few hundred.
        """
        now = {path: (size, mtime_ns) for path, size, mtime_ns in places}
        query = "SELECT path, size, mtime_ns, digest, header FROM inputs WHERE path IN "
        headers = {}
        for row in self._rows(query + _marks(now), *now):
            if (row["size"], row["mtime_ns"]) == now[row["path"]]:
                # A damaged header is read again from the file.
                with suppress(ValueError, TypeError, RecursionError, zlib.error):
                    headers[row["path"]] = KnownHeader(row["digest"], _unpack_header(row["header"]))
        return headers

    def find_checksum(self, path: str, size: int, mtime_ns: int) -> str | None:
        """Return the checksum of an unchanged reference; None if it is not recorded."""
        query = "SELECT sha1 FROM refs WHERE path = ? AND size = ? AND mtime_ns = ?"
        for row in self._rows(query, path, size, mtime_ns):
            return str(row["sha1"])
        return None

    def find_products(self, identities: Sequence[str]) -> dict[str, list[ProductRow]]:
        """Return the products of the latest successful exposure of each identity."""
        query = (
            "SELECT identity, products.path, products.size, products.mtime_ns, products.digest "
            "FROM products JOIN exposures ON products.exposure = exposures.id "
            "WHERE exposures.id IN (SELECT max(id) FROM exposures WHERE identity IN "
            f"{_marks(identities)} AND state IN ('done', 'kept') GROUP BY identity) "
            "ORDER BY products.id"
        )
        products: dict[str, list[ProductRow]] = {}
        for row in self._rows(query, *identities):
            products.setdefault(row["identity"], []).append(ProductRow.of(row))
        return products

    def find_contents(self, identities: Sequence[str]) -> dict[str, str]:
        """Return the input's content digest of the latest successful exposure of each identity."""
        query = (
            "SELECT * FROM exposures WHERE id IN (SELECT max(id) FROM exposures WHERE identity IN "
            f"{_marks(identities)} AND state IN ('done', 'kept') GROUP BY identity)"
        )
        rows = self._rows(query, *identities)  # older ledgers have no column `content`
        return {row["identity"]: row.get("content") or "" for row in rows}

    def find_deaths(self, identities: Sequence[str]) -> dict[str, int]:
        """Return the number of worker deaths of each identity whose latest exposure is not done."""
        query = (
            "SELECT identity, deaths FROM exposures WHERE id IN (SELECT max(id) FROM exposures "
            f"WHERE identity IN {_marks(identities)} GROUP BY identity) AND state != 'done'"
        )
        return {row["identity"]: row["deaths"] for row in self._rows(query, *identities)}

    def find_measured(
        self, pipeline: str, count: int
    ) -> Iterator[tuple[dict[str, Any], float, float, int | None]]:
        """Yield header, seconds, CPU seconds and peak memory of exposures that are done.

        The CPU seconds are those of all processes that worked on the exposure. Damaged records are
        left out.

        Parameters
        ----------
        pipeline : str
            Name of the pipeline that has calibrated them.
        count : int
            Maximum number: the latest, the last one first.
        """
        query = (
            "SELECT exposures.seconds, exposures.cpu, exposures.stages, exposures.peak, "
            "inputs.header FROM exposures "
            "JOIN batches ON exposures.batch = batches.id JOIN inputs ON inputs.path = "
            "exposures.path WHERE batches.pipeline = ? AND exposures.state = 'done' AND "
            "exposures.seconds IS NOT NULL ORDER BY exposures.id DESC LIMIT ?"
        )
        for row in self._rows(query, pipeline, count):
            with suppress(ValueError, TypeError, AttributeError, RecursionError, zlib.error):
                header, peak = _unpack_header(row["header"]), row["peak"]
                stages = float(sum(json.loads(row["stages"]).values()))
                cpu = max(float(row["cpu"] or 0.0), stages)
                yield header, float(row["seconds"]), cpu, None if peak is None else int(peak)

    def find_failed(self) -> set[str]:
        """Return the inputs whose latest exposure has failed or is quarantined."""
        query = (
            "SELECT path FROM exposures WHERE id IN (SELECT max(id) FROM exposures GROUP BY path) "
            "AND state IN ('failed', 'quarantined')"
        )
        return {row["path"] for row in self._rows(query)}

    def batch(self, name: str) -> BatchRow:
        """Return a batch by its name.

        Raises
        ------
        LedgerError
            If there is no such batch.
        """
        for row in self._rows("SELECT * FROM batches WHERE name = ?", name):
            with decoding(self.path):
                return BatchRow.of(row)
        raise LedgerError(f"{self.path}: has no batch {name}")

    def states(self, batch: int) -> list[str]:
        """Return the states of a batch's exposures, in order."""
        query = "SELECT state FROM exposures WHERE batch = ? ORDER BY number"
        return [row["state"] for row in self._rows(query, batch)]

    def latest_failures(self, batch: int, count: int) -> list[tuple[int, str, str]]:
        """Return number, path and reason of the exposures of a batch that failed last, in order."""
        query = (
            "SELECT number, path, reason FROM exposures WHERE batch = ? AND state IN "
            "('failed', 'quarantined') ORDER BY ended DESC LIMIT ?"
        )
        rows = list(self._rows(query, batch, count))
        return [(row["number"], row["path"], row["reason"]) for row in reversed(rows)]

    def count_attempts(self, batch: int) -> dict[int, int]:
        """Return the number of attempts at each exposure of a batch that has had any."""
        query = "SELECT number, attempts FROM exposures WHERE batch = ? AND attempts > 0"
        return {row["number"]: row["attempts"] for row in self._rows(query, batch)}


def _unpack_header(packed: bytes) -> dict[str, Any]:
    """Return the metadata of an input from its compressed JSON."""
    unpacker = zlib.decompressobj()
    header = json.loads(unpacker.decompress(packed, _LONGEST_HEADER))
    if not isinstance(header, dict):
        raise TypeError(f"a header is {type(header).__name__}")
    return header


def _marks(values: Collection[Any]) -> str:
    return f"({', '.join('?' * len(values))})"
