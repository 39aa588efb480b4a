"""Compiled sigma clipping: bounds of each pixel's differences in several populations.

Most populations hold no outlier. That is found without sorting: no difference is outside the first
bounds if more than half of them are at least ``largest - threshold * sigma``, and more than half at
most ``smallest + threshold * sigma``, since the median is among both halves. Only the others are
sorted and clipped.

Source: stcal 1.20 ``twopoint_difference`` (``det_jump_sigma_clipping``) and astropy's
``sigma_clip``. Equations are numbered in docs/steps/jump.md. Arrays are (differences, pixels),
(populations, pixels) and (pixels,) for some columns of a detector row.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.sort import INFINITE, ZERO, median_of_sorted, sort_columns
from calbatch.models.jit import kernel

Array = npt.NDArray[Any]

MAX_CLIPS = 5  # the default of astropy's sigma_clip
_TOGETHER = 32  # pixels that are sorted at a time, in the processor's cache
_SLACK = 0.999  # of the margin; sums in double precision err far less
_SUM_ERROR = 1e-14  # of a variance, relative to the sum of squares; the largest is 4e-16
_ROUNDING = 1e-7  # relative; rounding to single precision errs by less


class Populations(NamedTuple):
    """The differences of each population.

    Attributes
    ----------
    members : ndarray
        The indices of the differences, population by population.
    starts : ndarray
        The first of each population in ``members``, and the number of all differences.
    """

    members: Array
    starts: Array


@kernel
def group_differences(population: Array, count: int) -> Populations:
    """Return the members of each of ``count`` populations from the population of each member."""
    starts = np.zeros(count + 1, np.int64)
    for k in range(population.size):
        starts[population[k] + 1] += 1
    starts = np.cumsum(starts)
    members, place = np.empty(population.size, np.int64), starts[:-1].copy()
    for k in range(population.size):
        members[place[population[k]]] = k
        place[population[k]] += 1
    return Populations(members, starts)


# -- populations without outliers --------------------------------------------------------------


@kernel
def _add_moments(diff: Array, count: Array, total: Array, squares: Array) -> None:
    for x in range(diff.size):
        value = diff[x]
        good = abs(value) < INFINITE
        wide = np.float64(value) if good else 0.0
        count[x] += np.int32(good)
        total[x] += wide
        squares[x] += wide * wide


@kernel
def _extend_range(diff: Array, smallest: Array, largest: Array) -> None:
    for x in range(diff.size):
        value = diff[x]
        good = abs(value) < INFINITE
        low, high = value if good else INFINITE, value if good else -INFINITE
        least, most = smallest[x], largest[x]
        # Without the additions the compiler emits a masked store, several times slower.
        smallest[x] = (low if low < least else least) + ZERO
        largest[x] = (high if high > most else most) + ZERO


@kernel
def _count_sides(diff: Array, floor: Array, ceiling: Array, above: Array, below: Array) -> None:
    """Count differences of at least ``floor``, and of at most ``ceiling``."""
    for x in range(diff.size):
        value = diff[x]
        above[x] += np.int32((value >= floor[x]) & (value < INFINITE))
        below[x] += np.int32((value <= ceiling[x]) & (value > -INFINITE))


@kernel
def _set_sides(
    count: Array, total: Array, squares: Array, threshold: float, floor: Array, ceiling: Array
) -> None:
    """Replace the smallest and the largest difference by bounds of a median without outliers.

    ``floor`` and ``ceiling`` hold the largest and the smallest difference at first.
    """
    for x in range(count.size):
        n = max(count[x], 1)
        mean = total[x] / n
        variance = max(squares[x] / n - mean * mean - _SUM_ERROR * squares[x], 0.0)
        margin = _SLACK * threshold * np.sqrt(variance)
        low, high = np.float64(floor[x]) - margin, np.float64(ceiling[x]) + margin
        floor[x] = np.float32(low + _ROUNDING * abs(low))
        ceiling[x] = np.float32(high - _ROUNDING * abs(high))


@kernel
def _find_outlying(
    diffs: Array, members: Array, threshold: float, count: Array, floor: Array, ceiling: Array
) -> Array:
    """Return the pixels with possible outliers in a population, and bounds of the others' median.

    ``count`` receives the number of usable differences.
    """
    total, squares = np.zeros(count.size), np.zeros(count.size)
    above, below = np.zeros(count.size, np.int32), np.zeros(count.size, np.int32)
    count[:], ceiling[:], floor[:] = 0, INFINITE, -INFINITE
    for k in members:
        _add_moments(diffs[k], count, total, squares)
        _extend_range(diffs[k], ceiling, floor)
    _set_sides(count, total, squares, threshold, floor, ceiling)
    for k in members:
        _count_sides(diffs[k], floor, ceiling, above, below)
    found, outlying = np.empty(count.size, np.int64), 0
    for x in range(count.size):
        found[outlying] = x
        outlying += count[x] > 0 and not (2 * above[x] > count[x] and 2 * below[x] > count[x])
    return found[:outlying]


# -- populations with outliers -----------------------------------------------------------------


@kernel
def _clipping_bounds(order: Array, x: int, usable: int, threshold: float) -> tuple[float, float]:
    """Return the final bounds of clipping around the median.

    ``sigma = sqrt(mean((d - mean(d))**2))`` of the remaining differences d (J3).
    """
    first, last = 0, usable
    low, high = np.nan, np.nan
    for _ in range(MAX_CLIPS):
        count = last - first
        if count == 0:
            break
        median = median_of_sorted(order, x, first, last)
        total = 0.0
        for k in range(first, last):
            total += order[k, x]
        mean, total = total / count, 0.0
        for k in range(first, last):
            total += (order[k, x] - mean) ** 2
        margin = threshold * np.sqrt(total / count)
        low, high = median - margin, median + margin
        while first < last and order[first, x] < low:
            first += 1
        while first < last and order[last - 1, x] > high:
            last -= 1
        if last - first == count:
            break
    return low, high


@kernel
def _sort_pixels(diffs: Array, members: Array, pixels: Array, order: Array) -> None:
    """Sort some pixels' differences of a population into ``order``; unusable ones last."""
    for j in range(members.size):
        diff, key = diffs[members[j]], order[j]
        for i in range(pixels.size):
            value = diff[pixels[i]]
            key[i] = value if abs(value) < INFINITE else INFINITE
    sort_columns(order, members.size)


