"""Extended emission: areas in which a group is brighter than the ramps, if only a little.

The differences d_k of successive groups are compared with the pixel's median, and the ratios

    r_k = |d_k - median(d)| / sqrt(|median(d)| + R**2 / nframes)

are averaged over a ring around each pixel, without pixels that are flagged. Where the mean exceeds
a threshold there is emission.

Source: stcal 1.20 ``find_faint_extended`` and ``get_bigellipses``.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.rings import LARGEST, BrightSearch
from calbatch.calibrate.steps.jump.sort import find_medians
from calbatch.models import dq
from calbatch.models.jit import (
    for_kernel,
    inner_kernel,
    inner_view_kernel,
    kernel,
    view_kernel,
)
from calbatch.models.tiling.tile import Region

NEEDED_WITH = ("find_showers",)
"""Parameters with which the kernels are needed; see `calibrate.warm`."""

Array = npt.NDArray[Any]

FLAGGED = dq.JUMP_DET | dq.SATURATED | dq.DO_NOT_USE
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
    data, groupdq, gain = map(for_kernel, (data, groupdq, gain))
    reference = pixeldq == dq.REFERENCE_PIXEL
    masked = reference | (pixeldq & np.uint32(FLAGGED) != 0)
    unusable, idle = (
        _find_unusable(groupdq, excused, own.start, own.stop)
        for excused in (np.zeros_like(reference), reference)
    )
    ints, groups, _, cols = groupdq.shape
    bits = np.empty((ints, groups - 1, core.shape[0], -(-cols // 8)), np.uint8)
    search = BrightSearch(rules.ring, masked.shape, own)
    given = gain, masked, search.values, search.good
    centres, sigmas = _compare_with(data, groupdq, gain, readnoise, rules)
    for i, k in np.ndindex(bits.shape[:2]):
        pair = slice(k, k + 2)
        _set_ratios(data[i, pair], groupdq[i, pair], centres[k], sigmas[k], *given)
        bits[i, k] = np.packbits(search.find(rules.threshold), axis=1)
    return EmissionBits(bits, unusable, idle)


def _compare_with(
    data: Array, groupdq: Array, gain: Array, readnoise: Array, rules: EmissionRules
) -> tuple[Array | list[Array], Array | list[Array]]:
    """Return the usual value and the deviation, (rows, columns), of each difference."""
    ints, groups = data.shape[:2]
    with np.errstate(invalid="ignore", divide="ignore"):  # pixels without gain or noise
        if ints >= rules.clip_integrations:
            return _clip(data, groupdq, gain)
        median = _find_medians(data, groupdq, gain)
        noise = (readnoise * gain) ** 2 / np.float32(rules.frames)
        return [median] * (groups - 1), [np.sqrt(np.abs(median) + noise)] * (groups - 1)


def _clip(data: Array, groupdq: Array, gain: Array) -> tuple[Array, Array]:
    """Return median and standard deviation of each difference over integrations, after clipping."""
    from astropy.stats import sigma_clipped_stats  # its import is slow

    found = []
    for first in range(0, data.shape[2], CLIP_ROWS):
        rows = slice(first, first + CLIP_ROWS)
        samples = data[:, :, rows], groupdq[:, :, rows], gain[rows]
        diffs = _subtract_groups(*map(for_kernel, samples))
        with warnings.catch_warnings():  # about NaN, which are expected
            warnings.simplefilter("ignore")
            _, median, deviation = sigma_clipped_stats(diffs, sigma=5, axis=0)
        found.append((median, deviation))
    medians, deviations = zip(*found, strict=True)
    return np.concatenate(medians, axis=1), np.concatenate(deviations, axis=1)


@inner_view_kernel
def _is_invalid(flags: int) -> bool:
    """Return whether a sample is missing: flags are compared as a whole, as in stcal.

    They are DO_NOT_USE, SATURATED or both, or JUMP_DET with DO_NOT_USE or without.
    """
    return bool(np.uint8(flags - np.uint8(1)) < np.uint8(5))


@kernel
def _find_unusable(groupdq: Array, excused: Array, first: int, stop: int) -> Array:
    """Return whether groups are DO_NOT_USE in all pixels of some rows, except the excused."""
    ints, groups, _, cols = groupdq.shape
    unusable = np.ones((ints, groups), np.bool_)
    for i in range(ints):
        for g in range(groups):
            for y in range(first, stop):
                usable = 0
                for x in range(cols):
                    good = groupdq[i, g, y, x] & np.uint8(dq.DO_NOT_USE) == 0
                    usable |= int(good & ~excused[y, x])
                if usable:
                    unusable[i, g] = False
                    break
    return unusable


@kernel
def _find_medians(data: Array, groupdq: Array, gain: Array) -> Array:
    """Return each pixel's median difference in electrons, rounded as in NumPy."""
    ints, groups, rows, cols = data.shape
    median = np.empty((rows, cols), np.float32)
    diffs = np.empty((ints, groups - 1, cols), np.float32)
    picked = np.arange(cols)
    for y in range(rows):
        _subtract_row(data[:, :, y], groupdq[:, :, y], gain[y], diffs)
        median[y] = find_medians(diffs.reshape(ints * (groups - 1), cols), picked)
    return median


