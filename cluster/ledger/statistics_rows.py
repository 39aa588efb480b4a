"""Statistics of products in the ledger, by the digest of the product.

A product keeps its statistics as long as any batch of the folder names it, so those of exposures
that were calibrated by an earlier batch are found, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # NumPy is slow to import, and most commands need none
    from calbatch.models.statistics.product_statistics import ProductStatistics
    from calbatch.models.statistics.quick_look import QuickLook

TABLE = "statistics"

LONGEST = 20_000
"""Maximum number of characters of the statistics of a product, without its quick-look."""

REMOVE_UNUSED = "DELETE FROM statistics WHERE digest NOT IN (SELECT digest FROM products)"
"""Statement that removes statistics of products that no batch names any more."""


class MeasuredProduct(NamedTuple):
    """A product of an exposure, and its statistics, if they are known."""

    number: int
    path: str
    statistics: ProductStatistics | None


class StatisticsRows:
    """Mixin that writes and reads statistics of products."""

    path: Path
    """Path of the database."""

    def _change(self, statement: str, *values: Any) -> None:
        raise NotImplementedError

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def add_statistics(self, digest: str, statistics: ProductStatistics) -> None:
        """Record the statistics of a product; those that are too long are left out."""
        text, look = statistics.as_json(), statistics.quick_look
        if len(text) <= LONGEST:
            self._change(
                "INSERT OR REPLACE INTO statistics (digest, body, quick_look) VALUES (?, ?, ?)",
                digest, text, look.packed if look else None,
            )  # fmt: skip

    def measured_products(self, batch: int) -> Iterator[MeasuredProduct]:
        """Yield the products of a batch with their statistics, in the order of the exposures.

        In a ledger of a version of calbatch that had no statistics, they are None.
        """
        columns, join = "NULL AS body, NULL AS quick_look", ""
        if self._has_statistics():
            columns = "statistics.body, statistics.quick_look"
            join = "LEFT JOIN statistics ON statistics.digest = products.digest"
        for row in self._rows(
            f"SELECT exposures.number, products.path, {columns} FROM exposures "
            f"JOIN products ON products.exposure = exposures.id {join} "
            "WHERE batch = ? ORDER BY exposures.number, products.id",
            batch,
        ):
            number, path, body, packed = row.values()
            yield MeasuredProduct(number, str(path), _decode(body, packed))

    def quick_looks(
        self, batch: int, most: int, *, number: int | None = None
    ) -> list[tuple[str, QuickLook]]:
        """Return the paths and quick-looks of products that have one, the latest first.

        Parameters
        ----------
        batch : int
            The batch.
        most : int
            Maximum number.
        number : int, optional
            The exposure; by default any.
        """
        if not self._has_statistics():
            return []
        order = "ORDER BY products.id DESC LIMIT ?"
        if number is None:  # the latest of many, in an order that the planner does not find
            tables = "products CROSS JOIN exposures ON products.exposure = exposures.id"
            tables += " CROSS JOIN statistics ON statistics.digest = products.digest"
            which, values = "batch = ?", [batch, most]
        else:
            tables = "exposures JOIN products ON products.exposure = exposures.id"
            tables += " JOIN statistics ON statistics.digest = products.digest"
            which, values = "batch = ? AND exposures.number = ?", [batch, number, most]
        rows = self._rows(
            f"SELECT products.path, statistics.body, statistics.quick_look FROM {tables} "
            f"WHERE {which} AND statistics.quick_look IS NOT NULL {order}",
            *values,
        )
        found = ((row["path"], _decode(row["body"], row["quick_look"])) for row in rows)
        return [(str(path), each.quick_look) for path, each in found if each and each.quick_look]

    def _has_statistics(self) -> bool:
        """Return whether the ledger is of a version that has statistics."""
        query = "SELECT count(*) AS n FROM sqlite_master WHERE name = ?"
        return bool(next(self._rows(query, TABLE))["n"])


def _decode(body: Any, packed: Any) -> ProductStatistics | None:
    """Return the statistics of a row; None if there are none, or they are damaged.

    They decide nothing, so that a damaged row is no reason not to read the others.
    """
    from calbatch.models.statistics.product_statistics import ProductStatistics

    try:
        return ProductStatistics.from_json(body, packed if isinstance(packed, bytes) else None)
    except ValueError:
        return None
