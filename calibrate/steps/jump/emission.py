"""Extended emission: areas in which a group is brighter than the ramps, if only a little.

The differences d_k of successive groups are compared with the pixel's median, and the ratios

    r_k = |d_k - median(d)| / sqrt(|median(d)| + R**2 / nframes)

are averaged over a ring around each pixel, without pixels that are flagged. Where the mean exceeds
a threshold there is emission.

Source: stcal 1.20 ``find_faint_extended`` and ``get_bigellipses``, which convolve whole frames by
FFT. The ring is small: here its pixels are added one by one, so any rows can be computed by
themselves.
"""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.sort import find_medians
from calbatch.models import dq
from calbatch.models.jit import for_kernel, kernel
from calbatch.models.tiling.tile import Region

Array = npt.NDArray[Any]

FLAGGED = dq.JUMP_DET | dq.SATURATED | dq.DO_NOT_USE
INVALID = np.isin(
    np.arange(256),
    [
        dq.DO_NOT_USE,
        dq.SATURATED,
        dq.JUMP_DET,
        dq.JUMP_DET | dq.DO_NOT_USE,
        dq.SATURATED | dq.DO_NOT_USE,
    ],
)
"""Flags of missing samples. They are compared as a whole, as in stcal: others do not count."""

CLIP_ROWS = 16
"""Number of rows that are clipped at a time."""


class EmissionRules(NamedTuple):
    """Parameters of the search for emission.

    Attributes
    ----------
    frames : float
        Frames averaged in a group.
    clip_integrations : int
        Minimum number of integrations for comparing a difference with the clipped differences of
        the same groups in all integrations, instead of with the pixel's median.
    ring : ndarray
        The mask of the ring, (2 n + 1, 2 n + 1).
    threshold : float
        The ratio above which there is emission.
    """

    frames: float
    clip_integrations: int
    ring: Array
    threshold: float


class EmissionBits(NamedTuple):
    """Emission in a band of rows.

    Attributes
    ----------
    emission : ndarray
        One bit per difference, (integrations, groups - 1, rows, columns / 8) bytes.
    unusable : ndarray
        True for groups that are DO_NOT_USE in the whole band, (integrations, groups).
    idle : ndarray
        The same, but without regard to reference pixels.
    """

    emission: Array
    unusable: Array
    idle: Array


def make_ring(inner: float, width: float) -> Array:
    """Return the mask of a ring around its central pixel; radii are in pixels."""
    from astropy.convolution import Ring2DKernel  # its import is slow

    return np.asarray(Ring2DKernel(inner, width).array != 0)


