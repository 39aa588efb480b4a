"""Copying the readable rows of a damaged ledger into a new one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from calbatch.cluster.ledger.records import (
    AttemptRow,
    BatchRow,
    EventRow,
    ExposureRow,
    MemberRow,
    ProductRow,
)
from calbatch.cluster.ledger.schema import LedgerError
from calbatch.cluster.ledger.sqlite_errors import decoding
from calbatch.cluster.ledger.view import View

_RowType = (
    type[BatchRow] | type[ExposureRow] | type[AttemptRow] | type[ProductRow] | type[EventRow]
    | type[MemberRow]
)  # fmt: skip

TABLES = (
    *("batches", "bodies", "exposures", "attempts", "products", "events", "members"),
    "statistics",
)
"""Tables to copy. The others are caches, which are filled again when needed."""

_ROWS: Mapping[str, _RowType] = {
    "batches": BatchRow,
    "exposures": ExposureRow,
    "attempts": AttemptRow,
    "products": ProductRow,
    "events": EventRow,
    "members": MemberRow,
}
"""Tables whose rows must be decodable, with their row classes."""

_ORPHANS = (
    "DELETE FROM exposures WHERE batch NOT IN (SELECT id FROM batches)",
    "DELETE FROM events WHERE batch NOT IN (SELECT id FROM batches)",
    "DELETE FROM members WHERE batch NOT IN (SELECT id FROM batches)",
    "DELETE FROM attempts WHERE exposure NOT IN (SELECT id FROM exposures)",
    "DELETE FROM products WHERE exposure NOT IN (SELECT id FROM exposures)",
    "UPDATE exposures SET refs = NULL WHERE refs NOT IN (SELECT id FROM bodies)",
    "UPDATE exposures SET parameters = NULL WHERE parameters NOT IN (SELECT id FROM bodies)",
)


def is_intact(folder: Path) -> bool:
    """Return whether the ledger in a folder is structurally sound and all rows can be decoded."""
    try:
        with View(folder) as view:
            if list(view.problems()):
                return False
            for table, kind in _ROWS.items():
                for row in view.table_rows(table) if view.has_table(table) else ():
                    with decoding(view.path):
                        kind.of(row)
            for batch in view.batches():
                for _ in view.exposures_in_full(batch.id):
                    pass
    except LedgerError:
        return False
    return True


def copy_rows(damaged: Path, connection: sqlite3.Connection) -> None:
    """Copy the readable rows of a damaged ledger into a new, empty one.

    Parameters
    ----------
    damaged : Path
        File of the damaged ledger, which is not changed.
    connection : sqlite3.Connection
        Connection to the new ledger. Rows that violate its constraints are left out.
    """
    address = f"{damaged.absolute().as_uri()}?mode=ro&immutable=1"
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as source:
        source.row_factory = sqlite3.Row
        for table in TABLES:
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            edges: list[Mapping[str, Any]] = []
            for row in _read_rows(source, table, edges):
                _insert(connection, table, {n: row[n] for n in columns & row.keys()})
            if table == "products":  # other products of these exposures may be unreadable
                for row in edges:
                    _forget_products(connection, row["exposure"])


def _forget_products(connection: sqlite3.Connection, exposure: object) -> None:
    with suppress(sqlite3.Error):
        connection.execute("DELETE FROM products WHERE exposure = ?", (exposure,))


def _read_rows(
    source: sqlite3.Connection, table: str, edges: list[Mapping[str, Any]] | None = None
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a table, reading from both ends as far as possible.

    Parameters
    ----------
    source : sqlite3.Connection
        Connection to the database.
    table : str
        Name of the table.
    edges : list, optional
        Receives the rows next to an unreadable part.
    """
    seen: set[int] = set()
    for order in ("ASC", "DESC"):
        last = None
        try:
            for row in source.execute(f"SELECT * FROM {table} ORDER BY id {order}"):
                if row["id"] in seen:
                    return
                seen.add(row["id"])
                last = dict(row)
                yield last
        except sqlite3.Error:
            if last is not None and edges is not None:
                edges.append(last)


def _insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> None:
    marks = ", ".join("?" * len(values))
    with suppress(sqlite3.Error, OverflowError):
        connection.execute(
            f"INSERT OR IGNORE INTO {table} ({', '.join(values)}) VALUES ({marks})",
            list(values.values()),
        )


def remove_undecodable(connection: sqlite3.Connection) -> None:
    """Remove undecodable and orphaned rows from a new ledger."""
    for table, kind in _ROWS.items():
        for row in list(_read_rows(connection, table)):
            if _decodes(kind, row):
                continue
            if kind is ProductRow:  # remove all products of the exposure, or it would seem done
                _forget_products(connection, row["exposure"])
            else:
                connection.execute(f"DELETE FROM {table} WHERE id = ?", (row["id"],))
    for row in list(_read_rows(connection, "bodies")):
        if not _is_mapping(row["body"]):
            connection.execute("DELETE FROM bodies WHERE id = ?", (row["id"],))
    for statement in _ORPHANS:
        connection.execute(statement)


def remove_incomplete_units(connection: sqlite3.Connection) -> None:
    """Remove unfinished units from batches that have lost members or makers.

    They could be calibrated without the lost inputs. Repeating the command adds them again.
    """
    incomplete = (
        "SELECT batch FROM exposures WHERE members != (SELECT count(*) FROM members WHERE "
        "members.batch = exposures.batch AND members.number = exposures.number) "
        "UNION SELECT batch FROM members WHERE maker IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
        "exposures WHERE exposures.batch = members.batch AND exposures.number = members.maker)"
    )
    for row in connection.execute(incomplete).fetchall():
        connection.execute(
            "DELETE FROM exposures WHERE batch = ? AND members > 0 AND state NOT IN "
            "('done', 'kept')",
            (row["batch"],),
        )
    for statement in _ORPHANS:
        connection.execute(statement)


def _decodes(kind: _RowType, row: Mapping[str, Any]) -> bool:
    try:
        with decoding(Path("row")):
            kind.of(row)
    except LedgerError:
        return False
    return True


def _is_mapping(text: Any) -> bool:
    with suppress(ValueError, TypeError, RecursionError):
        return isinstance(json.loads(text), dict)
    return False
