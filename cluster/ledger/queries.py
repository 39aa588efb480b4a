"""Queries for earlier work, which decide which exposures are calibrated again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from calbatch.cluster.ledger.header_rows import HeaderRows
from calbatch.cluster.ledger.records import FAILED, OPEN, BatchRow, ExposureRow, ProductRow
from calbatch.cluster.ledger.schema import LedgerError
from calbatch.cluster.ledger.sqlite_errors import decoding

MOST_EXAMINED = 16
"""Number of inputs of which `HistoryQueries.has_open_ends` looks at each."""


class HistoryQueries(HeaderRows):
    """Mixin with queries for earlier work."""

    path: Path
    """Path of the database."""

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

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
            "SELECT inputs.*, exposures.seconds, exposures.cpu, exposures.stages, exposures.peak "
            "FROM exposures "
            "JOIN batches ON exposures.batch = batches.id JOIN inputs ON inputs.path = "
            "exposures.path WHERE batches.pipeline = ? AND exposures.state = 'done' AND "
            "exposures.seconds IS NOT NULL ORDER BY exposures.id DESC LIMIT ?"
        )
        for row in self._unpack_measured(self._rows(query, pipeline, count)):
            with suppress(ValueError, TypeError, AttributeError, RecursionError):
                stages = float(sum(json.loads(row["stages"]).values()))
                cpu = max(float(row["cpu"] or 0.0), stages)
                peak = None if row["peak"] is None else int(row["peak"])
                yield row["header"], float(row["seconds"]), cpu, peak

    def has_open_ends(self, paths: Collection[Any]) -> bool:
        """Return whether the latest exposure of an input has not ended well, or killed a process.

        Long lists are not examined: True.
        """
        if len(paths) > MOST_EXAMINED:
            return True
        query = (
            "SELECT state, deaths FROM exposures WHERE id IN (SELECT max(id) FROM exposures "
            f"WHERE path IN {_marks(paths)} GROUP BY path)"
        )
        rows = self._rows(query, *map(str, paths))
        return any(row["deaths"] or row["state"] not in ("done", "kept") for row in rows)

    def find_exposure(self, batch: int, number: int) -> ExposureRow | None:
        """Return an exposure; None if there is none."""
        query = "SELECT * FROM exposures WHERE batch = ? AND number = ?"
        with decoding(self.path):
            return next(map(ExposureRow.of, self._rows(query, batch, number)), None)

    def find_killers(
        self, inputs: Iterable[str], unrecorded: Iterable[ExposureRow] = ()
    ) -> dict[int, str]:
        """Return the exposures over which a process died, by ID, with their inputs.

        Those whose input has been calibrated since are left out.

        Parameters
        ----------
        inputs : iterable of str
            The inputs to look for. There may be a million, which are examined only if a process has
            died at all.
        unrecorded : iterable of ExposureRow
            Further exposures over which a process died: the ledger does not say so yet.
        """
        recorded = self._rows(
            "SELECT exposures.id, exposures.path FROM batches CROSS JOIN exposures "
            "ON exposures.batch = batches.id AND exposures.deaths > 0 "
            f"AND exposures.state IN {_texts(OPEN + FAILED)} WHERE batches.started IS NOT NULL"
        )
        killers = {row["id"]: row["path"] for row in recorded}
        killers |= {row.id: row.path for row in unrecorded}
        if not killers:
            return {}
        wanted = set(killers.values()).intersection(inputs)
        settled = {
            row["path"]: row["last"]
            # one pass, since exposures have no index by path
            for row in self._rows(
                "SELECT path, max(id) AS last FROM exposures WHERE id > ? AND ended IS NOT NULL "
                "GROUP BY path",
                min(killers),
            )
            if row["path"] in wanted
        }
        return {
            exposure: path
            for exposure, path in sorted(killers.items())
            if path in wanted and settled.get(path, 0) <= exposure
        }

    def find_unsettled_deaths(self, batch: int) -> dict[int, list[tuple[str, str]]]:
        """Return the deaths of processes that the exposures of a batch have not been judged for.

        They happened while an exposure was running alone, and its driver did not live to end it:
        in this batch, or in another one with the same pipeline and parameters. Each is the result
        and the reason of an attempt.

        An exposure of `find_killers` has an entry, if only an empty one: it has been judged, as it
        was quarantined, or worked on otherwise.
        """
        killers = self.find_killers(path for _, path in self._inputs(batch))
        paths = set(killers.values())
        numbers = (
            {path: number for number, path in self._inputs(batch) if path in paths} if paths else {}
        )
        found: dict[int, list[tuple[str, str]]] = {}
        for exposure, path in killers.items():
            found.setdefault(numbers[path], []).extend(self._find_deaths_alone(exposure, batch))
        return found

    def _inputs(self, batch: int) -> Iterator[tuple[int, str]]:
        """Yield number and path of the exposures of a batch; nothing is read before the first."""
        query = "SELECT number, path FROM exposures WHERE batch = ?"
        yield from ((row["number"], row["path"]) for row in self._rows(query, batch))

    def _find_deaths_alone(self, exposure: int, batch: int) -> list[tuple[str, str]]:
        """Return result and reason of the deaths over an exposure, if its work is that of a batch.

        There are none if it has been reopened since.
        """
        query = (
            "SELECT attempts.result, attempts.reason FROM attempts "
            "JOIN exposures ON exposures.id = attempts.exposure "
            "JOIN batches AS theirs ON theirs.id = exposures.batch "
            "JOIN batches AS mine ON mine.pipeline = theirs.pipeline "
            "AND mine.parameters = theirs.parameters "
            "WHERE exposures.id = ? AND mine.id = ? AND exposures.reason != '' "
            f"AND exposures.state IN {_texts(OPEN)} AND attempts.alone "
            "AND attempts.result IN ('death', 'crash', 'memory') ORDER BY attempts.id"
        )
        return [(row["result"], row["reason"]) for row in self._rows(query, exposure, batch)]

    def running_batches(self, other: int = 0) -> list[BatchRow]:
        """Return the batches that are recorded as running, but for one, by its number.

        To the holder of the ledger, their drivers have died.
        """
        rows = self._rows("SELECT * FROM batches WHERE state = 'running' AND id != ?", other)
        with decoding(self.path):
            return [BatchRow.of(row) for row in rows]

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


def _texts(values: Iterable[str]) -> str:
    return "({})".format(", ".join(f"'{value}'" for value in values))


def _marks(values: Collection[Any]) -> str:
    return f"({', '.join('?' * len(values))})"
