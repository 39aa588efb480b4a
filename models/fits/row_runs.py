"""Windows of an image, and their runs of consecutive rows in its file.

A band of rows of every plane is one run per plane. Long time series have thousands of planes with
runs of a few KB, less than what a call from Python costs. Runs are therefore gathered in one
buffer, which is then decoded or encoded as a whole.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Self

import numpy as np

Bounds = tuple[int, int]
"""Start and stop of consecutive rows or columns."""

Run = tuple[int, int]
"""The position of the first byte, and the number of bytes."""


@dataclass(frozen=True)
class Window:
    """The part of an array that a reader sees.

    Attributes
    ----------
    leading : tuple of range
        Indices along the leading axes.
    rows, cols : range
        Indices along the last two axes, consecutive.
    """

    leading: tuple[range, ...]
    rows: range
    cols: range

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Self:
        """Return the window of a whole array; an array with a single axis is one row."""
        *leading, rows, cols = (1, *shape) if len(shape) == 1 else shape
        return cls(tuple(range(n) for n in leading), range(rows), range(cols))

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., rows, columns)."""
        return (*map(len, self.leading), len(self.rows), len(self.cols))

    def cut(self, rows: Bounds, cols: Bounds) -> Self:
        """Return the window of some rows and columns, counted within this window."""
        for what, (start, stop), whole in (("rows", rows, self.rows), ("columns", cols, self.cols)):
            if not 0 <= start <= stop <= len(whole):
                raise ValueError(f"{what} {start}:{stop} are not within 0:{len(whole)}")
        return replace(self, rows=self.rows[slice(*rows)], cols=self.cols[slice(*cols)])

    def take(self, index: tuple[slice, ...]) -> Self:
        """Return the window of some planes of this window."""
        if len(index) > len(self.leading):
            raise ValueError(f"{len(index)} slices for {len(self.leading)} leading axes")
        chosen = tuple(axis[part] for axis, part in zip(self.leading, index, strict=False))
        return replace(self, leading=chosen + self.leading[len(index) :])

    def index(self) -> tuple[Any, ...]:
        """Return the index that cuts this window out of an array of at least two axes."""
        parts = (*self.leading, self.rows, self.cols)
        return tuple(slice(p.start, p.stop if p.stop >= 0 else None, p.step) for p in parts)


def find_runs(
    leading: Sequence[range], rows: range, shape: tuple[int, ...], row_bytes: int
) -> list[Run]:
    """Return the runs of a band of rows in some planes of an image, counted from its first byte.

    Consecutive whole planes form a single run.

    Parameters
    ----------
    leading : sequence of range
        The planes: indices along the leading axes.
    rows : range
        The rows of each plane, consecutive.
    shape : tuple of int
        Shape of the image, (..., rows, columns).
    row_bytes : int
        Size of a row.
    """
    strides = [math.prod(shape[axis + 1 : -1]) for axis in range(len(leading))]
    axes = [
        np.arange(indices.start, indices.stop, indices.step) * stride
        for indices, stride in zip(leading, strides, strict=True)
    ]
    firsts = reduce(np.add.outer, axes, np.array(rows.start)).ravel()
    height = len(rows)
    is_begin = np.ones(firsts.size, bool)
    np.not_equal(firsts[1:], firsts[:-1] + height, out=is_begin[1:])
    begins = np.flatnonzero(is_begin)
    counts = np.full(begins.size, firsts.size)
    counts[:-1] = begins[1:]
    counts -= begins
    positions, sizes = firsts[begins] * row_bytes, counts * (height * row_bytes)
    return list(zip(positions.tolist(), sizes.tolist(), strict=True))


def gather_runs(runs: Iterable[Run], most: int) -> Iterator[list[Run]]:
    """Yield runs in turn, as many as fit in a buffer of ``most`` bytes; longer ones are split."""
    gathered, room = list[Run](), most
    for start, size in runs:
        stop = start + size
        while start < stop:
            taken = min(stop - start, room)
            gathered.append((start, taken))
            start, room = start + taken, room - taken
            if not room:
                yield gathered
                gathered, room = [], most
    if gathered:
        yield gathered
