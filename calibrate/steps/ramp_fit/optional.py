"""The optional results of the ramp fit: every segment's slope, intercept, variances and weight."""

import math
from typing import NamedTuple

import numpy as np

from calbatch.calibrate.steps.ramp_fit.block import (
    JUMP_DET,
    SATURATED,
    UNUSABLE,
    Flags,
    Singles,
    gather,
)
from calbatch.calibrate.steps.ramp_fit.frame import set_currents
from calbatch.calibrate.steps.ramp_fit.odd import add_odd_rates
from calbatch.calibrate.steps.ramp_fit.plan import POWERS, Plan
from calbatch.calibrate.steps.ramp_fit.segments import (
    Pixel,
    find_segments,
    group_noise,
    noise_class,
    poisson_variance,
    read_variance,
    segment_slope,
    split_ramp,
)
from calbatch.calibrate.steps.ramp_fit.work import Exposure, Stretch
from calbatch.models.jit import inner_kernel, kernel

_POWERS = np.array(POWERS, np.float32)


class Segments(NamedTuple):
    """Arrays to fill, zero before.

    Attributes
    ----------
    slope, sigslope, var_poisson, var_rnoise, yint, sigyint, weights : ndarray of float32
        (integrations, segments, pixels); sigslope and the intercepts are per group, not second.
    pedestal : ndarray of float32, (integrations, pixels)
        DN.
    crmag : ndarray of float32, (integrations, jumps, pixels)
        Size of the ramp's jumps, DN.
    """

    slope: Singles
    sigslope: Singles
    var_poisson: Singles
    var_rnoise: Singles
    yint: Singles
    sigyint: Singles
    weights: Singles
    pedestal: Singles
    crmag: Singles


@kernel
def count_planes(exposure: Exposure, plan: Plan, work: Stretch) -> tuple[int, int]:
    """Return the largest numbers of segments and of jumps that a ramp has.

    As in jwst, the segments of a ramp without two good groups in a row all count, though only the
    first is fitted.
    """
    integrations, _, pixels = exposure.data.shape
    block, size = work.block, work.noise.size
    segments, jumps = 0, 0
    for c in range(size):
        work.unfit[c] = 1
    for integ in range(integrations):
        samples, groupdq = exposure.data[integ], exposure.groupdq[integ]
        for start in range(0, pixels, size):
            gather(samples, groupdq, min(start, pixels - size), work.unfit, plan, block)
            for j in range(size):
                jumps = max(jumps, _count_jumps(block.flags, j))
                if not block.flags[j, 0] & SATURATED:
                    count, longest = find_segments(block.flags, j, block.starts, block.stops)
                    if longest > 1:
                        count = split_ramp(block.flags, j, block.starts, block.stops)
                    segments = max(segments, count)
    return segments, jumps


@inner_kernel
def _count_jumps(flags: Flags, j: int) -> int:
    jumps = 0
    for k in range(1, flags.shape[1]):
        jumps += (flags[j, k] & JUMP_DET) != 0
    return jumps


@kernel
def fit_segments(
    exposure: Exposure,
    plan: Plan,
    rateints: Singles,
    pedestal_factor: float,
    found: Segments,
    work: Stretch,
) -> None:
    """Fill ``found`` for all ramps; ``rateints`` are the integrations' rates as fitted."""
    integrations, _, pixels = exposure.data.shape
    size = work.noise.size
    for start in range(0, pixels, size):
        low = min(start, pixels - size)
        for c in range(size):
            work.unfit[c], work.current[c] = 1, 0.0
        for integ in range(integrations):
            add_odd_rates(exposure, integ, low, work.unfit, plan, work.current, work.block)
        set_currents(work.current, exposure.dark[low : low + size], integrations)
        for integ in range(integrations):
            samples, groupdq = exposure.data[integ], exposure.groupdq[integ]
            gather(samples, groupdq, low, work.unfit, plan, work.block)
            _fit_stretch_segments(exposure, integ, low, plan, found, work)
            _find_pedestals(exposure, integ, low, rateints, pedestal_factor, found, work)


@inner_kernel
def _find_pedestals(
    exposure: Exposure,
    integ: int,
    low: int,
    rateints: Singles,
    factor: float,
    found: Segments,
    work: Stretch,
) -> None:
    block = work.block
    for c in range(work.noise.size):
        at = low + c
        pedestal = np.float64(block.ramps[c, 0]) - np.float64(rateints[integ, at]) * factor
        flags = exposure.pixeldq[at] | block.added[c]
        given = (flags & UNUSABLE) == 0 and exposure.gain[at] > 0.0 and not math.isnan(pedestal)
        found.pedestal[integ, at] = pedestal if given else 0.0


@inner_kernel
def _fit_stretch_segments(
    exposure: Exposure, integ: int, low: int, plan: Plan, found: Segments, work: Stretch
) -> None:
    block = work.block
    ramps, flags = block.ramps, block.flags
    for c in range(work.noise.size):
        at = low + c
        noise = group_noise(exposure.readnoise[at], exposure.gain[at], plan)
        pixel = Pixel(np.float64(exposure.gain[at]), noise, work.current[c])
        jump = 0
        for k in range(1, ramps.shape[1]):
            if flags[c, k] & JUMP_DET:
                found.crmag[integ, jump, at] = np.float64(ramps[c, k]) - ramps[c, k - 1]
                jump += 1
        count = 0
        if not flags[c, 0] & SATURATED:
            count = split_ramp(flags, c, block.starts, block.stops)
        one_group_time = plan.one_group_time if block.alone[c] else plan.group_time
        for k in range(count):
            span = block.starts[k], block.stops[k]
            length = span[1] - span[0]
            time = one_group_time if length == 1 else plan.group_time
            var_read = read_variance(length, time, pixel)
            found.var_rnoise[integ, k, at] = var_read
            found.var_poisson[integ, k, at] = poisson_variance(length, time, pixel)
            found.weights[integ, k, at] = 1.0 / var_read
            found.slope[integ, k, at] = segment_slope(ramps, c, span, time, pixel, plan.estimators)
            sigslope, yint, sigyint = _intercept(ramps, c, span, pixel)
            found.sigslope[integ, k, at] = sigslope
            found.yint[integ, k, at] = yint
            found.sigyint[integ, k, at] = sigyint


@inner_kernel
def _intercept(
    ramps: Singles, j: int, span: tuple[int, int], pixel: Pixel
) -> tuple[float, float, float]:
    """Return a segment's error of the slope, its intercept at group 0, and that one's error."""
    start, stop = span
    if stop - start == 1:
        return 0.0, 0.0, 0.0
    first, last = np.float64(ramps[j, start]), np.float64(ramps[j, stop - 1])
    if stop - start == 2:
        error = math.sqrt(2.0) * pixel.noise
        return error, last * (1.0 - stop + 1.0) + first * (stop - 1.0), error
    power = _POWERS[noise_class(last - first, pixel.gain, pixel.noise)]
    middle = (stop - start - 1) / 2.0
    inverse = 1.0 / (pixel.noise * pixel.noise)
    w, wx, wxx, wy, wxy = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(stop - start):
        weight = np.float64(np.float32(abs((k - middle) / middle)) ** power) * inverse
        x, sample = float(start + k), np.float64(ramps[j, start + k])
        y = 0.0 if math.isnan(sample) else sample
        w += weight
        wx += weight * x
        wxx += weight * x * x
        wy += weight * y
        wxy += weight * x * y
    scale = w * wxx - wx * wx
    return math.sqrt(w / scale), (wxx * wy - wx * wxy) / scale, math.sqrt(wxx / scale)
