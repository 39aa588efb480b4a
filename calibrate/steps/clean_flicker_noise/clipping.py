"""Limits of a frame's background by sigma clipping, from sorted values.

Sigma is the standard deviation of the remaining values v around their mean, and values are clipped
around their median. The alternative mirrors the lower half of a distribution at its centre c::

    sigma = sqrt(mean((v - mean(v))**2))              (N1)
    sigma = sqrt(mean((c - v)**2)), v <= c            (N2)

Once the values are sorted, medians can be read off, and clipping only moves the two ends.

Equations are numbered in docs/steps/clean_flicker_noise.md.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``background_level``), and astropy's
``sigma_clipped_stats``.
"""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.clean_flicker_noise.loops import (
    clip_lower_half,
    clip_values,
    count_below,
    count_to,
    finite_range,
)

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

CLIP = 3.0
"""The limit of clipping for statistics, in sigma."""

BINS = 2000
"""The number of bins of the histogram, over 4 sigma on either side of the centre."""


class ClippedStatistics(NamedTuple):
    """Statistics of the values that clipping leaves: mean, median and standard deviation."""

    mean: float
    median: float
    sigma: float


def find_limits(
    values: Array,
    below: float,
    above: float,
    *,
    lower_half: bool = False,
    fit_histogram: bool = False,
) -> tuple[float, float]:
    """Return the limits between which values belong to the background.

    Parameters
    ----------
    values : ndarray of float32, 1-D
        Sorted values without NaN.
    below, above : float
        Distances of the limits from the centre, in sigma.
    lower_half : bool
        True if sigma is that of the values below the median alone (N2), which diffuse light hardly
        affects.
    fit_histogram : bool
        True if centre and sigma are those of a Gaussian fitted to the histogram.

    Returns
    -------
    tuple of float
        Infinite if no value is finite.
    """
    first, last = finite_range(values)
    if first == last:
        return -math.inf, math.inf
    found = ClippedStatistics(*clip_values(values, first, last, CLIP))
    center, sigma = found.mean if fit_histogram else found.median, found.sigma
    if lower_half:
        sigma = clip_lower_half(values, first, last, center, CLIP)
    if fit_histogram:
        center, sigma = _fit_gaussian(values[first:last], center, sigma)
    return center - below * sigma, center + above * sigma


def select_range(values: Array, limits: tuple[float, float]) -> Array:
    """Return the part of sorted values within limits, both included."""
    low, high = limits
    first = count_below(values, 0, len(values), low)
    return values[first : count_to(values, first, len(values), high)]


def find_median(values: Array) -> np.float32:
    """Return the median of sorted float32 values."""
    middle = len(values) // 2
    if len(values) % 2:
        return np.float32(values[middle])
    return np.float32(np.float32(0.5) * (values[middle - 1] + values[middle]))


def _fit_gaussian(values: Array, center: float, sigma: float) -> tuple[float, float]:
    """Return centre and sigma of the histogram's Gaussian, or the given ones if none fits."""
    from scipy.optimize import curve_fit  # slow to import, and needed with fit_histogram only

    if not sigma > 0:
        return center, sigma
    span = center - 4.0 * sigma, center + 4.0 * sigma
    counts, edges = np.histogram(values.astype(np.float64), bins=BINS, range=span)
    middles = (edges[1:] + edges[:-1]) / 2.0
    peak = int(np.argmax(counts))
    bounds = (0, middles[0], 0), (np.inf, middles[-1], middles[-1] - middles[0])
    start = counts[peak], middles[peak], sigma
    try:
        (_, mean, width), _ = curve_fit(_gaussian, middles, counts, p0=start, bounds=bounds)
    except RuntimeError:
        log.warning("no Gaussian fits the histogram of the background: clipping by sigma")
        return center, sigma
    return float(mean), float(width)


def _gaussian(x: Array, peak: float, mean: float, sigma: float) -> Array:
    return peak * np.exp(-0.5 * ((x - mean) / sigma) ** 2)
