"""Ramps with flags, one by one: their segments, and the segments' slopes and variances.

This is the general path of the ramp fit; ramps without flags are fitted many at once by
`_ramp_fit_clean`. Source: stcal 1.20 ``ramp_fitting`` (``slope_fitter.c``), whose arithmetic is in
float64, as here.

Functions called for each ramp take few arguments: every array among them is seven numbers or more
to hand over, which would take longer than the arithmetic.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.jit import inner_kernel
from calbatch.calibrate.steps._ramp_fit_plan import Plan, packed
from calbatch.models import dq

# Flags of samples, which are those of pixels too; numba takes them as they are now.
DO_NOT_USE = dq.DO_NOT_USE
SATURATED = dq.SATURATED
JUMP_DET = dq.JUMP_DET
PERSISTENCE = dq.PERSISTENCE
CHARGELOSS = dq.CHARGELOSS
UNUSABLE = DO_NOT_USE | SATURATED
BAD_GAIN = DO_NOT_USE | dq.NO_GAIN_VALUE

LARGE_VARIANCE = 1.0e6
"""Variances from here on are given as 0: such a segment says nothing about the rate."""

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

_packed = inner_kernel(packed)


class Block(NamedTuple):
    """Flagged ramps of a stretch of pixels in one integration, each in a row of its own.

    Attributes
    ----------
    where : ndarray of intp, (ramps,)
        The pixels' places in the stretch.
    ramps : ndarray of float32, (ramps, groups)
        Samples of the groups kept, DN; NaN where saturated.
    flags : ndarray of uint8, (ramps, groups)
        Their flags.
    seen : ndarray of uint8, (ramps,)
        All flags of any group.
    added : ndarray of uint32, (ramps,)
        What they add to the integration's flags, partial saturation apart.
    alone : ndarray of uint8, (ramps,)
        Whether the first group is the one good one, which is timed from the reset.
    differences : ndarray of float64, (groups,)
        Scratch.
    starts, stops : ndarray of intp, (groups + 1,)
        Scratch: one ramp's segments.
    """

    where: Places
    ramps: Singles
    flags: Flags
    seen: Flags
    added: npt.NDArray[np.uint32]
    alone: Flags
    differences: Floats
    starts: Places
    stops: Places


def make_block(ramps: int, plan: Plan) -> Block:
    """Return work space for as many ramps."""
    size = plan.stop - plan.start
    return Block(
        where=np.empty(ramps, np.intp),
        ramps=np.empty((ramps, size), np.float32),
        flags=np.empty((ramps, size), np.uint8),
        seen=np.empty(ramps, np.uint8),
        added=np.empty(ramps, np.uint32),
        alone=np.empty(ramps, np.uint8),
        differences=np.empty(size),
        starts=np.empty(size + 1, np.intp),
        stops=np.empty(size + 1, np.intp),
    )


class Pixel(NamedTuple):
    """What a pixel's segments share.

    Attributes
    ----------
    gain : float
        Electrons a DN.
    noise : float
        Read noise of one group, in electrons.
    current : float
        Rate that makes the Poisson noise: starting rate and average dark current, DN/s.
    """

    gain: float
    noise: float
    current: float


@inner_kernel
def group_noise(readnoise: float, gain: float, plan: Plan) -> float:
    """Return the read noise of one group in electrons, from that of a difference of frames in DN.

    jwst keeps it as float32.
    """
    return np.float64(np.float32(readnoise * (np.float64(gain) / plan.frames_root)))


# -- reading -----------------------------------------------------------------------------------


@inner_kernel
def gather(
    samples: Singles, groupdq: Flags, low: int, odd: Flags, plan: Plan, block: Block
) -> int:
    """Copy the ramps where ``odd`` is not 0 into ``block``.

    Parameters
    ----------
    samples, groupdq : ndarray, (groups, pixels)
        One integration.
    low : int
        Where the stretch begins.
    odd : ndarray of uint8, (stretch,)
        Which of its ramps to take.

    Returns
    -------
    int
        How many there are.
    """
    count = 0
    for c in range(odd.size):
        block.where[count] = c
        count += odd[c] != 0
    for group in range(plan.start, plan.stop):
        outside = group < plan.first or group >= plan.last
        added = np.uint8(DO_NOT_USE) if outside else np.uint8(0)
        k = group - plan.start
        for j in range(count):
            at = low + block.where[j]
            block.flags[j, k] = groupdq[group, at] | added
            block.ramps[j, k] = samples[group, at]
    _judge(count, plan, block)
    return count


@inner_kernel
def _judge(count: int, plan: Plan, block: Block) -> None:
    """Apply the rules that change a ramp's flags, and sum them up."""
    size = plan.stop - plan.start
    flags = block.flags
    for j in range(count):
        good = 0
        for k in range(size):
            good += (flags[j, k] & ~PERSISTENCE) == 0
        if plan.suppress and good == 1:
            for k in range(size):
                flags[j, k] |= np.uint8(DO_NOT_USE)
        if plan.start > 0:  # nothing is kept that the first group could have jumped from
            flags[j, 0] &= np.uint8(~JUMP_DET & 0xFF)
        seen, clear, unusable, saturated = 0, 0, 0, 0
        for k in range(size):
            flag = np.int64(flags[j, k])
            seen |= flag
            clear += flag == 0
            unusable += (flag & UNUSABLE) != 0
            saturated += (flag & SATURATED) != 0
            if flag & SATURATED:
                block.ramps[j, k] = np.float32(math.nan)
        added = seen & (JUMP_DET | PERSISTENCE)
        if flags[j, 0] & SATURATED or saturated == size:
            added |= DO_NOT_USE | SATURATED
        elif unusable == size:
            added |= DO_NOT_USE
        block.seen[j], block.added[j] = seen, added
        block.alone[j] = not plan.suppress and clear == 1 and flags[j, 0] == 0


