"""The statistics of a product from the contributions of its tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.statistics.flag_counts import name_counts
from calbatch.models.statistics.product_statistics import ProductStatistics
from calbatch.models.statistics.quick_look import QuickLook
from calbatch.models.statistics.row_samples import RowSamples, TileSamples, join_samples

Array = npt.NDArray[Any]

TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""


def summarize_tiles(
    tiles: Sequence[TileSamples], values: Mapping[str, int], metadata: Mapping[str, Any]
) -> ProductStatistics:
    """Return the statistics of a product from the contributions of all of its tiles.

    Parameters
    ----------
    tiles : sequence of TileSamples
        The contributions, in any order.
    values : mapping
        Number of values of each DQ array.
    metadata : mapping
        Metadata counted over the frame; those that are not numbers are left out.
    """
    counts, rows = join_samples(tiles)
    sampled = {} if rows is None else _measure(rows)
    return ProductStatistics(
        flags={name: name_counts(found) for name, found in counts.items()},
        values=dict(values),
        metadata={path: float(v) for path, v in metadata.items() if _is_take_finite(v)},
        **sampled,
    )


def _is_take_finite(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def _measure(rows: RowSamples) -> dict[str, Any]:
    """Return the statistics that come from sampled rows, as fields of `ProductStatistics`."""
    levels = _take_finite(rows.levels)
    return {
        "samples": levels.size,
        "level": _median(levels),
        "error": _median(_take_finite(rows.errors)),
        "noise": _measure_noise(_take_finite(rows.differences)),
        "quick_look": QuickLook.from_means(rows.means),
    }


def _take_finite(values: Array) -> Array:
    """Return the finite values in double precision."""
    return values[np.isfinite(values)].astype(np.float64)


def _median(values: Array) -> float | None:
    return float(np.median(values)) if values.size else None


def _measure_noise(differences: Array) -> float | None:
    """Return the robust standard deviation of a pixel, from differences between neighbours."""
    if not differences.size:
        return None
    deviations = np.abs(differences - np.median(differences))
    return float(TO_SIGMA * np.median(deviations) / np.sqrt(2))
