"""Counts of the DQ flags in an array.

Source: ours; docs/how-to/reports.md says what is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models import dq
from calbatch.models.jit import for_kernel, inner_kernel, kernel

Array = npt.NDArray[Any]

BITS = 32
"""Number of flags that a count has room for."""


_SLOTS = 256
"""Number of distinct values that are counted as such, before their bits are."""


@inner_kernel
def _add_value(value: Any, times: Any, counts: Array) -> None:
    """Add to the counts a number of times that a value occurs: counts[n] += times [v & 2ⁿ ≠ 0]."""
    rest, n = np.uint32(value), 0
    while rest:
        if rest & np.uint32(1):
            counts[n] += times
        rest >>= np.uint32(1)
        n += 1


@kernel
def _add_flags(values: Array, counts: Array) -> None:
    """Add the number of values that have bit n to counts[n], and of those that are 0 to the last.

    counts[n] += Σ [v & 2ⁿ ≠ 0],  counts[32] += Σ [v = 0]

    Few of the possible values occur, so that each is counted in a slot of a hash table; values
    whose slot is taken are counted at once.
    """
    keys = np.zeros(_SLOTS, np.uint32)
    tallies = np.zeros(_SLOTS, np.int64)
    zeros = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            v = np.uint32(values[i, j])
            if v == 0:
                zeros += 1
                continue
            slot = ((np.uint64(v) * np.uint64(2654435761)) >> np.uint64(24)) & np.uint64(_SLOTS - 1)
            if keys[slot] == v:
                tallies[slot] += 1
            elif keys[slot] == 0:
                keys[slot] = v
                tallies[slot] = 1
            else:
                _add_value(v, 1, counts)
    counts[BITS] += zeros
    for n in range(_SLOTS):
        _add_value(keys[n], tallies[n], counts)


def count_flags(array: Array) -> Array:
    """Return the number of values that have each flag.

    Parameters
    ----------
    array : ndarray of integers, shape (..., rows, columns)
        The flags.

    Returns
    -------
    ndarray of int64, shape (33,)
        The number of values with bit n, for n below 32, and the number of values without any.
    """
    counts = np.zeros(BITS + 1, np.int64)
    kind = np.uint8 if array.dtype.itemsize == 1 else np.uint32
    # Plane by plane, since the rows of a tile are contiguous within each plane only.
    for plane in array.reshape(-1, *array.shape[-2:]) if array.size else ():
        _add_flags(for_kernel(plane.astype(kind, copy=False)), counts)
    return counts


def name_counts(counts: Array) -> Mapping[str, int]:
    """Return the counts of `count_flags` by the name of the flag, without those that are zero."""
    named = {"GOOD": int(counts[BITS])}
    named |= {name: int(counts[bit.bit_length() - 1]) for name, bit in dq.PIXEL.items() if bit}
    return {name: count for name, count in named.items() if count}


def warm_kernels() -> None:
    """Compile this module's kernels, or load them from numba's cache."""
    for kind in (np.uint8, np.uint32):
        _add_flags(np.zeros((1, 1), kind), np.zeros(BITS + 1, np.int64))