@kernel
def set_clipped_bounds(
    diffs: Array, populations: Populations, threshold: float, usable: Array,
    suspect: Array, lowest: Array, highest: Array, low: Array, high: Array,
) -> None:  # fmt: skip
    """Set the bounds of pixels for each population, and mark pixels outside any of them.

    Parameters
    ----------
    diffs : ndarray
        The differences; NaN or infinite where unusable.
    populations : Populations
        The members of each population.
    threshold : float
        Limit in standard deviations.
    usable : ndarray
        The number of differences that are not NaN.
    suspect : ndarray
        Receives 1 for pixels with differences outside the bounds, else 0.
    lowest, highest : ndarray
        Receive bounds of the median of all differences that are not NaN; infinite if unknown.
    low, high : ndarray
        Receive the bounds of clipping; infinite where no difference is outside, and NaN in
        populations without usable differences.
    """
    size, starts = suspect.size, populations.starts
    count = np.empty(size, np.int32)
    floor, ceiling = np.empty(size, np.float32), np.empty(size, np.float32)
    finite = np.zeros(size, np.int32)
    suspect[:], lowest[:], highest[:] = 0, np.inf, -np.inf
    for p in range(starts.size - 1):
        members = populations.members[starts[p] : starts[p + 1]]
        outlying = _find_outlying(diffs, members, threshold, count, floor, ceiling)
        for x in range(size):
            low[p, x] = -np.inf if count[x] > 0 else np.nan
            high[p, x] = np.inf if count[x] > 0 else np.nan
        for start in range(0, outlying.size, _TOGETHER):
            pixels = outlying[start : start + _TOGETHER]
            order = np.empty((members.size, pixels.size), np.float32)
            _sort_pixels(diffs, members, pixels, order)
            for i in range(pixels.size):
                x, n = pixels[i], count[pixels[i]]
                low[p, x], high[p, x] = _clipping_bounds(order, i, n, threshold)
                suspect[x] |= np.int32(order[0, i] < low[p, x] or order[n - 1, i] > high[p, x])
                floor[x], ceiling[x] = order[(n - 1) // 2, i], order[n // 2, i]
        for x in range(size):
            finite[x] += count[x]
            if count[x] > 0:
                lowest[x] = min(lowest[x], np.float64(floor[x]))
                highest[x] = max(highest[x], np.float64(ceiling[x]))
    for x in range(size):
        if finite[x] != usable[x] or usable[x] == 0:
            lowest[x], highest[x] = -np.inf, np.inf