def find_emission(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    *,
    gain: Array,
    readnoise: Array,
    rules: EmissionRules,
    region: Region,
    core: Region,
) -> EmissionBits:
    """Return the extended emission of a band of rows.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).
    pixeldq, gain, readnoise : ndarray
        Flags, gain (electron/DN), and noise of the difference of two frames (DN), (rows, columns).
    rules : EmissionRules
        The parameters.
    region, core : Region
        The pixels that the arrays cover, and those to search. Outside the arrays all ratios are 0.

    Returns
    -------
    EmissionBits
        The emission of the core.
    """
    own, _ = core.within(region)
    reference = pixeldq == dq.REFERENCE_PIXEL
    masked = reference | (pixeldq & np.uint32(FLAGGED) != 0)
    dead = groupdq[:, :, own] & np.uint8(dq.DO_NOT_USE) != 0
    ints, groups, _, cols = groupdq.shape
    bits = np.empty((ints, groups - 1, core.shape[0], -(-cols // 8)), np.uint8)
    with np.errstate(invalid="ignore", divide="ignore"):  # pixels without gain or noise
        for i, k, ratio in _compute_ratios(data, groupdq, gain, readnoise, rules):
            ratio[masked | (groupdq[i, k + 1] & np.uint8(FLAGGED) != 0)] = np.nan
            found = np.zeros(core.shape, bool)
            _find_bright(ratio.astype(float), rules.ring, own.start, rules.threshold, found)
            bits[i, k] = np.packbits(found, axis=1)
    return EmissionBits(bits, np.all(dead, axis=(2, 3)), np.all(dead | reference[own], axis=(2, 3)))


def _compute_ratios(
    data: Array, groupdq: Array, gain: Array, readnoise: Array, rules: EmissionRules
) -> Iterator[tuple[int, int, Array]]:
    """Yield the integration, the number and the ratios, (rows, columns), of each difference."""
    ints, groups = data.shape[:2]
    if ints >= rules.clip_integrations:
        centre, sigma = _clip(data, groupdq, gain)
    else:
        median = _find_medians(*map(for_kernel, (data, groupdq, gain)), INVALID)
        noise = (readnoise * gain) ** 2 / np.float32(rules.frames)
        centre = np.broadcast_to(median, (groups - 1, *median.shape))
        sigma = np.broadcast_to(np.sqrt(np.abs(median) + noise), centre.shape)
    for i in range(ints):
        before = _convert_to_electrons(data[i, 0], groupdq[i, 0], gain)
        for k in range(groups - 1):
            now = _convert_to_electrons(data[i, k + 1], groupdq[i, k + 1], gain)
            yield i, k, np.abs(now - before - centre[k]) / sigma[k]
            before = now


def _convert_to_electrons(data: Array, groupdq: Array, gain: Array) -> Array:
    electrons = data * gain
    electrons[INVALID[groupdq]] = np.nan
    return electrons


def _clip(data: Array, groupdq: Array, gain: Array) -> tuple[Array, Array]:
    """Return median and standard deviation of each difference over integrations, after clipping."""
    from astropy.stats import sigma_clipped_stats  # its import is slow

    found = []
    for first in range(0, data.shape[2], CLIP_ROWS):
        rows = slice(first, first + CLIP_ROWS)
        diffs = np.diff(
            _convert_to_electrons(data[:, :, rows], groupdq[:, :, rows], gain[rows]), axis=1
        )
        with warnings.catch_warnings():  # about NaN, which are expected
            warnings.simplefilter("ignore")
            _, median, deviation = sigma_clipped_stats(diffs, sigma=5, axis=0)
        found.append((median, deviation))
    medians, deviations = zip(*found, strict=True)
    return np.concatenate(medians, axis=1), np.concatenate(deviations, axis=1)


@kernel
def _find_medians(data: Array, groupdq: Array, gain: Array, invalid: Array) -> Array:
    """Return each pixel's median difference in electrons, rounded as in NumPy."""
    ints, groups, rows, cols = data.shape
    median = np.empty((rows, cols), np.float32)
    diffs = np.empty((ints * (groups - 1), cols), np.float32)
    picked = np.arange(cols)
    for y in range(rows):
        for i in range(ints):
            for g in range(1, groups):
                for x in range(cols):
                    diff = data[i, g, y, x] * gain[y, x] - data[i, g - 1, y, x] * gain[y, x]
                    lost = invalid[groupdq[i, g, y, x]] or invalid[groupdq[i, g - 1, y, x]]
                    diffs[i * (groups - 1) + g - 1, x] = np.nan if lost else diff
        median[y] = find_medians(diffs, picked)
    return median


@kernel
def _add_row(ratio: Array, good: Array, row: int, shift: int, total: Array, count: Array) -> None:
    """Add the ratios at columns ``x + shift`` of a row, and count the good ones."""
    cols = total.size
    left, right = max(0, -shift), min(cols, cols - shift)
    if row < 0 or row >= good.shape[0] or right <= left:
        count += np.int32(1)
        return
    # views: an index with an offset would prevent vectorization
    values, usable = (
        ratio[row, left + shift : right + shift],
        good[row, left + shift : right + shift],
    )
    totals, counts = total[left:right], count[left:right]
    for x in range(values.size):
        totals[x] += values[x]
    for x in range(values.size):
        counts[x] += np.int32(usable[x])
    count[:left] += np.int32(1)
    count[right:] += np.int32(1)


@kernel
def _find_bright(ratio: Array, ring: Array, first: int, threshold: float, found: Array) -> None:
    """Mark pixels whose mean ratio in the surrounding ring exceeds the threshold.

    ``mean = sum of r / number of r``; beyond the arrays r = 0. ``found`` begins at row ``first``.
    """
    rows, cols = ratio.shape
    reach = ring.shape[0] // 2
    good = np.isfinite(ratio)
    for y in range(rows):
        for x in range(cols):
            if not good[y, x]:
                ratio[y, x] = 0.0
    total, count = np.empty(cols), np.empty(cols, np.int32)
    for y in range(found.shape[0]):
        total[:] = 0.0
        count[:] = 0
        for row, column in np.argwhere(ring):
            _add_row(ratio, good, first + y + row - reach, column - reach, total, count)
        for x in range(cols):
            bright = count[x] > 0 and total[x] / count[x] > threshold
            found[y, x] = bright and good[first + y, x]


def warm_kernels() -> None:
    """Compile the kernels."""
    frame = np.ones((3, 3), np.float32)
    ramp = np.ones((1, 2, 3, 3), np.float32)
    _find_medians(ramp, ramp.astype(np.uint8), frame, INVALID)
    ring = np.ones((3, 3), bool)
    _find_bright(frame.astype(float), ring, 0, 1.0, np.zeros((3, 3), bool))
