"""Reading a ledger from any process while its driver writes it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Self, TypeVar

from calbatch.cluster.ledger.queries import HistoryQueries
from calbatch.cluster.ledger.records import (
    AttemptRow,
    BatchRow,
    EventRow,
    ExposureRow,
    ProductRow,
)
from calbatch.cluster.ledger.schema import MIGRATIONS, LedgerError, version_of
from calbatch.cluster.ledger.sqlite_errors import decoding, make_error, require_contents
from calbatch.cluster.ledger.statistics_rows import StatisticsRows
from calbatch.cluster.ledger.store import NAME
from calbatch.cluster.ledger.unit_queries import UnitQueries
from calbatch.models.private import NotPrivateError, check_private_folder

Row = TypeVar("Row", BatchRow, ExposureRow, AttemptRow, ProductRow, EventRow)

PATIENCE = 10.0
"""Seconds to wait for a commit."""


class View(HistoryQueries, UnitQueries, StatisticsRows):
    """A ledger, opened for reading.

    Parameters
    ----------
    folder : Path
        The folder that contains it.

    Raises
    ------
    LedgerError
        If there is none, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / NAME
        require_contents(self.path)
        if not self.path.is_file():
            raise LedgerError(f"{folder}: there is no ledger of batches")
        try:
            self._connection = self._connect()
            version = version_of(self._connection)
        except sqlite3.Error as error:
            raise make_error(self.path, error) from error
        if not 1 <= version <= len(MIGRATIONS):  # columns missing in an older ledger read as None
            self._connection.close()
            raise LedgerError(
                f"{self.path}: version {version} is not between 1 and {len(MIGRATIONS)}: use a "
                "later version of calbatch, or run a batch in this folder"
            )
        self._connection.row_factory = sqlite3.Row

    def _connect(self) -> sqlite3.Connection:
        # If the driver was killed during a commit, reading needs write access to roll it back.
        # Another user's ledger is opened read-only, so that no link planted there is written to.
        if _is_private(self.path.parent):
            with suppress(sqlite3.OperationalError):
                return self._connect_with("rw")
        return self._connect_with("ro")

    def _connect_with(self, mode: str) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=PATIENCE, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self._connection.close()

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        try:
            for row in self._connection.execute(query, values):
                yield dict(row)
        except sqlite3.Error as error:
            raise make_error(self.path, error) from error

    def table_rows(self, table: str) -> Iterator[Mapping[str, Any]]:
        """Yield all rows of a table, undecoded."""
        return self._rows(f"SELECT * FROM {table}")

    def problems(self) -> list[str]:
        """Return structural problems of the database; empty if it is sound."""
        problems = [row["integrity_check"] for row in self._rows("PRAGMA integrity_check(10)")]
        return [text for text in problems if text != "ok"]

    def _decode_row(self, kind: type[Row], row: Mapping[str, Any]) -> Row:
        with decoding(self.path):
            return kind.of(row)

    def batches(self) -> list[BatchRow]:
        """Return all batches, oldest first."""
        return [
            self._decode_row(BatchRow, r) for r in self._rows("SELECT * FROM batches ORDER BY id")
        ]

    def batch(self, name: str | int) -> BatchRow:
        """Return a batch by its name or number.

        Raises
        ------
        LedgerError
            If there is no such batch.
        """
        column = "id" if isinstance(name, int) else "name"
        for row in self._rows(f"SELECT * FROM batches WHERE {column} = ?", name):
            return self._decode_row(BatchRow, row)
        raise LedgerError(f"{self.path}: has no batch {name}")

    def counts(self, batch: int) -> dict[str, int]:
        """Return the number of exposures in each state."""
        query = "SELECT state, count(*) AS n FROM exposures WHERE batch = ? GROUP BY state"
        return {row["state"]: row["n"] for row in self._rows(query, batch)}

    def exposures(self, batch: int, *states: str) -> Iterator[ExposureRow]:
        """Yield a batch's exposures in order: all, or those in the given states."""
        condition = f" AND state IN ({', '.join('?' * len(states))})" if states else ""
        query = f"SELECT * FROM exposures WHERE batch = ?{condition} ORDER BY number"
        yield from (self._decode_row(ExposureRow, row) for row in self._rows(query, batch, *states))

    def exposure(self, batch: int, number: int) -> ExposureRow:
        """Return one exposure of a batch.

        Raises
        ------
        LedgerError
            If there is no such exposure.
        """
        query = "SELECT * FROM exposures WHERE batch = ? AND number = ?"
        for row in self._rows(query, batch, number):
            return self._decode_row(ExposureRow, row)
        raise LedgerError(f"{self.path}: batch {self.batch(batch).name} has no exposure {number}")

    def exposures_in_full(
        self, batch: int
    ) -> Iterator[tuple[ExposureRow, Mapping[str, Any], list[ProductRow]]]:
        """Yield a batch's exposures in order with references and products, using two queries."""
        query = (
            "SELECT exposures.number AS number, products.* FROM exposures "
            "JOIN products ON products.exposure = exposures.id "
            "WHERE batch = ? ORDER BY exposures.number, products.id"
        )
        products_by_number = groupby(self._rows(query, batch), itemgetter("number"))
        number, products = next(products_by_number, (None, iter(())))
        bodies: dict[int | None, Mapping[str, Any]] = {None: {}}
        for row in self._rows("SELECT * FROM exposures WHERE batch = ? ORDER BY number", batch):
            exposure_products: list[ProductRow] = []
            if number == row["number"]:
                exposure_products = [self._decode_row(ProductRow, product) for product in products]
                number, products = next(products_by_number, (None, iter(())))
            if row["refs"] not in bodies:
                bodies[row["refs"]] = self.references(row["id"])
            yield self._decode_row(ExposureRow, row), bodies[row["refs"]], exposure_products

    def attempts(self, exposure: int) -> list[AttemptRow]:
        """Return the attempts at an exposure, in order."""
        query = "SELECT * FROM attempts WHERE exposure = ? ORDER BY id"
        return [self._decode_row(AttemptRow, row) for row in self._rows(query, exposure)]

    def products(self, exposure: int) -> list[ProductRow]:
        """Return the products of an exposure."""
        query = "SELECT * FROM products WHERE exposure = ? ORDER BY id"
        return [self._decode_row(ProductRow, row) for row in self._rows(query, exposure)]

    def events(self, batch: int, after: float = 0.0) -> list[EventRow]:
        """Return the events of a batch, in order."""
        query = "SELECT * FROM events WHERE batch = ? AND time > ? ORDER BY id"
        return [self._decode_row(EventRow, row) for row in self._rows(query, batch, after)]

    def last_event(self, batch: int, kind: str) -> EventRow | None:
        """Return the latest event of a kind; None if there is none."""
        query = "SELECT * FROM events WHERE batch = ? AND kind = ? ORDER BY id DESC LIMIT 1"
        rows = (self._decode_row(EventRow, row) for row in self._rows(query, batch, kind))
        return next(rows, None)

    def count_ended(self, batch: int, time: float) -> int:
        """Return the number of exposures calibrated since a time, for the rate display."""
        query = (
            "SELECT count(*) AS n FROM exposures WHERE batch = ? AND state IN ('done', 'failed', "
            "'quarantined') AND ended > ?"
        )
        return int(next(self._rows(query, batch, time))["n"])

    def inputs(self) -> dict[str, tuple[int, int, str]]:
        """Return size, modification time and header digest of every recorded input."""
        query = "SELECT path, size, mtime_ns, digest FROM inputs"
        return {r["path"]: (r["size"], r["mtime_ns"], r["digest"]) for r in self._rows(query)}

    def references(self, exposure: int) -> Mapping[str, Any]:
        """Return the references of an exposure by type, with their checksums."""
        return self._body("refs", exposure)

    def parameters(self, exposure: int) -> Mapping[str, Any]:
        """Return the parameters of an exposure, with their sources."""
        return self._body("parameters", exposure)

    def _body(self, column: str, exposure: int) -> Mapping[str, Any]:
        query = (
            f"SELECT body FROM bodies JOIN exposures ON exposures.{column} = bodies.id "
            "WHERE exposures.id = ?"
        )
        for row in self._rows(query, exposure):
            with decoding(self.path):
                body = json.loads(row["body"])
                if not isinstance(body, dict):
                    raise TypeError(f"{column} of exposure {exposure}")
                return body
        return {}


def _is_private(folder: Path) -> bool:
    try:
        check_private_folder(folder)
    except (NotPrivateError, OSError):
        return False
    return True