# -- starting rates ----------------------------------------------------------------------------


@inner_kernel
def starting_rate(
    ramps: Singles, flags: Flags, j: int, alone: int, plan_times: tuple[float, float],
    differences: Floats,
) -> float:
    """Return the median of a ramp's differences, in DN/s.

    A ramp without a usable difference has its first sample in place of one, and 0 if that is not
    usable either; an exposure of one group knows only first samples, usable or not.
    """
    group_time, one_group_time = plan_times
    size = ramps.shape[1]
    first = np.float64(ramps[j, 0])
    if size == 1:
        return first / one_group_time
    if alone:
        return 0.0 if math.isnan(first) else first / one_group_time
    count = 0
    before, bad = first, (flags[j, 0] & DO_NOT_USE) != 0
    for k in range(1, size):
        sample, flag = np.float64(ramps[j, k]), flags[j, k]
        step = sample - before
        differences[count] = step
        count += not (bad or (flag & (JUMP_DET | DO_NOT_USE)) != 0 or math.isnan(step))
        before, bad = sample, (flag & DO_NOT_USE) != 0
    if count == 0:
        start = math.nan if flags[j, 0] & DO_NOT_USE else first
    else:
        start = _median(differences, count)
    return 0.0 if math.isnan(start) else start / group_time


@inner_kernel
def _median(values: Floats, count: int) -> float:
    """Return the median of the first ``count`` values, which are reordered."""
    middle = count // 2
    low, high = 0, count - 1
    while low < high:  # quickselect: after it, values below the middle place are not larger
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            break
    upper = values[middle]
    if count % 2 == 1:
        return upper
    lower = values[0]
    for k in range(1, middle):
        lower = max(lower, values[k])
    return (lower + upper) / 2.0


# -- segments ----------------------------------------------------------------------------------


@inner_kernel
def find_segments(flags: Flags, j: int, starts: Places, stops: Places) -> tuple[int, int]:
    """Find runs of good groups, each with a jump that comes just before it.

    Returns
    -------
    count, longest : int
        How many were put into ``starts`` and ``stops``, and the groups of the longest.
    """
    size = flags.shape[1]
    count, longest, start = 0, 0, -1
    before = 0
    for k in range(size):
        flag = flags[j, k] & ~PERSISTENCE
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


