"""Samples of some rows of a product, from which its quick-look and its noise are made.

Each sampled row gives the same numbers in whichever tile it lies, so that the statistics of a
product do not depend on the tiling.

Source: ours; docs/how-to/reports.md says what is sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models import dq
from calbatch.models.jit import kernel
from calbatch.models.statistics.flag_counts import count_flags
from calbatch.models.tiling.tile import Tile

Array = npt.NDArray[Any]

ROWS = 96
"""Maximum number of rows that are sampled, and of the rows and columns of a quick-look."""

PAIRS = 128
"""Maximum number of pairs of neighbouring pixels that are taken from a sampled row."""


UNUSABLE = dq.DO_NOT_USE | dq.REFERENCE_PIXEL
"""Flags of pixels that are not sampled."""


class RowSamples(NamedTuple):
    """Samples of some rows; see `sample_rows`.

    Attributes
    ----------
    means : ndarray of float32, shape (rows, bins)
        Means of the usable pixels of each bin of columns; NaN where there is none.
    levels, differences : ndarray of float32, shape (rows, pairs)
        The first pixel of each pair, and the second less the first; NaN where one is unusable.
    errors : ndarray of float32, shape (rows, pairs)
        The error of the first pixel; NaN without errors.
    """

    means: Array
    levels: Array
    differences: Array
    errors: Array


class TileSamples(NamedTuple):
    """The contribution of a tile to the statistics of a product.

    Attributes
    ----------
    start : int
        First row of the tile.
    counts : mapping
        The counts of `count_flags`, by DQ array.
    rows : RowSamples, optional
        None if the product has no pixels that can be sampled.
    """

    start: int
    counts: Mapping[str, Array]
    rows: RowSamples | None


@dataclass(frozen=True, kw_only=True)
class TileSampler:
    """Samples the tiles of a product.

    Attributes
    ----------
    frame : (int, int)
        Rows and columns of the product.
    flags : mapping
        Name in the tiles of each DQ array.
    data, errors, quality : str
        Names in the tiles of the pixels, their errors and their DQ; empty if there are none. Of an
        array with integrations and groups, the first integration and the last group are sampled.
    """

    frame: tuple[int, int]
    flags: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    errors: str = ""
    quality: str = ""

    def __call__(self, tile: Tile) -> TileSamples:
        """Return the contribution of a tile."""
        counts = {name: count_flags(tile.core_rows(key)) for name, key in self.flags.items()}
        start, stop = tile.core.rows
        rows = choose_rows(self.frame[0])
        local = rows[(rows >= start) & (rows < stop)] - start
        samples = None
        if self.data:
            names = (self.data, self.errors, self.quality)
            planes = [_take(tile, name, local) if name else None for name in names]
            samples = sample_rows(*planes)
        return TileSamples(start, counts, samples)


def _take(tile: Tile, name: str, rows: Array) -> Array:
    """Return some rows of a field of a tile: of the first integration, and of its last group."""
    array = tile.core_rows(name)
    while array.ndim > 2:
        array = array[-1] if array.ndim == 3 and tile.load(name).ndim == 4 else array[0]
    return array[rows]


def choose_rows(count: int) -> Array:
    """Return the rows to sample, evenly spaced, of a frame with a number of rows."""
    number = min(count, ROWS)
    return (2 * np.arange(number) + 1) * count // (2 * number)


def sample_rows(data: Array | None, errors: Array | None, quality: Array | None) -> RowSamples:
    """Return the samples of some rows.

    Parameters
    ----------
    data : ndarray of numbers, shape (rows, columns)
        The pixels.
    errors : ndarray, shape (rows, columns), optional
        Their errors.
    quality : ndarray of integers, shape (rows, columns), optional
        Their flags; pixels with one of `UNUSABLE` are not usable.
    """
    assert data is not None
    with np.errstate(all="ignore"):  # a user's product may hold values that float32 does not
        values = data.astype(np.float32)
        unusable = ~np.isfinite(values)
        if quality is not None:
            unusable |= (quality.astype(np.uint32) & np.uint32(UNUSABLE)) != 0
        values[unusable] = np.nan
        first = _choose_columns(values.shape[1])
        second = np.minimum(first + 1, values.shape[1] - 1)
        levels = values[:, first]
        differences = values[:, second] - levels
        chosen = np.full_like(levels, np.nan)
        if errors is not None:
            chosen[...] = errors[:, first]
            chosen[~np.isfinite(chosen) | np.isnan(levels)] = np.nan
        return RowSamples(_average_bins(values), levels, differences, chosen)


def _choose_columns(count: int) -> Array:
    """Return the first columns of the pairs in a row of a number of columns."""
    number = max(min(count - 1, PAIRS), 1)
    return np.arange(number) * (count - 1) // number


def _average_bins(values: Array) -> Array:
    """Return the means of bins of columns, over pixels that are not NaN."""
    means = np.empty((values.shape[0], min(values.shape[1], ROWS)), np.float32)
    _fill_means(values, means)
    return means


@kernel
def _fill_means(values: Array, means: Array) -> None:
    """Fill means[i, b] with Σ v / Σ 1 over the pixels v of row i and bin b that are not NaN."""
    columns, bins = values.shape[1], means.shape[1]
    for i in range(values.shape[0]):
        for b in range(bins):
            total, count = 0.0, 0
            for j in range(b * columns // bins, (b + 1) * columns // bins):
                v = np.float64(values[i, j])
                if not np.isnan(v):
                    total += v
                    count += 1
            means[i, b] = total / count if count else np.nan


def join_samples(tiles: Sequence[TileSamples]) -> tuple[dict[str, Array], RowSamples | None]:
    """Return the flag counts of a product, and its samples from top to bottom."""
    ordered = sorted(tiles, key=lambda tile: tile.start)
    names = ordered[0].counts
    counts: dict[str, Array] = {n: np.sum([t.counts[n] for t in ordered], axis=0) for n in names}
    found = [tile.rows for tile in ordered if tile.rows is not None]
    if not found:
        return counts, None
    return counts, RowSamples(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def warm_kernels() -> None:
    """Compile this module's kernels, or load them from numba's cache."""
    _fill_means(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
