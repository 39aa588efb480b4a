"""Work arrays of the search for jumps: some columns of a detector row at a time.

Source: as in `calbatch.calibrate.steps.jump.flags`, which uses them.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump._electrons import Levels
from calbatch.models.jit import inner_kernel

Array = npt.NDArray[Any]


class ColumnBlock(NamedTuple):
    """Some columns of a row: their differences, and bounds.

    Attributes
    ----------
    row, start : int
        The row, and the first column.
    diffs : ndarray
        The differences, (differences, columns).
    variance : ndarray
        Their read variance, (columns,).
    low, high : ndarray
        The bounds outside which a difference is a jump, (populations, columns).
    lowest, highest : ndarray
        Bounds of the median of a column's differences; equal if it is known, (columns,).
    found : ndarray
        Scratch: integrations and groups of samples of a pixel, (2, samples).
    values : ndarray
        Scratch: the usable differences of a pixel, float64, (differences,).
    """

    row: int
    start: int
    diffs: Array
    variance: Array
    low: Array
    high: Array
    lowest: Array
    highest: Array
    found: Array
    values: Array


class Columns(NamedTuple):
    """Work arrays for some columns of a row, (columns,) unless stated otherwise.

    Attributes
    ----------
    levels : Levels
        Successive groups, and flags.
    diffs, order : ndarray
        The differences, and the same sorted, float32, (differences, columns).
    usable, suspect : ndarray
        Number of usable differences; not 0 for pixels that may have jumps, int32.
    variance : ndarray
        Their read variance, float64.
    picked : ndarray
        The columns to examine, int64.
    """

    levels: Levels
    diffs: Array
    order: Array
    usable: Array
    suspect: Array
    variance: Array
    picked: Array


@inner_kernel
def make_columns(differences: int, size: int, is_sorting: bool) -> Columns:
    """Return work arrays for a number of columns; without ``is_sorting``, ``order`` is empty."""
    ordered = differences if is_sorting else 0
    levels = Levels(
        np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.uint8)
    )
    return Columns(
        levels, np.empty((differences, size), np.float32),
        np.empty((ordered, size), np.float32), np.empty(size, np.int32),
        np.empty(size, np.int32), np.empty(size, np.float64), np.empty(size, np.int64),
    )  # fmt: skip
