"""Differences of the groups of ramps, as the likelihood fit uses them, and the flags of ramps.

Source: stcal 1.20 ``ramp_fitting.likely_fit``.
"""

import math

import numpy as np

from calbatch.calibrate.steps._medians import median_of
from calbatch.calibrate.steps.ramp_fit.block import (
    DO_NOT_USE,
    JUMP_DET,
    SATURATED,
    UNUSABLE,
    Flags,
    Floats,
    Words,
)
from calbatch.calibrate.steps.ramp_fit.covariance import Covariance
from calbatch.calibrate.steps.ramp_fit.work import Exposure
from calbatch.models.jit import inner_kernel, kernel


@kernel
def read_differences(
    exposure: Exposure,
    integ: int,
    span: tuple[int, int],
    nframes: int,
    cov: Covariance,
    d: Floats,
    use: Floats,
    median: Floats,
) -> None:
    """Fill in the differences of ramps (DN/s), their medians, and 1 for differences to use, else 0.

    A zero frame precedes the groups. It has the flags of the first group, from whose average it is
    removed: ``first = (average * nframes - zero) / (nframes - 1)``. Differences are used if neither
    group has a flag. The median is NaN if any of these is.

    Parameters
    ----------
    span : tuple of int
        The half-open range of pixels.
    d, use : ndarray, (pixels, differences)
    median : ndarray, (pixels,)
    """
    samples, flags, n = exposure.data[integ], exposure.groupdq[integ], cov.intervals.size
    ordered = np.empty(n)
    for row in range(span[1] - span[0]):
        at = span[0] + row
        k, before, good = 0, samples[0, at], flags[0, at] == 0
        if exposure.zero.shape[1] > 0:
            zero, count = exposure.zero[integ, at], np.float32(nframes)
            first = (before * count - zero) / np.float32(nframes - 1)
            d[row, 0] = np.float64(np.float32(first - zero)) / cov.intervals[0]
            use[row, 0] = 1.0 if good else 0.0
            k, before = 1, first
        for group in range(1, samples.shape[0]):
            sample, is_good = samples[group, at], flags[group, at] == 0
            d[row, k] = np.float64(np.float32(sample - before)) / cov.intervals[k]
            use[row, k] = 1.0 if good and is_good else 0.0
            k, before, good = k + 1, sample, is_good
        total = 0.0
        for i in range(n):
            ordered[i] = d[row, i]
            total += d[row, i]
        median[row] = total if math.isnan(total) else median_of(ordered, n)


@inner_kernel
def _flags_of_ramp(flags: Flags, at: int, searched: bool) -> np.uint32:
    """Return the flags that a ramp adds to those of its pixel."""
    seen, unusable = np.uint32(JUMP_DET if searched else 0), 0
    for group in range(flags.shape[0]):
        flag = np.uint32(flags[group, at])
        seen |= flag & np.uint32(JUMP_DET | SATURATED)
        unusable += (flag & UNUSABLE) != 0
    return seen | np.uint32(DO_NOT_USE if unusable == flags.shape[0] else 0)


@kernel
def combine_flags(
    exposure: Exposure, integ: int, low: int, before: Floats, use: Floats, dq: Words
) -> None:
    """Fill in the flags of ramps: those of the pixel, of the groups, and of omitted differences.

    Parameters
    ----------
    low : int
        The first pixel.
    before, use : ndarray, (pixels, differences)
        1 for the differences that were used before the search, and after it.
    """
    for row in range(dq.size):
        at, omitted = low + row, 0.0
        for i in range(use.shape[1]):
            omitted += before[row, i] - use[row, i]
        added = _flags_of_ramp(exposure.groupdq[integ], at, omitted > 0)
        dq[row] = exposure.pixeldq[at] | added