@kernel
def _subtract_groups(data: Array, groupdq: Array, gain: Array) -> Array:
    """Return the differences in electrons, (integrations, groups - 1, rows, columns)."""
    ints, groups, rows, cols = data.shape
    diffs = np.empty((ints, groups - 1, rows, cols), np.float32)
    for y in range(rows):
        _subtract_row(data[:, :, y], groupdq[:, :, y], gain[y], diffs[:, :, y])
    return diffs


@inner_kernel
def _subtract_row(data: Array, groupdq: Array, gain: Array, diffs: Array) -> None:
    """Compute the differences of a row, NaN next to missing samples."""
    for i in range(diffs.shape[0]):
        for k in range(diffs.shape[1]):
            for x in range(gain.size):
                diff = data[i, k + 1, x] * gain[x] - data[i, k, x] * gain[x]
                lost = _is_invalid(groupdq[i, k, x]) | _is_invalid(groupdq[i, k + 1, x])
                diffs[i, k, x] = np.float32(np.nan) if lost else diff


@view_kernel
def _set_ratios(
    data: Array,
    groupdq: Array,
    centre: Array,
    sigma: Array,
    gain: Array,
    masked: Array,
    ratio: Array,
    good: Array,
) -> None:
    """Set the ratios of the difference of two groups, and which are good; others are 0."""
    for y in range(gain.shape[0]):
        samples, flags = (data[0, y], data[1, y]), (groupdq[0, y], groupdq[1, y])
        _set_row(*samples, *flags, centre[y], sigma[y], gain[y], masked[y], ratio[y], good[y])


@inner_view_kernel
def _set_row(
    before: Array,
    now: Array,
    old_flags: Array,
    flags: Array,
    centre: Array,
    sigma: Array,
    gain: Array,
    masked: Array,
    ratio: Array,
    good: Array,
) -> None:
    for x in range(gain.size):
        diff = now[x] * gain[x] - before[x] * gain[x]
        value = abs(diff - centre[x]) / sigma[x]
        lost = _is_invalid(old_flags[x]) | _is_invalid(flags[x])
        lost |= masked[x] | (flags[x] & np.uint8(FLAGGED) != 0)
        usable = (not lost) & (value <= LARGEST)  # not if NaN
        ratio[x] = value if usable else np.float32(0)
        good[x] = usable


def warm_kernels() -> None:
    """Compile the kernels."""
    data = np.ones((1, 2, 3, 3), np.float32)
    frame = Region((0, 3), (0, 3))
    find_emission(
        data, data.astype(np.uint8), np.zeros((3, 3), np.uint32), gain=data[0, 0],
        readnoise=data[0, 0], rules=EmissionRules(1.0, 2, np.ones((3, 3), bool), 1.0),
        region=frame, core=frame,
    )  # fmt: skip
