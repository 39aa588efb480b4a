"""Rings around pixels: in which of them the mean exceeds a threshold.

Source: stcal 1.20 ``find_faint_extended``, which convolves whole frames by FFT. The ring is small:
here its pixels are added up, so any rows can be computed by themselves. Runs of pixels, which lie
side by side in a row, are added once for all rings to which they belong. Where the order of the
additions could decide, they are added again in double precision, one by one in reading order.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import inner_view_kernel, view_kernel

NEEDED_WITH = ("find_showers",)
"""Parameters with which the kernels are needed; see `calibrate.warm`."""

Array = npt.NDArray[Any]

ROUNDING = 2.0**-23
"""Twice the relative error of an addition in single precision."""
LARGEST = np.finfo(np.float32).max


def make_ring(inner: float, width: float) -> Array:
    """Return the mask of a ring around its central pixel; radii are in pixels.

    It is ``Ring2DKernel`` of astropy without its values: the pixels at a distance from ``inner`` to
    ``inner + width``.
    """
    outer = inner + width
    reach = math.ceil(2 * outer) // 2
    rows, cols = np.ogrid[-reach : reach + 1.0, -reach : reach + 1.0]
    distance = rows**2 + cols**2
    return np.asarray((distance >= inner**2) & (distance <= outer**2))


def list_runs(ring: Array) -> Array:
    """Return the row, the first column and the length of each run of a ring, shortest first."""
    edges = np.diff(ring.astype(np.int8), axis=1, prepend=0, append=0)
    rows, starts = np.nonzero(edges > 0)
    _, stops = np.nonzero(edges < 0)
    runs = np.stack([rows, starts, stops - starts], axis=1)
    return np.ascontiguousarray(runs[np.argsort(runs[:, 2], kind="stable")])


class BrightSearch:
    """The search of frames for pixels in bright surroundings, with arrays that serve all frames.

    Beyond the frame, values are 0 and count.

    Parameters
    ----------
    ring : ndarray
        The mask of the ring, (2 n + 1, 2 n + 1).
    shape : (int, int)
        Rows and columns of the frames.
    rows : slice
        The rows to search.

    Attributes
    ----------
    values : ndarray
        The frame to search, float32, which the caller sets: not negative, and 0 in bad pixels.
    good : ndarray
        1 in good pixels, 0 in bad ones, which do not count.
    """

    def __init__(self, ring: Array, shape: tuple[int, int], rows: slice) -> None:
        reach = ring.shape[0] // 2
        padded = shape[0] + 2 * reach, shape[1] + 2 * reach
        inside = slice(reach, reach + shape[0]), slice(reach, reach + shape[1])
        self._ring, self._runs, self._first = ring, list_runs(ring), rows.start
        counts = np.uint16 if np.count_nonzero(ring) < 1 << 16 else np.uint32  # the first is faster
        self._values, self._good = np.zeros(padded, np.float32), np.ones(padded, counts)
        self.values, self.good = self._values[inside], self._good[inside]
        found = rows.stop - rows.start, shape[1]
        self._total, self._count = np.empty(found, np.float32), np.empty(found, counts)
        self._found = np.empty(found, np.bool_)

    def find(self, threshold: float) -> Array:
        """Return the good pixels whose surroundings have a mean above a threshold.

        The result is overwritten by the next search.
        """
        for padded, sums in ((self._values, self._total), (self._good, self._count)):
            _add_rings(padded, self._runs, self._first, np.empty_like(padded[0]), sums)
        margin = (self._ring.sum() + 4) * ROUNDING * abs(threshold)
        limits = np.array([threshold - margin, threshold, threshold + margin])
        frame = self._values, self._good
        _find_bright(*frame, self._ring, self._first, limits, self._total, self._count, self._found)
        return self._found


@view_kernel
def _add_rings(padded: Array, runs: Array, first: int, run: Array, total: Array) -> None:
    """Add up the ring around each pixel of the rows from ``first`` on.

    ``padded`` is the frame with margins as wide as the ring reaches. ``run`` is scratch for the
    sums of the pixels from each column on.
    """
    rows, cols = total.shape
    size = padded.shape[1] - cols + 1  # of the ring
    for y in range(rows):
        _clear(total[y])
    for y in range(rows + size - 1):
        line, length = padded[first + y], 0
        _clear(run)
        for j in range(runs.shape[0]):
            while length < runs[j, 2]:
                _add(line[length:], run[: line.size - length])
                length += 1
            if 0 <= y - runs[j, 0] < rows:
                _add(run[runs[j, 1] :], total[y - runs[j, 0]])


@inner_view_kernel
def _clear(values: Array) -> None:
    for x in range(values.size):
        values[x] = 0


@inner_view_kernel
def _add(values: Array, total: Array) -> None:
    for x in range(total.size):
        total[x] += values[x]


@view_kernel
def _find_bright(
    values: Array,
    good: Array,
    ring: Array,
    first: int,
    limits: Array,
    total: Array,
    count: Array,
    found: Array,
) -> None:
    """Mark good pixels in whose ring the mean exceeds a threshold.

    ``limits`` are the threshold, between those below and above which the sums are decisive.
    """
    rows, cols = found.shape
    size = ring.shape[0]
    low, high = np.float32(limits[0]), np.float32(limits[2])
    for y in range(rows):
        line = good[first + size // 2 + y, size // 2 :]
        if not _compare(total[y], count[y], line, low, high, found[y]):
            continue
        for x in range(cols):
            if line[x] and not _is_decisive(total[y, x], count[y, x], low, high):
                below = slice(first + y, first + y + size)
                right = slice(x, x + size)
                found[y, x] = _is_bright(values[below, right], good[below, right], ring, limits[1])


@inner_view_kernel
def _is_decisive(total: float, count: int, low: float, high: float) -> bool:
    pixels = np.float32(count)
    return bool(total < low * pixels or (total > high * pixels and total <= LARGEST))


@inner_view_kernel
def _compare(
    total: Array, count: Array, good: Array, low: float, high: float, found: Array
) -> bool:
    """Mark the good pixels of a row that are surely bright; return whether others are not sure."""
    unsure = 0
    for x in range(total.size):
        pixels = np.float32(count[x])
        bright = total[x] > high * pixels
        found[x] = bright & (good[x] != 0)
        sure = (total[x] < low * pixels) | (bright & (total[x] <= LARGEST))
        unsure |= int(good[x] != 0) & int(not sure)
    return unsure != 0


@inner_view_kernel
def _is_bright(values: Array, good: Array, ring: Array, threshold: float) -> bool:
    """Return whether the mean in the ring exceeds the threshold, added in double precision."""
    total, count = np.float64(0), np.int64(0)
    for row in range(ring.shape[0]):
        for column in range(ring.shape[1]):
            if ring[row, column]:
                total += np.float64(values[row, column])
                count += np.int64(good[row, column])
    return bool(count > 0 and total / count > threshold)


def warm_kernels() -> None:
    """Compile the kernels."""
    BrightSearch(np.ones((3, 3), bool), (3, 3), slice(0, 3)).find(1.0)
