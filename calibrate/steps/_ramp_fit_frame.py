"""The ramp fit over a tile's pixels: starting rates, integrations, and the exposure's mean rate.

Pixels are taken in short stretches, whose samples stay in the processor's cache from one pass to
the next. Source: stcal 1.20 ``ramp_fitting`` (``slope_fitter.c``).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.jit import inner_kernel, kernel
from calbatch.calibrate.steps._ramp_fit_clean import (
    Whole,
    add_starting_rates,
    fit_whole,
    merge_flags,
    whole_ramp,
)
from calbatch.calibrate.steps._ramp_fit_plan import Plan
from calbatch.calibrate.steps._ramp_fit_ramp import (
    BAD_GAIN,
    CHARGELOSS,
    DO_NOT_USE,
    JUMP_DET,
    LARGE_VARIANCE,
    PERSISTENCE,
    SATURATED,
    UNUSABLE,
    Block,
    Pixel,
    capped,
    gather,
    group_noise,
    make_block,
    poisson_variance,
    read_variance,
    segment_slope,
    split,
    starting_rate,
)

STRETCH = 8192
"""Samples of an integration taken at a time: what fits into the processor's inner caches."""

Array = npt.NDArray[np.float64]


class Exposure(NamedTuple):
    """A tile's arrays, its rows and columns as one axis of pixels.

    Attributes
    ----------
    data : ndarray of float32, (integrations, groups, pixels)
        Ramps, DN.
    groupdq : ndarray of uint8, (integrations, groups, pixels)
        Flags of samples.
    pixeldq : ndarray of uint32, (pixels,)
        Flags of pixels.
    gain : ndarray of float32, (pixels,)
        Electrons a DN.
    readnoise : ndarray of float32, (pixels,)
        Noise of the difference of two frames, DN.
    dark : ndarray of float32, (pixels,)
        Average dark current, DN/s.
    """

    data: npt.NDArray[np.float32]
    groupdq: npt.NDArray[np.uint8]
    pixeldq: npt.NDArray[np.uint32]
    gain: npt.NDArray[np.float32]
    readnoise: npt.NDArray[np.float32]
    dark: npt.NDArray[np.float32]


class Rates(NamedTuple):
    """Arrays to fill: (pixels,) for the exposure, (integrations, pixels) for its integrations."""

    data: npt.NDArray[np.float32]
    err: npt.NDArray[np.float32]
    dq: npt.NDArray[np.uint32]
    var_poisson: npt.NDArray[np.float32]
    var_rnoise: npt.NDArray[np.float32]


class Sums(NamedTuple):
    """What a pixel's integrations add up to.

    Attributes
    ----------
    slope, read, poisson : ndarray of float64
        Sum of slopes over read variances, of inverse read and of inverse Poisson variances.
    uncharged : ndarray of float64
        Sum of inverse read variances with the groups that charge loss took put back.
    charged : ndarray of uint8
        Whether charge loss took any group.
    whole : ndarray of float64
        How many integrations were whole ramps; they are not in the other sums but ``slope``.
    any_flag, every_flag : ndarray of uint32
        Flags of any other integration that pass to the rate; flags that all of them have.
    partial : ndarray of uint8
        Whether any group was saturated.
    """

    slope: Array
    read: Array
    poisson: Array
    uncharged: Array
    whole: Array
    charged: npt.NDArray[np.uint8]
    any_flag: npt.NDArray[np.uint32]
    every_flag: npt.NDArray[np.uint32]
    partial: npt.NDArray[np.uint8]


class Stretch(NamedTuple):
    """Work space for a stretch of pixels; all arrays are (pixels,) but those said to be longer.

    Attributes
    ----------
    noise : ndarray of float64
        Read noise, electrons.
    dq : ndarray of uint32
        The pixels' flags, those of their gain included.
    valid : ndarray of uint8
        Whether those flags allow a rate.
    unfit : ndarray of uint8
        Whether the pixel must go the general path, flagged or not.
    odd : ndarray of uint8, (integrations, pixels)
        Not 0 where a ramp goes the general path.
    current : ndarray of float64
        Starting rate, then what makes the Poisson noise, DN/s.
    slope : ndarray of float64
        Slopes of whole ramps, DN/s.
    differences : ndarray of float32, (groups - 1, pixels)
        Sorted for their median.
    """

    noise: Array
    dq: npt.NDArray[np.uint32]
    valid: npt.NDArray[np.uint8]
    unfit: npt.NDArray[np.uint8]
    odd: npt.NDArray[np.uint8]
    current: Array
    slope: Array
    spoiled: npt.NDArray[np.float32]
    classes: npt.NDArray[np.uint8]
    differences: npt.NDArray[np.float32]
    whole: Whole
    sums: Sums
    block: Block


