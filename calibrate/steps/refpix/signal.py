"""Statistics of reference pixels: clipped means and running medians.

Samples have one row per frame, i.e. per group of an integration. All arithmetic is in float64 and
in a fixed order, so that results depend only on the samples.

Equations are numbered in docs/steps/refpix.md. Source: jwst 3.0.0 ``refpix.reference_pixels`` and
``scipy.stats.sigmaclip``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import inner_view_kernel, kernel, view_kernel

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]


# -- clipped means -----------------------------------------------------------------------------


@kernel
def _clipped_mean(samples: Array, sigmas: float) -> float:
    """Return the mean after iterative clipping at ``sigmas``; reorder the samples.

    Samples with ``mean - reach <= x <= mean + reach``, ``reach = sigmas * std`` (R1), remain, until
    all of them do.
    """
    n = samples.size
    while True:
        total = 0.0
        for i in range(n):
            total += samples[i]
        mean = total / n
        squares = 0.0
        for i in range(n):
            squares += (samples[i] - mean) ** 2
        reach = sigmas * np.sqrt(squares / n)
        inside = 0
        for i in range(n):
            if mean - reach <= samples[i] <= mean + reach:
                samples[inside] = samples[i]
                inside += 1
        if inside == 0:  # NaN or infinity among the samples
            return np.nan
        if inside == n:
            return mean
        n = inside


@kernel
def _fill_clipped_means(samples: Array, sigmas: float, means: Array) -> None:
    for frame in range(samples.shape[0]):
        means[frame] = _clipped_mean(samples[frame], sigmas)


def clipped_means(samples: Array, sigmas: float) -> Float64:
    """Return each frame's mean without outliers.

    Samples farther than ``sigmas`` standard deviations from the mean of the remaining samples are
    removed until there are none. As in jwst, a NaN makes the mean NaN.

    Parameters
    ----------
    samples : ndarray
        (frames, pixels), at least one pixel.
    sigmas : float
        Limit in standard deviations.

    Returns
    -------
    ndarray
        float64, (frames,).
    """
    means = np.empty(samples.shape[0])
    _fill_clipped_means(np.array(samples, dtype=np.float64, order="C"), sigmas, means)
    return means


def parity_means(
    samples: Array, good: Array, columns: Array, odd_even: bool, sigmas: float
) -> list[Float64 | None]:
    """Return the clipped means of even and of odd detector columns.

    Parameters
    ----------
    samples : ndarray
        (frames, pixels).
    good : ndarray of bool
        True for usable pixels, (pixels,).
    columns : ndarray of int
        Detector columns of the pixels, counted from 0, (pixels,).
    odd_even : bool
        True to treat parities separately; otherwise both have the mean of all pixels.
    sigmas : float
        Limit in standard deviations.

    Returns
    -------
    list
        The means (frames,) of even and of odd columns; None if no pixel is usable.
    """
    masks = [good & (columns % 2 == parity) for parity in (0, 1)] if odd_even else [good]
    means = [clipped_means(samples[:, c], sigmas) if c.any() else None for c in masks]
    return means if odd_even else means * 2


def average_known(first: Float64 | None, second: Float64 | None) -> Float64 | None:
    """Return the average of two means, the only known one, or None."""
    if first is None or second is None:
        return second if first is None else first
    return 0.5 * (first + second)


def column_offsets(means: Sequence[Float64 | None], columns: Array, frames: int) -> Float64:
    """Return the offset of each detector column, (frames, columns).

    As in jwst, offsets are zero unless both parities have a mean.
    """
    even, odd = means
    if even is None or odd is None:
        return np.zeros((frames, columns.size))
    return np.where(columns % 2 == 0, even[:, None], odd[:, None])


# -- running medians ---------------------------------------------------------------------------


@inner_view_kernel
def _exchange(ordered: Array, old: float, new: float, result: Array) -> None:
    """Write ordered values with one of them replaced by another.

    Both arrays begin with -infinity, and end with infinities that stand for no value. Without
    branches, since neither place can be predicted: values from ``old`` on move down, and then
    those from ``new`` on move up.
    """
    before, here, after = ordered[:-2], ordered[1:-1], ordered[2:]
    inner = result[1:-1]
    for i in range(inner.size):
        lower = before[i] if before[i] < old else here[i]
        upper = here[i] if here[i] < old else after[i]
        least = upper if upper < new else new
        inner[i] = lower if lower > least else least


@view_kernel
def _fill_running_medians(
    samples: Array, order: Array, length: int, ordered: Array, medians: Array
) -> None:
    """Compute the medians of the samples that are not NaN (R3).

    ``order`` lists the rows in the order in which the window reaches them, after ``length`` empty
    rows. ``ordered``, (2, length * columns + 2), is memory for the window's values before and after
    an exchange.
    """
    frames, _, columns = samples.shape
    for frame in range(frames):
        ordered[:, 0] = -np.inf
        ordered[:, 1:] = np.inf
        n = 0
        now = 0
        for step in range(order.size - length):
            for c in range(columns):
                old, new = samples[frame, order[step], c], samples[frame, order[step + length], c]
                if np.isnan(old):
                    old = np.inf
                    n += 1
                if np.isnan(new):
                    new = np.inf
                    n -= 1
                _exchange(ordered[now], old, new, ordered[1 - now])
                now = 1 - now
            row = step - length + 1
            if row >= 0:
                middle = 0.5 * (ordered[now, 1 + (n - 1) // 2] + ordered[now, 1 + n // 2])
                medians[frame, row] = middle if n else np.nan


def window_rows(rows: int, length: int, first_row: int, height: int) -> npt.NDArray[np.intp]:
    """Return the rows that a window reaches on its way up, mirrored at the detector's ends.

    Parameters
    ----------
    rows, first_row : int
        Number of rows of the array, and the detector row of its first row.
    length : int
        Number of rows of the window, at most ``2 * height - 1``.
    height : int
        Number of rows of the detector.

    Returns
    -------
    ndarray of int
        (rows + length - 1,): the window around row ``i`` is ``[i : i + length]``. -1 where a
        detector row lies outside the array.
    """
    positions = np.arange(rows + length - 1) + first_row - length // 2
    mirrored = height - 1 - np.abs(height - 1 - np.abs(positions))
    inside = (mirrored >= first_row) & (mirrored < first_row + rows)
    return np.where(inside, mirrored - first_row, -1)


def running_median(sides: Array, good: Array, length: int, first_row: int, height: int) -> Float64:
    """Return the running median along one side of the detector.

    The window of row ``i`` spans rows ``i - length // 2`` to ``i - length // 2 + length - 1`` of
    all columns, mirrored at the detector's ends, without rows outside the array.

    Parameters
    ----------
    sides : ndarray
        (frames, detector rows, columns).
    good : ndarray of bool
        True for usable pixels, (detector rows, columns).
    length, first_row, height : int
        As for `window_rows`.

    Returns
    -------
    ndarray
        float64, (frames, detector rows); NaN if no pixel is usable, or a usable pixel is NaN.
    """
    frames, rows, columns = sides.shape
    # The last row, which index -1 selects, is empty.
    samples = np.full((frames, rows + 1, columns), np.nan)
    samples[:, :rows][:, good] = sides[:, good]
    order = window_rows(rows, length, first_row, height)
    reached = np.concatenate([np.full(length, -1), order])
    ordered, medians = np.empty((2, length * columns + 2)), np.empty((frames, rows))
    _fill_running_medians(samples, reached, length, ordered, medians)
    is_nan = np.zeros((frames, rows + 1), dtype=np.bool_)
    is_nan[:, :rows] = (np.isnan(sides) & good).any(axis=-1)
    if is_nan.any():
        windows = np.lib.stride_tricks.sliding_window_view(is_nan[:, order], length, axis=-1)
        medians[windows.any(axis=-1)] = np.nan
    return medians


def combine_sides(left: Float64, right: Float64) -> Float64:
    """Return the average of both sides, the only known one, or zero."""
    known_left, known_right = ~np.isnan(left), ~np.isnan(right)
    both = 0.5 * (left + right)
    one_side = np.where(known_left, left, np.where(known_right, right, 0.0))
    return np.where(known_left & known_right, both, one_side)
