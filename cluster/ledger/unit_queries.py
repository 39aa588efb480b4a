"""Storing and finding the units of a batch that are more than one file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from calbatch.cluster.exposure.unit import Member, Unit
from calbatch.cluster.ledger.records import FINAL, OPEN, MemberRow
from calbatch.cluster.ledger.sqlite_errors import decoding
from calbatch.models.storage.location import location

_HELD = (
    "FROM members JOIN exposures AS unit ON unit.batch = members.batch AND "
    "unit.number = members.number JOIN exposures AS maker ON maker.batch = members.batch AND "
    "maker.number = members.maker WHERE members.batch = ? AND unit.state = 'waiting' AND "
    f"maker.state IN ({', '.join('?' * len(OPEN))})"
)
"""End of a query for units that wait for others; it binds the batch and the open states."""


class FinishedMaker(NamedTuple):
    """A unit with a final outcome whose products are members of others.

    Attributes
    ----------
    number, path, state, identity
        Its columns in the ledger.
    products : list of str
        Paths of its products.
    """

    number: int
    path: str
    state: str
    identity: str
    products: list[str]


class UnitQueries:
    """Mixin with queries for units that are more than one file."""

    path: Path
    """Path of the database."""

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def unfinished_exposures(self, batch: int) -> Iterator[tuple[int, str]]:
        """Yield number and path of a batch's exposures that have no final outcome."""
        marks = ", ".join("?" * len(OPEN))
        for row in self._rows(
            f"SELECT number, path FROM exposures WHERE batch = ? AND state IN ({marks}) "
            "ORDER BY number",
            batch, *OPEN,
        ):  # fmt: skip
            yield row["number"], row["path"]

    def has_table(self, name: str) -> bool:
        """Return whether a table exists: older ledgers, if opened for reading, lack some."""
        query = "SELECT count(*) AS n FROM sqlite_master WHERE type = 'table' AND name = ?"
        return bool(next(self._rows(query, name))["n"])

    def has_members(self, batch: int) -> bool:
        """Return whether a batch has units that are more than one file."""
        if not self.has_table("members"):
            return False
        query = "SELECT count(*) AS n FROM (SELECT 1 FROM members WHERE batch = ? LIMIT 1)"
        return bool(next(self._rows(query, batch))["n"])

    def units(self, batch: int, *states: str) -> Iterator[Unit]:
        """Yield units of a batch that are more than one file: all, or those in some states."""
        if not self.has_members(batch):
            return
        condition = f" AND state IN ({', '.join('?' * len(states))})" if states else ""
        query = (
            "SELECT members.*, exposures.path AS unit_path, exposures.pipeline, exposures.product "
            "FROM exposures JOIN members ON members.batch = exposures.batch AND "
            f"members.number = exposures.number WHERE exposures.batch = ?{condition} "
            "ORDER BY exposures.number, members.id"
        )
        for number, rows in groupby(self._rows(query, batch, *states), itemgetter("number")):
            group = list(rows)
            with decoding(self.path):
                found = map(MemberRow.of, group)
                members = tuple(Member(m.role, m.path, m.maker, bool(m.optional)) for m in found)
                path = location(group[0]["unit_path"])
            yield Unit(number, path, members, group[0]["pipeline"], group[0]["product"])

    def count_held(self, batch: int) -> int:
        """Return the number of held units, which wait for others."""
        if not self.has_members(batch):
            return 0
        query = f"SELECT count(DISTINCT members.number) AS n {_HELD}"
        return int(next(self._rows(query, batch, *OPEN))["n"])

    def find_held(self, batch: int, limit: int) -> dict[str, list[str]]:
        """Return the paths of the makers that the first held units wait for, by product or path.

        Parameters
        ----------
        batch : int
            The batch's number in the ledger.
        limit : int
            Maximum number of held units to return.
        """
        found: dict[str, list[str]] = {}
        if not self.has_members(batch):
            return found
        query = (
            "SELECT DISTINCT members.number, unit.path, unit.product, maker.path AS maker_path "
            f"{_HELD} AND members.number IN (SELECT DISTINCT members.number {_HELD} "
            "ORDER BY members.number LIMIT ?) ORDER BY members.number, members.id"
        )
        values = batch, *OPEN, batch, *OPEN, limit
        for row in self._rows(query, *values):
            found.setdefault(row["product"] or row["path"], []).append(row["maker_path"])
        return found

    def finished_makers(self, batch: int) -> list[FinishedMaker]:
        """Return the makers that have a final outcome, with their products."""
        if not self.has_members(batch):
            return []
        makers = (
            f"exposures.batch = ? AND state IN ({', '.join('?' * len(FINAL))}) AND "
            "number IN (SELECT maker FROM members WHERE batch = ?)"
        )
        values = batch, *FINAL, batch
        ended = {
            row["number"]: FinishedMaker(
                row["number"], row["path"], row["state"], row["identity"] or "", []
            )
            for row in self._rows(
                f"SELECT * FROM exposures WHERE {makers} ORDER BY number", *values
            )
        }
        query = (
            "SELECT number, products.path FROM products JOIN exposures "
            f"ON products.exposure = exposures.id WHERE {makers} ORDER BY products.id"
        )
        for row in self._rows(query, *values):
            ended[row["number"]].products.append(row["path"])
        return list(ended.values())


def insert_units(connection: sqlite3.Connection, batch: int, units: Sequence[Unit]) -> None:
    """Add the members of units, and complete their rows among the exposures."""
    connection.executemany(
        "UPDATE exposures SET pipeline = ?, product = ?, members = ? "
        "WHERE batch = ? AND number = ?",
        ((u.pipeline, u.product, len(u.members), batch, u.number) for u in units),
    )
    connection.executemany(
        "INSERT INTO members (batch, number, role, path, maker, optional) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        ((batch, unit.number, *member) for unit in units for member in unit.members),
    )