def make_stretch(pixels: int, integrations: int, plan: Plan) -> Stretch:
    """Return work space for stretches of a tile of ``pixels`` pixels."""
    size = min(max(STRETCH // (plan.stop - plan.start), 64), 512, pixels)

    def empty(dtype: type, *leading: int) -> Any:
        return np.empty((*leading, size), dtype)

    return Stretch(
        noise=empty(np.float64),
        dq=empty(np.uint32),
        valid=empty(np.uint8),
        unfit=empty(np.uint8),
        odd=empty(np.uint8, integrations),
        current=empty(np.float64),
        slope=empty(np.float64),
        spoiled=empty(np.float32),
        classes=empty(np.uint8),
        differences=empty(np.float32, max(plan.last - plan.first - 1, 1)),
        whole=Whole(*empty(np.float64, 3), *empty(np.float32, 3)),
        sums=Sums(*empty(np.float64, 5), empty(np.uint8), *empty(np.uint32, 2), empty(np.uint8)),
        block=make_block(size + 1, plan),
    )


@kernel
def fit_pixels(
    exposure: Exposure, plan: Plan, rate: Rates, rateints: Rates, work: Stretch
) -> None:
    """Fit the ramps of all pixels.

    Parameters
    ----------
    exposure : Exposure
        The ramps and what is known of their pixels.
    plan : Plan
        What all fits share.
    rate, rateints : Rates
        To fill: the mean over integrations, and each integration.
    work : Stretch
        See `make_stretch`.
    """
    size = work.noise.size
    integrations, _, pixels = exposure.data.shape
    for start in range(0, pixels, size):
        low = min(start, pixels - size)  # the last stretch may do some of the one before again
        gain = exposure.gain[low : low + size]
        _prepare(exposure, low, plan, work)
        count = 0
        for integ in range(integrations):
            count = _add_rates(exposure, integ, low, plan, work)
        set_currents(work.current, exposure.dark[low : low + size], integrations)
        whole_ramp(gain, work.noise, work.current, work.valid, plan, work.whole)
        for integ in range(integrations):
            ramps = exposure.data[integ]
            if plan.last - plan.first > 1:
                fit_whole(ramps, low, gain, work.noise, plan, work.classes, work.slope)
                _give_whole(work, integ, low, rateints)
            if integrations > 1:
                odd = work.odd[integ]
                count = gather(ramps, exposure.groupdq[integ], low, odd, plan, work.block)
            _fit_odd(exposure, integ, low, count, plan, work, rateints)
        _combine(work, low, rate)


@inner_kernel
def _prepare(exposure: Exposure, low: int, plan: Plan, work: Stretch) -> None:
    """Set a stretch's flags and start its sums."""
    size = work.noise.size
    few = plan.last - plan.first < 2
    for c in range(size):
        noise = group_noise(exposure.readnoise[low + c], exposure.gain[low + c], plan)
        work.noise[c] = noise
        work.unfit[c] = np.uint8(few or not (noise > 0.0 and noise < math.inf))
    for c in range(size):
        flags = exposure.pixeldq[low + c]
        bad = np.uint32(0) if exposure.gain[low + c] > 0.0 else np.uint32(BAD_GAIN)
        work.dq[c] = flags | bad
    for c in range(size):
        work.valid[c] = np.uint8((work.dq[c] & np.uint32(UNUSABLE)) == 0)
    sums = work.sums
    for c in range(size):
        sums.slope[c], sums.read[c], sums.poisson[c] = 0.0, 0.0, 0.0
    for c in range(size):
        sums.uncharged[c], sums.whole[c], work.current[c] = 0.0, exposure.data.shape[0], 0.0
    for c in range(size):
        sums.charged[c], sums.partial[c] = 0, 0
        sums.any_flag[c], sums.every_flag[c] = 0, UNUSABLE


@inner_kernel
def _add_rates(exposure: Exposure, integ: int, low: int, plan: Plan, work: Stretch) -> int:
    """Find which of an integration's ramps are odd, add all starting rates, and count the odd."""
    odd = work.odd[integ]
    for c in range(odd.size):
        odd[c] = work.unfit[c]
    high = low + odd.size
    for group in range(plan.start, plan.stop):
        merge_flags(exposure.groupdq[integ, group, low:high], odd)
    if plan.last - plan.first > 1:
        add_starting_rates(
            exposure.data[integ], low, plan, work.differences, work.spoiled, odd, work.current
        )
    return add_odd_rates(exposure, integ, low, odd, plan, work.current, work.block)


@inner_kernel
def add_odd_rates(
    exposure: Exposure, integ: int, low: int, odd: npt.NDArray[np.uint8], plan: Plan,
    total: Array, block: Block,
) -> int:
    """Add the starting rates of an integration's odd ramps, DN/s, and return how many there are.

    They are in ``block`` then.
    """
    times = plan.group_time, plan.one_group_time
    count = gather(exposure.data[integ], exposure.groupdq[integ], low, odd, plan, block)
    for j in range(count):
        total[block.where[j]] += starting_rate(
            block.ramps, block.flags, j, block.alone[j], times, block.differences
        )
    return count


@inner_kernel
def set_currents(
    current: Array, dark: npt.NDArray[np.float32], integrations: int
) -> None:
    """Turn sums of starting rates into what makes the Poisson noise."""
    for c in range(current.size):
        mean = current[c] / integrations
        current[c] = (mean if mean > 0.0 else 0.0) + np.float64(dark[c])


@inner_kernel
def _give_whole(work: Stretch, integ: int, low: int, given: Rates) -> None:
    """Give an integration its whole ramps' rates, and add them to the sums."""
    whole, total, odd = work.whole, work.sums.slope, work.odd[integ]
    for c in range(odd.size):
        given.data[integ, low + c] = work.slope[c] * whole.scale[c]
    for c in range(odd.size):
        part = work.slope[c] * whole.read[c]
        total[c] += part if odd[c] == 0 else 0.0
    for c in range(odd.size):
        given.err[integ, low + c] = whole.err[c]
        given.var_poisson[integ, low + c] = whole.var_poisson[c]
    for c in range(odd.size):
        given.dq[integ, low + c] = work.dq[c]
        given.var_rnoise[integ, low + c] = whole.var_read[c]


@inner_kernel
def _fit_odd(
    exposure: Exposure, integ: int, low: int, count: int, plan: Plan, work: Stretch, given: Rates
) -> None:
    """Fit the ramps in ``work.block`` by segments, give their rates, and add to the sums."""
    block, sums = work.block, work.sums
    for j in range(count):
        c = block.where[j]
        at = low + c
        pixel = Pixel(np.float64(exposure.gain[at]), work.noise[c], work.current[c])
        time = plan.one_group_time if block.alone[j] else plan.group_time
        segments = 0
        if not block.flags[j, 0] & SATURATED:
            segments = split(block.flags, j, block.starts, block.stops)
        slope, read, poisson, both = _sum_segments(
            block.ramps, j, segments, block.starts, block.stops, (time, plan.group_time), pixel,
            plan.estimators,
        )
        dq = work.dq[c] | block.added[j]
        seen = block.seen[j]
        sums.whole[c] -= 1.0
        sums.slope[c] += slope
        sums.read[c] += read
        sums.poisson[c] += poisson
        sums.any_flag[c] |= np.uint32(seen & (JUMP_DET | PERSISTENCE))
        sums.every_flag[c] &= dq
        sums.partial[c] |= seen & np.uint8(SATURATED)
        usable = (dq & UNUSABLE) == 0
        var_read, var_poisson, err = 0.0, 0.0, 0.0
        if usable and segments > 0:
            var_read = capped(1.0 / read)
            var_poisson = capped(1.0 / poisson) if poisson > 0.0 else 0.0
            variance = 1.0 / both
            err = 0.0 if variance > LARGE_VARIANCE else math.sqrt(variance)
            slope *= var_read
        given.data[integ, at] = slope if usable else math.nan
        given.err[integ, at] = err
        given.dq[integ, at] = dq | (seen & SATURATED)
        given.var_poisson[integ, at] = var_poisson
        inverse = 1.0 / var_read if var_read > 0.0 else 0.0
        if seen & CHARGELOSS:
            sums.charged[c] = 1
            inverse = _uncharged_read(exposure.groupdq[integ], at, j, time, pixel, plan, block)
            var_read = capped(1.0 / inverse)
        sums.uncharged[c] += inverse
        given.var_rnoise[integ, at] = var_read


@inner_kernel
def _sum_segments(
    ramps: npt.NDArray[np.float32], j: int, count: int, starts: npt.NDArray[np.intp],
    stops: npt.NDArray[np.intp], times: tuple[float, float], pixel: Pixel, estimators: Array,
) -> tuple[float, float, float, float]:
    """Return sums over segments: slope over read variance; inverse read, Poisson, both variances.

    ``times`` are a group's, in a segment of one group and in a longer one.
    """
    slopes, read, poisson, both = 0.0, 0.0, 0.0, 0.0
    time = times[0] if count == 1 and stops[0] - starts[0] == 1 else times[1]
    # Of two groups; a longer segment's are smaller by factors of its length alone.
    var_read, var_poisson = read_variance(2, time, pixel), poisson_variance(2, time, pixel)
    heard, seen = 1.0 / var_read, 1.0 / var_poisson
    for k in range(count):
        span = starts[k], stops[k]
        n = float(max(span[1] - span[0], 2))
        cubic, steps = (n * n * n - n) / 6.0, n - 1.0
        slope = segment_slope(ramps, j, span, time, pixel, estimators)
        slopes += slope * (cubic * heard)
        read += cubic * heard
        both += cubic * steps / (var_poisson * cubic + var_read * steps)
        if var_poisson > 0.0:
            poisson += steps * seen
    return slopes, read, poisson, both


@inner_kernel
def _uncharged_read(
    groupdq: npt.NDArray[np.uint8], at: int, j: int, one_group_time: float, pixel: Pixel,
    plan: Plan, block: Block,
) -> float:
    """Return the inverse read variance with the groups that charge loss took put back.

    Charge loss biases the slope, not the read noise: jwst gives the variance of the ramp without.
    """
    flags = block.flags
    for group in range(plan.start, plan.stop):
        flag = groupdq[group, at]
        if group < plan.first or group >= plan.last:
            flag |= np.uint8(DO_NOT_USE)
        if flag & CHARGELOSS:
            flag ^= np.uint8(CHARGELOSS | DO_NOT_USE)
        flags[j, group - plan.start] = flag
    inverse = 0.0
    for k in range(split(flags, j, block.starts, block.stops)):
        length = block.stops[k] - block.starts[k]
        time = one_group_time if length == 1 else plan.group_time
        variance = read_variance(length, time, pixel)
        if variance > 0.0:
            inverse += 1.0 / variance
    return inverse


@inner_kernel
def _combine(work: Stretch, low: int, given: Rates) -> None:
    """Give the mean rates over integrations."""
    sums, whole = work.sums, work.whole
    _add_whole(sums.read, whole.read, sums.whole)
    _add_whole(sums.poisson, whole.poisson, sums.whole)
    for c in range(work.dq.size):
        every = sums.every_flag[c] if sums.whole[c] == 0.0 else np.uint32(0)
        flags = work.dq[c] | sums.any_flag[c] | every
        given.dq[low + c] = flags | (np.uint32(SATURATED) if sums.partial[c] != 0 else np.uint32(0))
        work.valid[c] = np.uint8((flags & np.uint32(UNUSABLE)) == 0)
    _invert(sums.read, work.valid)
    _invert(sums.poisson, work.valid)
    for c in range(work.dq.size):
        given.var_rnoise[low + c] = sums.read[c]
        given.var_poisson[low + c] = sums.poisson[c]
    for c in range(work.dq.size):
        given.err[low + c] = math.sqrt(sums.read[c] + sums.poisson[c])
    for c in range(work.dq.size):
        slope = sums.slope[c] * sums.read[c]
        given.data[low + c] = slope if work.valid[c] != 0 else math.nan
    for c in range(work.dq.size):
        if sums.charged[c] != 0:
            charged = sums.uncharged[c]
            heard = whole.var_read[c] > 0.0 and sums.whole[c] > 0.0
            charged += sums.whole[c] * whole.read[c] if heard else 0.0
            if charged > 0.0:
                given.var_rnoise[low + c] = capped(1.0 / charged)


@inner_kernel
def _add_whole(sums: Array, each: Array, count: Array) -> None:
    for c in range(sums.size):
        part = each[c] * count[c]
        sums[c] += part if count[c] > 0.0 else 0.0


@inner_kernel
def _invert(sums: Array, valid: npt.NDArray[np.uint8]) -> None:
    """Turn sums of inverse variances into variances."""
    for c in range(sums.size):
        variance = 1.0 / sums[c] if sums[c] > 0.0 else sums[c]
        heard = valid[c] != 0 and not variance >= LARGE_VARIANCE
        sums[c] = variance if heard else 0.0
