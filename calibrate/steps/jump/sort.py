"""Compiled order statistics of many pixels at once, whose arrays are (values, pixels).

Blocks are sorted by a network of compare-exchange operations (K. E. Batcher's merge exchange; D. E.
Knuth, The Art of Computer Programming, vol. 3, section 5.2.2, algorithm M). It performs the same
operations for every pixel, so that they are vectorized along the row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import inner_view_kernel, kernel, view_kernel

Array = npt.NDArray[Any]

ZERO = np.float32(0.0)
INFINITE = np.float32(np.inf)


@inner_view_kernel
def _exchange(upper: Array, lower: Array) -> None:
    """Move the smaller of each pair into ``upper``, the larger into ``lower``."""
    for x in range(upper.size):
        one, other = upper[x], lower[x]
        # Without the addition the compiler emits a conditional store, which is four times slower.
        upper[x] = (one if one < other else other) + ZERO
        lower[x] = other if one < other else one


@view_kernel
def sort_columns(values: Array, count: int) -> None:
    """Sort the first ``count`` values of every pixel, which must not be NaN."""
    half = 1
    while 2 * half < count:
        half *= 2
    span = half
    while span > 0:
        block, offset, distance = half, 0, span
        while True:
            for i in range(count - distance):
                if i & span == offset:
                    _exchange(values[i], values[i + distance])
            if block == span:
                break
            distance, block, offset = block - span, block // 2, span
        span //= 2


@view_kernel
def median_of_sorted(order: Array, x: int, first: int, last: int) -> float:
    """Return the median of the sorted values ``first`` to ``last`` of pixel ``x``."""
    low = order[(first + last - 1) // 2, x]
    return 0.5 * (np.float64(low) + np.float64(order[(first + last) // 2, x]))


@kernel
def find_medians(values: Array, picked: Array) -> Array:
    """Return the medians of the ``picked`` pixels, ignoring NaN, in double precision."""
    order = np.empty((values.shape[0], picked.size), np.float32)
    usable = np.zeros(picked.size, np.int32)
    for k in range(values.shape[0]):
        for j in range(picked.size):
            value = values[k, picked[j]]
            good = value == value
            order[k, j] = value if good else INFINITE
            usable[j] += np.int32(good)
    sort_columns(order, values.shape[0])
    result = np.full(picked.size, np.nan)
    for j in range(picked.size):
        if usable[j] > 0:
            result[j] = median_of_sorted(order, j, 0, usable[j])
    return result
