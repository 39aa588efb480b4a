"""Connected areas of flagged pixels, found from flags that are packed into bits.

Source: stcal 1.20 ``find_ellipses``, which labels whole frames with scikit-image. Flagged pixels
are few, so here only they are visited. Areas are connected by edges and corners, and numbered in
the order of their first pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import kernel

Array = npt.NDArray[Any]

MIN_RING = 8
"""The smallest number of pixels that enclose another."""


def pack_flags(groupdq: Array, flag: int) -> Array:
    """Return one bit per sample, set if it has a flag: (…, rows, columns / 8) bytes."""
    return np.packbits(groupdq & np.uint8(flag) != 0, axis=-1)


@dataclass(frozen=True)
class Areas:
    """The connected areas of a frame.

    Attributes
    ----------
    rows, cols : ndarray
        Their pixels, area by area, in each area from top to bottom and left to right.
    starts : ndarray
        The index of the first pixel of each area, and last the number of all pixels.
    centre_rows, centre_cols : ndarray
        The mean row and column of each area.
    heights, widths : ndarray
        The sides of the smallest rectangle around each area.
    """

    rows: Array
    cols: Array
    starts: Array
    centre_rows: Array
    centre_cols: Array
    heights: Array
    widths: Array

    @property
    def sizes(self) -> Array:
        """The number of pixels of each area."""
        return np.diff(self.starts)

    def image(self, number: int) -> Array:
        """Return an area as a boolean image, cut to the smallest rectangle around it."""
        pixels = slice(self.starts[number], self.starts[number + 1])
        rows, cols = self.rows[pixels], self.cols[pixels]
        image = np.zeros((self.heights[number], self.widths[number]), bool)
        image[rows - rows.min(), cols - cols.min()] = True
        return image

    def find_large(self, min_area: float) -> Array:
        """Return whether each area, with the pixels that it encloses, has a minimum size.

        Pixels are enclosed if no path leads out, even by corners, as in scikit-image.
        """
        large = self.sizes >= min_area
        # no area is larger than the rectangle around it
        unknown = ~large & (self.sizes >= MIN_RING) & (self.heights * self.widths >= min_area)
        for i in np.flatnonzero(unknown):
            pixels = slice(self.starts[i], self.starts[i + 1])
            filled = _count_filled(
                self.rows[pixels], self.cols[pixels], int(self.heights[i]), int(self.widths[i])
            )
            large[i] = filled >= min_area
        return large


def find_areas(bits: Array) -> Areas:
    """Return the connected areas of a frame; ``bits`` are (rows, columns / 8) bytes."""
    rows, cols = _list_pixels(bits)
    labels, count = _label_pixels(rows, cols)
    order = np.argsort(labels, kind="stable")
    rows, cols, labels = rows[order], cols[order], labels[order]
    starts = np.searchsorted(labels, np.arange(count + 1))
    if not count:
        none = np.zeros(0)
        return Areas(rows, cols, starts, none, none, none, none)
    sizes = np.diff(starts)
    return Areas(
        rows,
        cols,
        starts,
        # sums of integers are exact, so these are the quotients that scikit-image computes
        np.add.reduceat(rows, starts[:-1]) / sizes,
        np.add.reduceat(cols, starts[:-1]) / sizes,
        _span(rows, starts[:-1]),
        _span(cols, starts[:-1]),
    )


def _span(values: Array, starts: Array) -> Array:
    """Return the number of integers from the smallest to the largest value of each area."""
    least, greatest = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return greatest - least + 1


@kernel
def _list_pixels(bits: Array) -> tuple[Array, Array]:
    """Return the rows and columns of the bits that are set, from top to bottom."""
    count = 0
    for y in range(bits.shape[0]):
        for b in range(bits.shape[1]):
            byte = bits[y, b]
            while byte:
                byte &= byte - np.uint8(1)
                count += 1
    rows, cols = np.empty(count, np.int64), np.empty(count, np.int64)
    k = 0
    for y in range(bits.shape[0]):
        for b in range(bits.shape[1]):
            byte = bits[y, b]
            if byte:
                for i in range(8):
                    if byte & (np.uint8(128) >> np.uint8(i)):
                        rows[k], cols[k] = y, 8 * b + i
                        k += 1
    return rows, cols


@kernel
def _find_root(parent: Array, k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@kernel
def _join(parent: Array, one: int, other: int) -> None:
    """Join the areas of two pixels; the root of the result is its first pixel."""
    first, second = _find_root(parent, one), _find_root(parent, other)
    if first < second:
        parent[second] = first
    else:
        parent[first] = second


@kernel
def _label_pixels(rows: Array, cols: Array) -> tuple[Array, int]:
    """Return the area of each pixel, and the number of areas; pixels are in reading order."""
    parent = np.arange(rows.size)
    above = 0  # the first pixel of the row above that is not left of the neighbours
    for k in range(rows.size):
        y, x = rows[k], cols[k]
        if k > 0 and rows[k - 1] == y and cols[k - 1] == x - 1:
            _join(parent, k - 1, k)
        while rows[above] < y - 1 or (rows[above] == y - 1 and cols[above] < x - 1):
            above += 1
        near = above
        while rows[near] == y - 1 and cols[near] <= x + 1:
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
def _count_filled(rows: Array, cols: Array, height: int, width: int) -> int:
    """Return the number of pixels of an area with its holes: all that the outside does not reach.

    The outside is a frame of one pixel around the area, and spreads to all eight neighbours.
    """
    stride = width + 2
    taken = np.zeros((height + 2) * stride, np.bool_)
    top, left = rows.min() - 1, cols.min() - 1
    for k in range(rows.size):
        taken[(rows[k] - top) * stride + cols[k] - left] = True
    pending = np.empty(taken.size, np.int64)
    pending[0], taken[0] = 0, True
    count = reached = 1
    while count > 0:
        count -= 1
        y, x = divmod(pending[count], stride)
        for v in range(max(y - 1, 0), min(y + 2, height + 2)):
            for u in range(max(x - 1, 0), min(x + 2, stride)):
                place = v * stride + u
                if not taken[place]:
                    taken[place] = True
                    pending[count] = place
                    count += 1
                    reached += 1
    return taken.size - reached


def warm_kernels() -> None:
    """Compile the kernels."""
    areas = find_areas(np.packbits(np.ones((3, 3), bool), axis=-1))
    _count_filled(areas.rows, areas.cols, 3, 3)
