"""Medians of the samples in parts of a frame, found exactly without holding all samples.

Samples in single precision are mapped to integers in the same order. A first pass over the tiles
counts their upper halves, which shows the bin of the median, and a second one counts the samples in
that bin. Counts are integers, so that medians do not depend on the tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.picture_frame.regions import ChosenRegions
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]
Counts = tuple[Array, Array]
"""Distinct integers in ascending order, and the number of samples of each."""

PARTS = 2
"""The centre and the edges."""
HALF = 16
"""Bits of the upper and of the lower half of a sample."""
TYPICAL_COUNTS = 1 << 15
"""Distinct values, in one part of a group and over all tiles, for which memory is planned."""


@dataclass(frozen=True, kw_only=True)
class MedianBins:
    """The bins that hold the medians.

    Attributes
    ----------
    bins : ndarray of int64, (integrations, groups - 1, parts, 2)
        Upper halves of the two middle samples, which are one and the same for an odd number of
        samples; -1 without samples.
    below : ndarray of int64, (integrations, groups - 1, parts)
        Number of samples below the first bin.
    samples : ndarray of int64, (integrations, groups - 1, parts)
        Number of all samples.
    """

    bins: Array = field(repr=False)
    below: Array = field(repr=False)
    samples: Array = field(repr=False)


def estimate_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes that it takes to gather and combine the counts of a ramp of some shape."""
    return math.prod(shape[:2]) * PARTS * TYPICAL_COUNTS * 2 * np.dtype(np.int64).itemsize


def order_samples(samples: Array) -> Array:
    """Return float32 samples as uint32 integers in the same order; see `restore_samples`."""
    bits = np.ascontiguousarray(samples, np.float32).view(np.uint32)
    sign = np.uint32(1 << 31)
    return np.where(bits & sign, ~bits, bits | sign)


def restore_samples(ordered: Array) -> Array:
    """Return the float32 samples that `order_samples` has mapped to integers."""
    sign = np.uint32(1 << 31)
    integers = np.asarray(ordered, np.uint32)
    return np.where(integers & sign, integers ^ sign, ~integers).view(np.float32)


def _samples_of(data: Array, chosen: ChosenRegions, region: Region) -> Iterator[Array]:
    """Yield the samples of each part of each group after the first as integers, without NaN."""
    parts = chosen.parts_of(region)
    for ramp in data:
        for group in ramp[1:]:
            image = group - ramp[0]
            for part in parts:
                samples = image[part]
                yield order_samples(samples[~np.isnan(samples)])


def count_bins(data: Array, *, chosen: ChosenRegions, region: Region) -> list[Counts]:
    """Return the counts of the upper halves of samples, for each part of each group.

    Parameters
    ----------
    data : ndarray of float32
        Counts (DN), (integrations, groups, rows, columns).
    chosen : ChosenRegions
        The pixels whose samples are counted.
    region : Region
        The rows and columns of the frame that ``data`` covers.
    """
    found = []
    for samples in _samples_of(data, chosen, region):
        counts = np.bincount(samples >> HALF, minlength=1)
        (bins,) = np.nonzero(counts)
        found.append((bins, counts[bins]))
    return found


def choose_bins(gathered: Sequence[list[Counts]], *, shape: tuple[int, ...]) -> MedianBins:
    """Return the bins of the two middle samples.

    Parameters
    ----------
    gathered : sequence of list
        Results of `count_bins` for all tiles.
    shape : tuple of int
        Shape of the ramp.
    """
    lead = (shape[0], shape[1] - 1, PARTS)
    bins = np.full((*lead, 2), -1)
    below, samples = np.zeros((2, *lead), np.int64)
    for k, index in enumerate(np.ndindex(lead)):
        values, counts = _join([tile[k] for tile in gathered])
        total = samples[index] = counts.sum()
        if total:
            places = np.searchsorted(np.cumsum(counts), _middle(total), side="right")
            bins[index] = values[places]
            below[index] = counts[: places[0]].sum()
    return MedianBins(bins=bins, below=below, samples=samples)


def count_levels(
    data: Array, *, chosen: ChosenRegions, bins: MedianBins, region: Region
) -> tuple[list[Counts], MedianBins]:
    """Return the counts of the samples in the bins of the medians; see `count_bins`."""
    found = []
    limits = bins.bins.reshape(-1, 2)
    for samples, (first, last) in zip(_samples_of(data, chosen, region), limits, strict=True):
        upper = samples >> HALF
        within = samples[(upper == first) | (upper == last)]
        found.append(np.unique(within, return_counts=True))
    return found, bins


def find_levels(gathered: Sequence[tuple[list[Counts], MedianBins]]) -> Array:
    """Return the medians at the centre and at the edges, from the counts of all tiles.

    Returns
    -------
    ndarray
        float32, (integrations, groups - 1, parts): medians (DN) of the samples minus those of the
        first group; NaN without samples.
    """
    _, bins = gathered[0]
    medians = np.full(bins.samples.shape, np.nan, np.float32)
    for k, index in enumerate(np.ndindex(medians.shape)):
        if bins.samples[index]:
            values, counts = _join([found[k] for found, _ in gathered])
            ranks = _middle(int(bins.samples[index])) - bins.below[index]
            middle = values[np.searchsorted(np.cumsum(counts), ranks, side="right")]
            medians[index] = np.mean(restore_samples(middle), dtype=np.float32)
    return medians


def _middle(samples: int) -> Array:
    """Return the ranks of the two middle samples, counted from 0."""
    return np.array([(samples - 1) // 2, samples // 2])


def _join(parts: Sequence[Counts]) -> Counts:
    """Return the sums of several counts."""
    values = np.concatenate([part[0] for part in parts])
    counts = np.concatenate([part[1] for part in parts]).astype(np.int64)
    distinct, inverse = np.unique(values, return_inverse=True)
    sums = np.zeros(distinct.size, np.int64)
    np.add.at(sums, inverse, counts)
    return distinct, sums
