"""Connected areas of flagged pixels, found from flags that are packed into bits.

Source: stcal 1.20 ``find_ellipses``, which labels whole frames with scikit-image. Here only runs
are visited, which are flagged pixels side by side in a row. Areas are connected by edges and
corners, and numbered in the order of their first pixels.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import inner_kernel, kernel

NEEDED_WITH = ("expand_large_events", "find_showers")
"""Parameters with which the kernels are needed; see `calibrate.warm`."""

Array = npt.NDArray[Any]

MIN_RING = 8
"""The smallest number of pixels that enclose another."""


def pack_flags(groupdq: Array, flag: int) -> Array:
    """Return one bit per sample, set if it has a flag: (…, rows, columns / 8) bytes."""
    return np.packbits(groupdq & np.uint8(flag) != 0, axis=-1)


class Areas(NamedTuple):
    """The connected areas of a frame.

    Attributes
    ----------
    rows, firsts, stops : ndarray
        Their runs, area by area, in each area from top to bottom and left to right: the row, the
        first column, and the one after the last.
    starts : ndarray
        The index of the first run of each area, and last the number of all runs.
    sizes : ndarray
        The number of pixels of each area.
    sums : ndarray
        The sums of the rows and of the columns of each area's pixels, (2, areas).
    corners : ndarray
        The first row and column of each area, (2, areas).
    sides : ndarray
        Height and width of the smallest rectangle around each area, (2, areas).
    """

    rows: Array
    firsts: Array
    stops: Array
    starts: Array
    sizes: Array
    sums: Array
    corners: Array
    sides: Array

    @property
    def centres(self) -> Array:
        """The mean row and column of each area, (2, areas)."""
        # sums of integers are exact, so these are the quotients that scikit-image computes
        return np.asarray(self.sums / self.sizes)

    def find_large(self, min_area: float) -> Array:
        """Return whether each area, with the pixels that it encloses, has a minimum size.

        Pixels are enclosed if no path leads out, even by corners, as in scikit-image.
        """
        large = np.empty(self.sizes.size, np.bool_)
        _find_large(self, float(min_area), large)
        return large

    def fill_image(self, number: int, image: Array) -> None:
        """Set the pixels of an area to 1, and others to 0.

        ``image`` is float64, and covers the smallest rectangle around the area.
        """
        _fill_image(self, number, image)


def find_areas(bits: Array) -> Areas:
    """Return the connected areas of a frame; ``bits`` are (rows, columns / 8) bytes."""
    rows, firsts, stops = _list_runs(bits)
    labels, count = _label_runs(rows, firsts, stops)
    return _gather_areas(rows, firsts, stops, labels, count)


@inner_kernel
def _count_runs(bits: Array) -> int:
    count = 0
    for y in range(bits.shape[0]):
        before = np.uint8(0)
        for byte in bits[y]:
            begins = byte & ~((byte >> np.uint8(1)) | before)
            before = np.uint8(byte << np.uint8(7))
            while begins:
                begins &= begins - np.uint8(1)
                count += 1
    return count


@kernel
def _list_runs(bits: Array) -> tuple[Array, Array, Array]:
    """Return the row, the first column and the end of each run of set bits, from top to bottom."""
    count = _count_runs(bits)
    rows, firsts = np.empty(count, np.int64), np.empty(count, np.int64)
    stops = np.empty(count, np.int64)
    k = 0
    for y in range(bits.shape[0]):
        before = np.uint8(0)
        for b in range(bits.shape[1]):
            byte = bits[y, b]
            changes = byte ^ ((byte >> np.uint8(1)) | before)
            before = np.uint8(byte << np.uint8(7))
            if changes:
                for i in range(8):
                    bit = np.uint8(128) >> np.uint8(i)
                    if changes & byte & bit:
                        rows[k], firsts[k] = y, 8 * b + i
                    elif changes & bit:
                        stops[k] = 8 * b + i
                        k += 1
        if before:
            stops[k] = 8 * bits.shape[1]
            k += 1
    return rows, firsts, stops


@inner_kernel
def _find_root(parent: Array, k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@inner_kernel
def _join(parent: Array, one: int, other: int) -> None:
    """Join the areas of two runs; the root of the result is its first run."""
    first, second = _find_root(parent, one), _find_root(parent, other)
    if first < second:
        parent[second] = first
    else:
        parent[first] = second


@kernel
def _label_runs(rows: Array, firsts: Array, stops: Array) -> tuple[Array, int]:
    """Return the area of each run, and the number of areas; runs are in reading order."""
    parent = np.arange(rows.size)
    above = 0  # the first run of the row above that does not end left of this one
    for k in range(rows.size):
        y = rows[k]
        while rows[above] < y - 1 or (rows[above] == y - 1 and stops[above] < firsts[k]):
            above += 1
        near = above
        while rows[near] == y - 1 and firsts[near] <= stops[k]:
            _join(parent, near, k)
            near += 1
    labels = np.empty(rows.size, np.int64)
    count = 0
    for k in range(rows.size):
        root = _find_root(parent, k)
        if root == k:
            labels[k] = count
            count += 1
        else:
            labels[k] = labels[root]
    return labels, count


@kernel
def _gather_areas(rows: Array, firsts: Array, stops: Array, labels: Array, count: int) -> Areas:
    """Return the areas of runs, of which they keep the order."""
    starts = np.zeros(count + 1, np.int64)
    for label in labels:
        starts[label + 1] += 1
    for n in range(count):
        starts[n + 1] += starts[n]
    runs = np.empty((3, rows.size), np.int64)
    sizes, sums = np.zeros(count, np.int64), np.zeros((2, count), np.int64)
    corners, ends = np.empty((2, count), np.int64), np.zeros((2, count), np.int64)
    free = starts[:-1].copy()
    for k in range(rows.size):
        n, y, first, stop = labels[k], rows[k], firsts[k], stops[k]
        runs[0, free[n]], runs[1, free[n]], runs[2, free[n]] = y, first, stop
        if free[n] == starts[n]:
            corners[0, n], corners[1, n] = y, first
        free[n] += 1
        sizes[n] += stop - first
        sums[0, n] += y * (stop - first)
        sums[1, n] += (first + stop - 1) * (stop - first) // 2
        corners[1, n] = min(corners[1, n], first)
        ends[0, n], ends[1, n] = y + 1, max(ends[1, n], stop)
    return Areas(runs[0], runs[1], runs[2], starts, sizes, sums, corners, ends - corners)


@kernel
def _find_large(areas: Areas, min_area: float, large: Array) -> None:
    for n in range(large.size):
        large[n] = areas.sizes[n] >= min_area
        if not large[n] and areas.sizes[n] >= MIN_RING and _bound_filled(areas, n) >= min_area:
            large[n] = _count_filled(areas, n) >= min_area


@inner_kernel
def _bound_filled(areas: Areas, number: int) -> int:
    """Return the number of pixels from the first to the last of each row of an area."""
    bound, row, first = 0, -1, 0
    for k in range(areas.starts[number], areas.starts[number + 1]):
        if areas.rows[k] != row:
            row, first = areas.rows[k], areas.firsts[k]
        else:
            bound -= areas.stops[k - 1] - first
        bound += areas.stops[k] - first
    return bound


@inner_kernel
def _count_filled(areas: Areas, number: int) -> int:
    """Return the number of pixels of an area with its holes: all that the outside does not reach.

    The outside is a frame of one pixel around the area, and spreads to all eight neighbours.
    """
    height, width = areas.sides[0, number] + 2, areas.sides[1, number] + 2
    taken = np.zeros(height * width, np.bool_)
    top, left = areas.corners[0, number] - 1, areas.corners[1, number] - 1
    for k in range(areas.starts[number], areas.starts[number + 1]):
        for x in range(areas.firsts[k], areas.stops[k]):
            taken[(areas.rows[k] - top) * width + x - left] = True
    pending = np.empty(taken.size, np.int64)
    pending[0], taken[0] = 0, True
    count = reached = 1
    while count > 0:
        count -= 1
        y, x = divmod(pending[count], width)
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                place = v * width + u
                if not taken[place]:
                    taken[place] = True
                    pending[count] = place
                    count += 1
                    reached += 1
    return taken.size - reached


@kernel
def _fill_image(areas: Areas, number: int, image: Array) -> None:
    image[:] = 0.0
    top, left = areas.corners[0, number], areas.corners[1, number]
    for k in range(areas.starts[number], areas.starts[number + 1]):
        for x in range(areas.firsts[k] - left, areas.stops[k] - left):
            image[areas.rows[k] - top, x] = 1.0


def warm_kernels() -> None:
    """Compile the kernels."""
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    areas = find_areas(np.packbits(ring, axis=-1))
    areas.find_large(9)
    areas.fill_image(0, np.empty((3, 3)))
