"""Entries of a report: an exposure with its header, products, statistics and metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, NamedTuple

from calbatch.cluster.display.monitor import shorten
from calbatch.cluster.ledger import ExposureRow, View
from calbatch.cluster.ledger.statistics_rows import MeasuredProduct
from calbatch.models.statistics.product_statistics import ProductStatistics

_BLOCK = 300
"""Number of headers that are read from the ledger at once."""

MOST_PRODUCTS = 20
"""Number of products of an exposure that a report shows."""

_LONGEST_LABEL = 40
"""Characters of a header value, the rest of which is left out."""

LABELS = {
    "instrument": "meta.instrument.name",
    "detector": "meta.instrument.detector",
    "filter": "meta.instrument.filter",
    "type": "meta.exposure.type",
}
"""Header values by which exposures are compared and filtered, by their names in the report."""

_TIME = "meta.exposure.start_time"
_JUMP_RATE = "meta.exposure.primary_cosmic_rays"
_QUALITY = ("dq", "groupdq", "pixeldq")


class Metric(NamedTuple):
    """A number of each exposure that a report compares.

    Attributes
    ----------
    name : str
        Its name in files for programs.
    title, unit : str
        Its name and unit for people.
    scatter : float
        Least robust standard deviation, as a fraction of the median: smaller differences do not
        matter.
    """

    name: str
    title: str
    unit: str = ""
    scatter: float = 1e-3


METRICS = (
    Metric("level", "median level"),
    Metric("noise", "noise"),
    Metric("error", "median error"),
    Metric("jumps", "values with jumps", "%"),
    Metric("saturated", "saturated values", "%"),
    Metric("unusable", "unusable values", "%"),
    Metric("jump_rate", "jumps per 1000 pixels and second"),
    Metric("cpu", "CPU time", "s", scatter=0.2),  # a busy machine alone makes it half as long again
)
"""The numbers of each exposure; levels, noise and errors have the unit of the product."""

_SHARES = {"jumps": "JUMP_DET", "saturated": "SATURATED", "unusable": "DO_NOT_USE"}


@dataclass(frozen=True, kw_only=True)
class ExposureEntry:
    """An exposure in a report.

    Attributes
    ----------
    row : ExposureRow
        Its row of the ledger.
    labels : mapping
        Header values by the names in `LABELS`; "" where the header has none.
    time : float, optional
        Start of the exposure, in days (MJD).
    references : mapping
        File and checksum of each type of reference.
    products : sequence of MeasuredProduct
        Its products, with their statistics.
    metrics : mapping
        The numbers of `METRICS` that are known.
    """

    row: ExposureRow
    labels: Mapping[str, str]
    time: float | None
    references: Mapping[str, Any] = field(default_factory=dict)
    products: Sequence[MeasuredProduct] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the file, without control characters."""
        return shorten(self.row.path.rpartition("/")[2])


def read_entries(view: View, batch: int) -> Iterator[ExposureEntry]:
    """Yield the exposures of a batch in order.

    Parameters
    ----------
    view : View
        The ledger.
    batch : int
        Number of the batch.
    """
    measured = groupby(view.measured_products(batch), attrgetter("number"))
    number, products = next(measured, (None, iter(())))
    exposures = view.exposures_in_full(batch)
    while block := list(islice(exposures, _BLOCK)):
        headers = _read_headers(view, [row for row, *_ in block])
        for row, references, _ in block:
            own: Sequence[MeasuredProduct] = ()
            if number == row.number:
                own = list(products)[:MOST_PRODUCTS]
                number, products = next(measured, (None, iter(())))
            header = headers.get(row.path, {})
            yield ExposureEntry(
                row=row,
                labels={name: _read_label(header, path) for name, path in LABELS.items()},
                time=_read_number(header, _TIME),
                references=references,
                products=own,
                metrics=_measure(row, own),
            )


def _read_headers(view: View, rows: Sequence[ExposureRow]) -> Mapping[str, Mapping[str, Any]]:
    places = [
        (row.path, row.size, row.mtime_ns)
        for row in rows
        if row.size is not None and row.mtime_ns is not None
    ]
    return {path: known.header for path, known in view.find_headers(places).items()}


def _read_label(header: Mapping[str, Any], path: str) -> str:
    value = header.get(path)
    return "" if value is None else shorten(str(value)[:_LONGEST_LABEL])


def _read_number(header: Mapping[str, Any], path: str) -> float | None:
    value = header.get(path)
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


def _measure(row: ExposureRow, products: Sequence[MeasuredProduct]) -> Mapping[str, float]:
    """Return the metrics of an exposure, most of them those of its first product."""
    first = next((each.statistics for each in products if each.statistics is not None), None)
    found: dict[str, float | None] = {} if first is None else _measure_product(first)
    found["cpu"] = sum(row.stages.values()) or row.cpu
    return {m.name: value for m in METRICS if (value := found.get(m.name)) is not None}


def _measure_product(statistics: ProductStatistics) -> dict[str, float | None]:
    quality = next((name for name in _QUALITY if statistics.values.get(name)), None)
    shares: dict[str, float | None] = {}
    if quality is not None:
        flags, count = statistics.flags.get(quality, {}), statistics.values[quality]
        shares = {metric: 100 * flags.get(flag, 0) / count for metric, flag in _SHARES.items()}
    return {
        "level": statistics.level,
        "noise": statistics.noise,
        "error": statistics.error,
        "jump_rate": statistics.metadata.get(_JUMP_RATE),
        **shares,
    }
