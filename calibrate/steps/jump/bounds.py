"""Compiled rules for the bounds outside which a pixel's differences are jumps.

A difference d_k of successive groups, in electrons, is a jump if ``|d_k - m| / sigma > threshold``
(J2) with ``m = median(d)`` and ``sigma = sqrt(|m| + R**2 / nframes)`` (J1), where R is the noise of
the difference of two frames in electrons. The numbers are those of docs/steps/jump.md.

Source: stcal 1.20 ``twopoint_difference`` (``look_for_more_than_one_jump``, ``iterative_jump``).
Once the differences are sorted, the largest deviation is at one of the ends, so that each jump of
the iteration is one step from an end instead of a median of all differences. Bounds by sigma
clipping are found in `sigma_clipping`.

Arrays are (differences, pixels) and (pixels,) for some columns of a detector row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.sort import INFINITE, median_of_sorted, sort_columns
from calbatch.models.jit import inner_view_kernel, view_kernel

Array = npt.NDArray[Any]

_SLACK = np.float32(0.999)  # single precision errs far less; double precision decides


@view_kernel
def deviation(median: float, read_variance: float) -> float:
    """Return sigma of a difference, in electrons; NaN if there is no noise.

    ``sigma = sqrt(|m| + R**2 / nframes)`` (J1)
    """
    sigma = np.sqrt(abs(median) + read_variance)
    return sigma if sigma > 0 else np.nan


@view_kernel
def sort_differences(diffs: Array, absolute: bool, order: Array) -> None:
    """Fill ``order`` with each pixel's differences, or their sizes, sorted; unusable ones last."""
    for k in range(diffs.shape[0]):
        diff, key = diffs[k], order[k]
        if absolute:
            for x in range(key.size):
                key[x] = abs(diff[x]) if diff[x] == diff[x] else INFINITE
        else:
            for x in range(key.size):
                key[x] = diff[x] if diff[x] == diff[x] else INFINITE
    sort_columns(order, diffs.shape[0])


# -- single pass, and one by one ---------------------------------------------------------------


@view_kernel
def find_suspects(
    order: Array, one_by_one: bool, usable: Array, variance: Array, thresholds: Array,
    suspect: Array,
) -> None:  # fmt: skip
    """Mark pixels that may have jumps; unmarked pixels have none.

    A pixel is marked if its smallest or largest difference deviates too much, if it has unusable
    differences, or if its largest difference occurs twice (when jumps are found one by one, the
    median omits the largest).
    """
    count = order.shape[0]
    if count < 2:
        for x in range(suspect.size):
            suspect[x] = usable[x]
        return
    compared = count - 1 if one_by_one and count != 3 else count
    smallest, largest, second = order[0], order[count - 1], order[count - 2]
    lower, upper = order[(compared - 1) // 2], order[compared // 2]
    threshold = np.float32(thresholds[min(count, 4)])
    squared = threshold * threshold * _SLACK
    for x in range(suspect.size):
        median = np.float32(0.5) * (lower[x] + upper[x])
        limit = squared * (abs(median) + np.float32(variance[x]))  # (threshold * sigma)**2 (J2)
        below, above = median - smallest[x], largest[x] - median
        inside = (below * below <= limit) & (above * above <= limit)
        suspect[x] = np.int32(not inside)
    for x in range(suspect.size):
        suspect[x] |= np.int32((usable[x] != count) | (second[x] == largest[x]))


@inner_view_kernel
def _distance(value: np.float32, median: float) -> float:
    return np.float64(abs(np.float32(np.float64(value) - median)))  # stcal rounds here


@inner_view_kernel
def _without_largest(order: Array, x: int, first: int, last: int) -> int:
    """Return the end of the differences in the median of the one-by-one method."""
    end = last
    if last - first >= 4:
        while end > first and order[end - 1, x] == order[last - 1, x]:
            end -= 1
    elif last - first == 2:
        end -= 1
    return end


@inner_view_kernel
def _iterative_bounds(
    order: Array, x: int, usable: int, variance: float, thresholds: Array
) -> tuple[float, float]:
    """Return the smallest and largest difference that remain when jumps are removed one by one.

    ``largest / sigma > threshold`` (J2) is decided again after each removal.
    """
    first, last = 0, usable
    while last - first >= 2:
        end = _without_largest(order, x, first, last)
        median = median_of_sorted(order, x, first, end) if end > first else np.nan
        if last - first < usable:
            median = np.float64(np.float32(median))  # stcal rounds from the second round on
        below, above = _distance(order[first, x], median), _distance(order[last - 1, x], median)
        largest = max(below, above)
        if not largest / deviation(median, variance) > thresholds[min(last - first, 4)]:
            break
        while last > first and _distance(order[last - 1, x], median) == largest:
            last -= 1
        while last > first and _distance(order[first, x], median) == largest:
            first += 1
    if first == last:
        return np.inf, -np.inf
    return np.float64(order[first, x]), np.float64(order[last - 1, x])


@view_kernel
def set_bounds(
    order: Array, one_by_one: bool, usable: Array, variance: Array, thresholds: Array,
    suspect: Array, low: Array, high: Array,
) -> None:  # fmt: skip
    """Set the bounds of suspects, and clear suspects without a jump.

    In a single pass, the bounds are ``m - threshold * sigma`` and ``m + threshold * sigma`` (J2).
    """
    for x in range(suspect.size):
        low[x], high[x] = np.nan, np.nan
        if suspect[x] == 0 or usable[x] == 0:
            suspect[x] = 0
            continue
        if one_by_one:
            low[x], high[x] = _iterative_bounds(order, x, usable[x], variance[x], thresholds)
        else:
            median = median_of_sorted(order, x, 0, usable[x])
            margin = thresholds[4] * deviation(median, variance[x])
            low[x], high[x] = median - margin, median + margin
        suspect[x] = np.int32(order[0, x] < low[x] or order[usable[x] - 1, x] > high[x])
