"""Outlying exposures: robust z-scores within groups of comparable exposures, and in words.

Source: Iglewicz and Hoaglin (1993), "How to Detect and Handle Outliers": the modified z-score.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from calbatch.cluster.reporting.entries import METRICS, ExposureEntry, Metric
from calbatch.models.errors import format_count

FEWEST = 8
"""Number of exposures that a group needs, since the scatter of fewer is not known."""

THRESHOLD = 5.0
"""Number of robust standard deviations from which on an exposure stands out."""

FAR = 10.0
"""Number of robust standard deviations from which on it stands out by far."""

_MAD_TO_SIGMA = 1.4826
_MEAN_TO_SIGMA = 1.2533  # √(π/2): of the mean absolute deviation of a normal distribution

_GROUPINGS = (("detector", "filter", "type"), ("detector", "type"), ("type",))
"""Labels that comparable exposures share: of these, the first for which there are enough."""


class Spread(NamedTuple):
    """Median, robust standard deviation and number of the values of a group."""

    median: float
    sigma: float
    size: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison of one metric of an exposure with those of comparable exposures.

    Attributes
    ----------
    metric : Metric
        The metric.
    value, z : float
        Its value, and its difference from the median in robust standard deviations.
    spread : Spread
        The values of the group.
    group : str
        The labels that the group shares.
    """

    metric: Metric
    value: float
    z: float
    spread: Spread
    group: str

    @property
    def stands_out(self) -> bool:
        """True if the exposure stands out."""
        return abs(self.z) >= THRESHOLD

    def __str__(self) -> str:
        unit = f" {self.metric.unit}" if self.metric.unit else ""
        far = "far " if abs(self.z) >= FAR else ""
        side = "above" if self.z > 0 else "below"
        count = format_count(self.spread.size, "exposure")
        group = f" of {self.group}" if self.group else ""
        return (
            f"{self.metric.title} {self.value:.3g}{unit} is {far}{side} the "
            f"{self.spread.median:.3g}{unit} that is usual for the {count}{group}: by "
            f"{abs(self.z):.1f} robust standard deviations"
        )


def measure_spread(values: Sequence[float], scatter: float = 0.0) -> Spread | None:
    """Return the spread of some values; None if they are too few, or all equal.

    The standard deviation is 1.4826 times the median absolute deviation or, where more than half of
    the values are equal, 1.2533 times the mean absolute deviation.

    Parameters
    ----------
    values : sequence of float
        The values.
    scatter : float
        Least standard deviation, as a fraction of the median.
    """
    if len(values) < FEWEST:
        return None
    median = statistics.median(values)
    deviations = [abs(value - median) for value in values]
    sigma = _MAD_TO_SIGMA * statistics.median(deviations)
    sigma = sigma or _MEAN_TO_SIGMA * statistics.fmean(deviations)
    sigma = max(sigma, scatter * abs(median))
    return Spread(median, sigma, len(values)) if any(deviations) else None


def score_entries(entries: Sequence[ExposureEntry]) -> dict[int, list[Comparison]]:
    """Return the scores of each exposure, by its number, most outlying first.

    Parameters
    ----------
    entries : sequence of ExposureEntry
        The exposures of a batch.
    """
    spreads = _measure_groups(entries)
    scores = {}
    for entry in entries:
        found = [score for metric in METRICS for score in _score(entry, metric, spreads)]
        scores[entry.row.number] = sorted(found, key=lambda score: -abs(score.z))
    return scores


_Key = tuple[str, ...]


def _keys(entry: ExposureEntry, metric: Metric) -> Iterator[_Key]:
    """Yield the groups in which a metric of an exposure is compared, the best one first."""
    for labels in _GROUPINGS:
        yield (metric.name, *labels, *(entry.labels[label] for label in labels))


def _measure_groups(entries: Sequence[ExposureEntry]) -> Mapping[_Key, Spread | None]:
    spreads: dict[_Key, Spread | None] = {}
    for metric in METRICS:
        values: dict[_Key, list[float]] = defaultdict(list)
        for entry in entries:
            if metric.name in entry.metrics:
                for key in _keys(entry, metric):
                    values[key].append(entry.metrics[metric.name])
        spreads |= {key: measure_spread(found, metric.scatter) for key, found in values.items()}
    return spreads


def _score(
    entry: ExposureEntry, metric: Metric, spreads: Mapping[_Key, Spread | None]
) -> Iterator[Comparison]:
    """Yield the score of a metric in the first group that is large enough, if there is one."""
    value = entry.metrics.get(metric.name)
    if value is None:
        return
    for key, labels in zip(_keys(entry, metric), _GROUPINGS, strict=True):
        spread = spreads[key]
        if spread is not None:
            group = " ".join(filter(None, (entry.labels[label] for label in labels)))
            z = (value - spread.median) / spread.sigma
            if math.isfinite(z):
                yield Comparison(metric=metric, value=value, z=z, spread=spread, group=group)
            return
