"""Runs of consecutive rows of an image in its file.

A band of rows of every plane is one run per plane. Long time series have thousands of planes with
runs of a few KB, less than what a call from Python costs. Runs are therefore gathered in one
buffer, which is then decoded or encoded as a whole.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

import numpy as np

Run = tuple[int, int]
"""The position of the first byte, and the number of bytes."""


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
    planes = [np.array(indices, int) * n for indices, n in zip(leading, strides, strict=True)]
    firsts = reduce(np.add.outer, planes, np.array(rows.start)).ravel()
    height = len(rows)
    begins = np.flatnonzero(np.diff(firsts, prepend=-height - 1) != height)
    counts = np.diff(begins, append=firsts.size) * height
    positions = firsts[begins] * row_bytes
    return list(zip(positions.tolist(), (counts * row_bytes).tolist(), strict=True))


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
