"""Statistics of products in the ledger, by the digest of the product.

A product keeps its statistics as long as any batch of the folder names it, so those of exposures
that were calibrated by an earlier batch are found, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
        text, packed = _encode(statistics)
        if len(text) <= LONGEST:
            self._change(
                "INSERT OR REPLACE INTO statistics (digest, body, quick_look) VALUES (?, ?, ?)",
                digest, text, packed,
            )  # fmt: skip

    def measured_products(self, batch: int) -> Iterator[MeasuredProduct]:
        """Yield the products of a batch with their statistics, in the order of the exposures.

        In a ledger of a version of calbatch that had no statistics, they are None.
        """
        query = "SELECT count(*) AS n FROM sqlite_master WHERE name = ?"
        is_there = bool(next(self._rows(query, TABLE))["n"])
        columns, join = "NULL AS body, NULL AS quick_look", ""
        if is_there:
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


def _encode(statistics: ProductStatistics) -> tuple[str, bytes | None]:
    """Return statistics as JSON, and the packed levels of their quick-look."""
    values: dict[str, Any] = {
        "flags": statistics.flags,
        "values": statistics.values,
        "metadata": statistics.metadata,
        "samples": statistics.samples,
        "level": statistics.level,
        "error": statistics.error,
        "noise": statistics.noise,
    }
    look = statistics.quick_look
    if look is not None:
        values["quick_look"] = [look.height, look.width, look.low, look.high]
    return json.dumps(values, separators=(",", ":")), None if look is None else look.packed


def _decode(body: Any, packed: Any) -> ProductStatistics | None:
    """Return the statistics of a row; None if there are none, or they are damaged.

    They decide nothing, so that a damaged row is no reason not to read the others.
    """
    try:
        values = json.loads(body)
        look = values.get("quick_look")
        quick_look = None
        if look is not None and isinstance(packed, bytes):
            height, width, low, high = look
            quick_look = QuickLook(
                height=int(height),
                width=int(width),
                low=float(low),
                high=float(high),
                packed=packed,
            )
        return ProductStatistics(
            flags={str(name): _numbers(flags, int) for name, flags in values["flags"].items()},
            values=_numbers(values["values"], int),
            metadata=_numbers(values["metadata"], float),
            samples=int(values["samples"]),
            level=_number(values["level"]),
            error=_number(values["error"]),
            noise=_number(values["noise"]),
            quick_look=quick_look,
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _numbers(values: Any, kind: type[Any]) -> Mapping[str, Any]:
    return {str(name): kind(_number(value)) for name, value in values.items()}


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"{value}")
    return float(value)
