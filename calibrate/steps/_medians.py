"""Medians of few values in compiled loops, shared by steps.

Source: Hoare 1961, "Algorithm 65: find", Communications of the ACM 4, 321.
"""

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import inner_view_kernel


@inner_view_kernel
def median_of(values: npt.NDArray[np.float64], count: int) -> float:
    """Return the median of the first ``count`` values, at least one and none NaN; reorder them."""
    middle = count // 2
    low, high = 0, count - 1
    while low < high:  # quickselect: afterwards, values before the middle are not larger
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            break
    upper = values[middle]
    if count % 2 == 1:
        return upper
    lower = values[0]
    for k in range(1, middle):
        lower = max(lower, values[k])
    return (lower + upper) / 2.0
