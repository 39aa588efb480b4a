"""Compiled loops of 1/f cleaning: differences of groups, and sigma clipping of sorted values.

Equations are numbered in docs/steps/clean_flicker_noise.md. Source: jwst 3.0.0
``clean_flicker_noise`` step, and astropy's ``sigma_clipped_stats``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models import dq
from calbatch.models.jit import inner_kernel, kernel

Array = npt.NDArray[Any]

MAX_CLIPS = 5
"""The number of times that values are clipped, as is astropy's default."""

_LOST_DIGITS = 1e-3
"""Fraction of a sum below which the remainder is computed anew, since it has lost digits."""

# Bytes, not integers: mixed widths prevent vectorization.
UNUSABLE = np.uint8(dq.DO_NOT_USE | dq.JUMP_DET)
NONE = np.uint8(0)
INVALID = np.float32(np.nan)

# -- differences -------------------------------------------------------------------------------


@kernel
def subtract_usable(now: Array, before: Array, flags: Array, difference: Array) -> None:
    """Subtract from a group the one before, (rows, columns); NaN where the group is unusable."""
    for y in range(difference.shape[0]):
        for x in range(difference.shape[1]):
            step = now[y, x] - before[y, x]
            difference[y, x] = step if flags[y, x] & UNUSABLE == NONE else INVALID


# -- sorted values -----------------------------------------------------------------------------


@kernel
def collect_values(frame: Array, mask: Array, values: Array) -> int:
    """Copy the values under a mask, except NaN, and return their number."""
    count = 0
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            value = frame[y, x]
            values[count] = value  # overwritten by the next if it is not to be used
            count += mask[y, x] and value == value
    return count


@kernel
def count_below(values: Array, first: int, last: int, limit: float) -> int:
    """Return the position of the first value that is not below a limit."""
    while first < last:
        middle = (first + last) // 2
        if np.float64(values[middle]) < limit:
            first = middle + 1
        else:
            last = middle
    return first


@kernel
def count_to(values: Array, first: int, last: int, limit: float) -> int:
    """Return the position of the first value that is above a limit."""
    while first < last:
        middle = (first + last) // 2
        if np.float64(values[middle]) <= limit:
            first = middle + 1
        else:
            last = middle
    return first


@kernel
def finite_range(values: Array) -> tuple[int, int]:
    """Return the range of sorted values that are finite."""
    first = count_to(values, 0, values.size, -np.inf)
    return first, count_below(values, first, values.size, np.inf)


@inner_kernel
def _sums(values: Array, first: int, last: int, pivot: float) -> tuple[float, float]:
    """Return the sums of ``v - pivot`` and of its square.

    Four partial sums are kept, since each addition would otherwise wait for the one before.
    """
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    q0, q1, q2, q3 = 0.0, 0.0, 0.0, 0.0
    whole = first + (last - first) // 4 * 4
    for k in range(first, whole, 4):
        d0 = np.float64(values[k]) - pivot
        d1 = np.float64(values[k + 1]) - pivot
        d2 = np.float64(values[k + 2]) - pivot
        d3 = np.float64(values[k + 3]) - pivot
        s0, s1, s2, s3 = s0 + d0, s1 + d1, s2 + d2, s3 + d3
        q0, q1, q2, q3 = q0 + d0 * d0, q1 + d1 * d1, q2 + d2 * d2, q3 + d3 * d3
    for k in range(whole, last):
        d0 = np.float64(values[k]) - pivot
        s0, q0 = s0 + d0, q0 + d0 * d0
    return (s0 + s1) + (s2 + s3), (q0 + q1) + (q2 + q3)


@inner_kernel
def _median(values: Array, first: int, last: int) -> float:
    middle = (first + last) // 2
    upper = np.float64(values[middle])
    return upper if (last - first) % 2 else 0.5 * (np.float64(values[middle - 1]) + upper)


@kernel
def clip_values(
    values: Array, first: int, last: int, threshold: float
) -> tuple[float, float, float]:
    """Return mean, median and sigma after clipping around the median.

    ``sigma = sqrt(mean((v - mean(v))**2))`` (N1)
    """
    pivot = _median(values, first, last)
    total, squares = _sums(values, first, last, pivot)
    complete = squares
    for clip in range(MAX_CLIPS + 1):
        count = last - first
        shift = total / count
        sigma = np.sqrt(max(squares / count - shift * shift, 0.0))
        median = _median(values, first, last)
        if clip == MAX_CLIPS:
            break
        low = count_below(values, first, last, median - threshold * sigma)
        high = count_to(values, low, last, median + threshold * sigma)
        if high - low == count:
            break
        lower, upper = _sums(values, first, low, pivot), _sums(values, high, last, pivot)
        total, squares = total - lower[0] - upper[0], squares - lower[1] - upper[1]
        first, last = low, high
        if squares < _LOST_DIGITS * complete:
            total, squares = _sums(values, first, last, pivot)
            complete = squares
    return pivot + shift, median, sigma


@kernel
def clip_lower_half(values: Array, first: int, last: int, center: float, threshold: float) -> float:
    """Return sigma of the lower half after clipping.

    ``sigma = sqrt(mean((c - v)**2)), v <= c`` (N2)
    """
    last = count_to(values, first, last, center)
    if first == last:
        return np.nan
    _, squares = _sums(values, first, last, center)
    complete = squares
    for clip in range(MAX_CLIPS + 1):
        sigma = np.sqrt(squares / (last - first))
        if clip == MAX_CLIPS:
            break
        low = count_below(values, first, last, center - threshold * sigma)
        if low == first:
            break
        squares -= _sums(values, first, low, center)[1]
        first = low
        if squares < _LOST_DIGITS * complete:
            squares = _sums(values, first, last, center)[1]
            complete = squares
    return sigma
