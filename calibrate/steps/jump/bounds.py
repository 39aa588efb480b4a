"""Compiled rules for which differences of a pixel are jumps: those outside some bounds.

Source: stcal 1.20 ``twopoint_difference`` (``look_for_more_than_one_jump``, ``iterative_jump``,
``det_jump_sigma_clipping``) and astropy's ``sigma_clip``. With a pixel's differences in order, its
largest deviation is at one end, so that finding jumps one by one takes a step from an end each, not
a median over all.

Arrays are (differences, pixels) and (pixels,) for some columns of a detector row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.sort import INFINITE, median_of_sorted, sort_columns
from calbatch.models.jit import kernel

Array = npt.NDArray[Any]

MAX_CLIPS = 5  # as many as astropy's sigma_clip makes by default
_SLACK = np.float32(0.999)  # single precision errs far less; double precision has the last word


@kernel
def deviation(middle: float, variance: float) -> float:
    """Return sigma of a difference, in electrons; NaN where there is no noise at all."""
    sigma = np.sqrt(abs(middle) + variance)
    return sigma if sigma > 0 else np.nan


@kernel
def sort_differences(diffs: Array, absolute: bool) -> Array:
    """Return each pixel's differences, or their sizes, sorted; those that are not usable last."""
    order = np.empty_like(diffs)
    for k in range(diffs.shape[0]):
        diff, key = diffs[k], order[k]
        if absolute:
            for x in range(key.size):
                key[x] = abs(diff[x]) if diff[x] == diff[x] else INFINITE
        else:
            for x in range(key.size):
                key[x] = diff[x] if diff[x] == diff[x] else INFINITE
    sort_columns(order, diffs.shape[0])
    return order


# -- all at once, and one by one ---------------------------------------------------------------


@kernel
def find_suspects(
    order: Array, one_by_one: bool, usable: Array, variance: Array, thresholds: Array,
    suspect: Array,
) -> None:  # fmt: skip
    """Mark pixels that may have jumps; nearly all of the others have none for sure.

    Marked are those whose smallest or largest difference deviates too much, those with differences
    that are not usable, and, since the largest is left out of the median when jumps are found one
    by one, those that have it twice.
    """
    count = order.shape[0]
    if count < 2:
        for x in range(suspect.size):
            suspect[x] = usable[x]
        return
    compared = count - 1 if one_by_one and count != 3 else count
    least, most, second = order[0], order[count - 1], order[count - 2]
    lower, upper = order[(compared - 1) // 2], order[compared // 2]
    threshold = np.float32(thresholds[min(count, 4)])
    squared = threshold * threshold * _SLACK
    for x in range(suspect.size):
        centre = np.float32(0.5) * (lower[x] + upper[x])
        limit = squared * (abs(centre) + np.float32(variance[x]))
        below, above = centre - least[x], most[x] - centre
        inside = (below * below <= limit) & (above * above <= limit)
        suspect[x] = np.int32(not inside)
    for x in range(suspect.size):
        suspect[x] |= np.int32((usable[x] != count) | (second[x] == most[x]))


@kernel
def _size(value: np.float32, middle: float) -> float:
    return np.float64(abs(np.float32(np.float64(value) - middle)))  # stcal rounds here


@kernel
def _without_largest(order: Array, x: int, first: int, last: int) -> int:
    """Return where the differences end that the median is taken of, when one by one."""
    end = last
    if last - first >= 4:
        while end > first and order[end - 1, x] == order[last - 1, x]:
            end -= 1
    elif last - first == 2:
        end -= 1
    return end


@kernel
def _iterative_bounds(
    order: Array, x: int, usable: int, variance: float, thresholds: Array
) -> tuple[float, float]:
    """Return the smallest and largest difference left when the largest deviations are taken off."""
    first, last = 0, usable
    while last - first >= 2:
        end = _without_largest(order, x, first, last)
        middle = median_of_sorted(order, x, first, end) if end > first else np.nan
        if last - first < usable:
            middle = np.float64(np.float32(middle))  # stcal rounds from the second round on
        below, above = _size(order[first, x], middle), _size(order[last - 1, x], middle)
        largest = max(below, above)
        if not largest / deviation(middle, variance) > thresholds[min(last - first, 4)]:
            break
        while last > first and _size(order[last - 1, x], middle) == largest:
            last -= 1
        while last > first and _size(order[first, x], middle) == largest:
            first += 1
    if first == last:
        return np.inf, -np.inf
    return np.float64(order[first, x]), np.float64(order[last - 1, x])


@kernel
def set_bounds(
    order: Array, one_by_one: bool, usable: Array, variance: Array, thresholds: Array,
    suspect: Array, low: Array, high: Array,
) -> None:  # fmt: skip
    """Set the bounds of suspects, and clear those that turn out to have no jump."""
    for x in range(suspect.size):
        low[x], high[x] = np.nan, np.nan
        if suspect[x] == 0 or usable[x] == 0:
            suspect[x] = 0
            continue
        if one_by_one:
            low[x], high[x] = _iterative_bounds(order, x, usable[x], variance[x], thresholds)
        else:
            middle = median_of_sorted(order, x, 0, usable[x])
            reach = thresholds[4] * deviation(middle, variance[x])
            low[x], high[x] = middle - reach, middle + reach
        suspect[x] = np.int32(order[0, x] < low[x] or order[usable[x] - 1, x] > high[x])


# -- sigma clipping ----------------------------------------------------------------------------


@kernel
def _clipping_bounds(order: Array, x: int, usable: int, threshold: float) -> tuple[float, float]:
    """Return the bounds that clipping around the median ends with; NaN without values."""
    first, last = 0, usable
    low, high = np.nan, np.nan
    for _ in range(MAX_CLIPS):
        count = last - first
        if count == 0:
            break
        middle = median_of_sorted(order, x, first, last)
        total = 0.0
        for k in range(first, last):
            total += order[k, x]
        mean, total = total / count, 0.0
        for k in range(first, last):
            total += (order[k, x] - mean) ** 2
        reach = threshold * np.sqrt(total / count)
        low, high = middle - reach, middle + reach
        while first < last and order[first, x] < low:
            first += 1
        while first < last and order[last - 1, x] > high:
            last -= 1
        if last - first == count:
            break
    return low, high


@kernel
def set_clipped_bounds(
    diffs: Array, population: Array, threshold: float, suspect: Array, low: Array, high: Array
) -> None:
    """Set the bounds of all pixels, one a population, and mark the pixels that exceed any.

    ``population`` has for each difference which row of ``low`` and ``high`` is its.
    """
    order = np.empty_like(diffs)
    usable = np.empty(diffs.shape[1], np.int32)
    for p in range(low.shape[0]):
        count = 0
        usable[:] = 0
        for k in range(diffs.shape[0]):
            if population[k] == p:
                for x in range(usable.size):
                    good = abs(diffs[k, x]) < INFINITE
                    order[count, x] = diffs[k, x] if good else INFINITE
                    usable[x] += np.int32(good)
                count += 1
        sort_columns(order, count)
        for x in range(usable.size):
            low[p, x], high[p, x] = _clipping_bounds(order, x, usable[x], threshold)
    for x in range(usable.size):
        suspect[x] = 0
    for k in range(diffs.shape[0]):
        lows, highs = low[population[k]], high[population[k]]
        for x in range(usable.size):
            suspect[x] |= np.int32((diffs[k, x] < lows[x]) | (diffs[k, x] > highs[x]))
