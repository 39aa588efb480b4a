"""Segments of a ramp between its flagged groups: their slopes and variances.

Equations are numbered in docs/steps/ramp_fit.md. Source: stcal 1.20 ``ramp_fitting``
(``slope_fitter.c``), which also computes in float64.
"""

import math
from typing import NamedTuple

import numpy as np

from calbatch.calibrate.steps.ramp_fit.block import (
    JUMP_DET,
    PERSISTENCE,
    Flags,
    Floats,
    Places,
    Singles,
)
from calbatch.calibrate.steps.ramp_fit.plan import Plan, table_offset
from calbatch.models.jit import inner_view_kernel

LARGE_VARIANCE = 1.0e6
"""Variances of at least this size are set to 0: they carry no information about the rate."""

_table_offset = inner_view_kernel(table_offset)


class Pixel(NamedTuple):
    """Properties shared by the segments of a pixel.

    Attributes
    ----------
    gain : float
        Gain, electron/DN.
    noise : float
        Read noise R of one group, in electrons.
    current : float
        Rate of the Poisson noise: starting rate plus average dark current, DN/s.
    """

    gain: float
    noise: float
    current: float


@inner_view_kernel
def group_noise(readnoise: float, gain: float, plan: Plan) -> float:
    """Return the read noise of one group (electron) from that of a difference of frames (DN).

    ``R = readnoise * gain / sqrt(2 * nframes)`` (F4), rounded to float32 as in jwst.
    """
    return np.float64(np.float32(readnoise * (np.float64(gain) / plan.frames_root)))


@inner_view_kernel
def find_segments(flags: Flags, j: int, starts: Places, stops: Places) -> tuple[int, int]:
    """Find runs of good groups, each including a jump just before it.

    Returns
    -------
    count, longest : int
        Number of segments written to ``starts`` and ``stops``, and length of the longest.
    """
    size = flags.shape[0]
    count, longest, start = 0, 0, -1
    before = 0
    for k in range(size):
        flag = flags[k, j] & ~PERSISTENCE
        if flag == 0:
            if start < 0:
                start = k - 1 if before == JUMP_DET else k
        elif start >= 0:
            starts[count], stops[count] = start, k
            count += 1
            longest = max(longest, k - start)
            start = -1
        before = flag
    if start >= 0:
        starts[count], stops[count] = start, size
        count += 1
        longest = max(longest, size - start)
    return count, longest


@inner_view_kernel
def split_ramp(flags: Flags, j: int, starts: Places, stops: Places) -> int:
    """Find the segments of a ramp.

    Segments of one group count only if there are no longer ones, and then only the first.

    Returns
    -------
    int
        Number of segments written to ``starts`` and ``stops``.
    """
    count, longest = find_segments(flags, j, starts, stops)
    if longest < 2:
        return min(count, 1)
    longer = 0
    for k in range(count):
        if stops[k] - starts[k] > 1:
            starts[longer], stops[longer] = starts[k], stops[k]
            longer += 1
    return longer


@inner_view_kernel
def find_ratio(rise: float, gain: float, noise: float) -> float:
    """Return the signal-to-noise ratio of a segment that rises by ``rise`` DN.

    It is ``S / sqrt(R**2 + S)`` with ``S = rise * gain`` (F3; Fixsen et al. 2000), or 0 if the
    variance ``R**2 + S`` is not positive. An infinite signal gives NaN.
    """
    variance = noise * noise + rise * gain
    low = variance <= 0.0 or gain == 0.0
    return 0.0 if low else rise * gain / math.sqrt(variance)


@inner_view_kernel
def noise_class(ratio: float) -> int:
    """Return the class of a signal-to-noise ratio; that of NaN is the highest."""
    below = (ratio < 5.0) + (ratio < 10.0) + (ratio < 20.0) + (ratio < 50.0) + (ratio < 100.0)
    return 5 - below


@inner_view_kernel
def segment_slope(
    ramps: Singles, j: int, span: tuple[int, int], time: float, pixel: Pixel, estimators: Floats
) -> float:
    """Return the slope of a segment (DN/s); ``time`` is that of one group.

    ``slope = sum(c[k] * (y[n - 1 - k] - y[k])) / time`` over pairs of groups: equation (F2), with
    the coefficients c of `slope_estimators`.
    """
    start, stop = span
    length = stop - start
    first, last = np.float64(ramps[start, j]), np.float64(ramps[stop - 1, j])
    if length == 1:
        return first / time
    if length == 2:
        return (last - first) / time
    row = noise_class(find_ratio(last - first, pixel.gain, pixel.noise))
    offset = _table_offset(length)
    slope = 0.0
    for k in range(length // 2):
        step = np.float64(ramps[stop - 1 - k, j]) - np.float64(ramps[start + k, j])
        slope += estimators[row, offset + k] * step
    if not math.isfinite(slope):
        slope = _slope_without_nan(ramps, j, span, row, estimators)
    unfit = pixel.noise == 0.0 or not math.isfinite(pixel.noise)
    return math.nan if unfit or math.isinf(ramps[start + length // 2, j]) else slope / time


@inner_view_kernel
def _slope_without_nan(
    ramps: Singles, j: int, span: tuple[int, int], row: int, estimators: Floats
) -> float:
    """Return the slope per group of a segment with NaN samples, which count as 0.

    With infinite samples the slope is NaN.
    """
    start, stop = span
    offset = _table_offset(stop - start)
    slope = 0.0
    for k in range((stop - start) // 2):
        low, high = np.float64(ramps[start + k, j]), np.float64(ramps[stop - 1 - k, j])
        if math.isinf(low) or math.isinf(high):
            return math.nan
        step = (0.0 if math.isnan(high) else high) - (0.0 if math.isnan(low) else low)
        slope += estimators[row, offset + k] * step
    return slope


@inner_view_kernel
def read_variance(length: int, time: float, pixel: Pixel) -> float:
    """Return the read-noise variance of a segment's slope; ``time`` is that of one group.

    ``var^R = 12 * R**2 / ((n**3 - n) * tgroup**2 * gain**2)`` (F7)
    """
    if length > 2 and not pixel.gain > 0.0:
        return 0.0
    n = float(max(length, 2))
    ratio = pixel.noise / time
    return 12.0 * ratio * ratio / ((n * n * n - n) * pixel.gain * pixel.gain)


@inner_view_kernel
def poisson_variance(length: int, time: float, pixel: Pixel) -> float:
    """Return the Poisson variance of a segment's slope; ``time`` is that of one group.

    ``var^P = current / (tgroup * gain * (n - 1))`` (F6)
    """
    return pixel.current / (time * pixel.gain * float(max(length - 1, 1)))


@inner_view_kernel
def zero_if_large(variance: float) -> float:
    """Return a variance, or 0 if it is at least `LARGE_VARIANCE`."""
    return 0.0 if variance >= LARGE_VARIANCE else variance