@inner_kernel
def split(flags: Flags, j: int, starts: Places, stops: Places) -> int:
    """Find the ramp's segments.

    Segments of one group count only if there are no longer ones, and then only the first of them.

    Returns
    -------
    int
        How many segments were put into ``starts`` and ``stops``.
    """
    count, longest = find_segments(flags, j, starts, stops)
    if longest < 2:
        return min(count, 1)
    kept = 0
    for k in range(count):
        if stops[k] - starts[k] > 1:
            starts[kept], stops[kept] = starts[k], stops[k]
            kept += 1
    return kept


@inner_kernel
def noise_class(rise: float, gain: float, noise: float) -> int:
    """Return the class of signal to noise of a segment whose data rise by ``rise`` DN.

    A rise that is not finite is of the highest class.
    """
    variance = noise * noise + rise * gain
    low = variance <= 0.0 or gain == 0.0
    ratio = 0.0 if low else rise * gain / math.sqrt(variance)
    below = (ratio < 5.0) + (ratio < 10.0) + (ratio < 20.0) + (ratio < 50.0) + (ratio < 100.0)
    return 5 - below


@inner_kernel
def segment_slope(
    ramps: Singles, j: int, span: tuple[int, int], time: float, pixel: Pixel, estimators: Floats
) -> float:
    """Return the slope of a segment, in DN/s; ``time`` is that of one group."""
    start, stop = span
    length = stop - start
    first, last = np.float64(ramps[j, start]), np.float64(ramps[j, stop - 1])
    if length == 1:
        return first / time
    if length == 2:
        return (last - first) / time
    row = noise_class(last - first, pixel.gain, pixel.noise)
    offset = _packed(length)
    slope = 0.0
    for k in range(length // 2):
        step = np.float64(ramps[j, stop - 1 - k]) - np.float64(ramps[j, start + k])
        slope += estimators[row, offset + k] * step
    if not math.isfinite(slope):
        slope = _spoiled_slope(ramps, j, span, row, estimators)
    unfit = pixel.noise == 0.0 or not math.isfinite(pixel.noise)
    return math.nan if unfit or math.isinf(ramps[j, start + length // 2]) else slope / time


@inner_kernel
def _spoiled_slope(
    ramps: Singles, j: int, span: tuple[int, int], row: int, estimators: Floats
) -> float:
    """Return the slope of a segment with NaN samples, which count as 0; per group.

    With infinite samples there is none.
    """
    start, stop = span
    offset = _packed(stop - start)
    slope = 0.0
    for k in range((stop - start) // 2):
        low, high = np.float64(ramps[j, start + k]), np.float64(ramps[j, stop - 1 - k])
        if math.isinf(low) or math.isinf(high):
            return math.nan
        low = 0.0 if math.isnan(low) else low
        high = 0.0 if math.isnan(high) else high
        slope += estimators[row, offset + k] * (high - low)
    return slope


@inner_kernel
def read_variance(length: int, time: float, pixel: Pixel) -> float:
    """Return the read-noise variance of the slope of a segment; ``time`` is one group's."""
    if length > 2 and not pixel.gain > 0.0:
        return 0.0
    n = float(max(length, 2))
    ratio = pixel.noise / time
    return 12.0 * ratio * ratio / ((n * n * n - n) * pixel.gain * pixel.gain)


@inner_kernel
def poisson_variance(length: int, time: float, pixel: Pixel) -> float:
    """Return the Poisson variance of the slope of a segment; ``time`` is one group's."""
    return pixel.current / (time * pixel.gain * float(max(length - 1, 1)))


@inner_kernel
def capped(variance: float) -> float:
    """Return a variance, or 0 for one so large that it says nothing."""
    return 0.0 if variance >= LARGE_VARIANCE else variance
