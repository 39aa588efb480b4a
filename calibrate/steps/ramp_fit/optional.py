"""The optional results of the ramp fit: every segment's slope, intercept, variances and weight.

Equations are numbered in docs/steps/ramp_fit.md. Source: stcal 1.20 ``ramp_fitting``
(``slope_fitter.c``).
"""

import math
from typing import NamedTuple

import numpy as np

from calbatch.calibrate.steps.ramp_fit.block import (
    JUMP_DET,
    SATURATED,
    UNUSABLE,
    ZERO_FRAME,
    Flags,
    Singles,
    time_alone,
)
from calbatch.calibrate.steps.ramp_fit.flagged import add_odd_rates, gather_integration
from calbatch.calibrate.steps.ramp_fit.frame import set_currents
from calbatch.calibrate.steps.ramp_fit.plan import POWERS, Plan
from calbatch.calibrate.steps.ramp_fit.segments import (
    Pixel,
    find_ratio,
    find_segments,
    group_noise,
    noise_class,
    poisson_variance,
    read_variance,
    segment_slope,
    split_ramp,
)
from calbatch.calibrate.steps.ramp_fit.work import Exposure, Stretch
from calbatch.models.jit import inner_view_kernel, view_kernel

_POWERS = np.array(POWERS, np.float32)


class Segments(NamedTuple):
    """Arrays to fill, initially zero.

    Attributes
    ----------
    slope, sigslope, var_poisson, var_rnoise, yint, sigyint, weights : ndarray of float32
        (integrations, segments, pixels); sigslope and the intercepts are per group, not per second.
    pedestal : ndarray of float32, (integrations, pixels)
        DN.
    crmag : ndarray of float32, (integrations, jumps, pixels)
        Size of each jump of the ramp, DN.
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


@view_kernel
def count_planes(exposure: Exposure, plan: Plan, work: Stretch) -> tuple[int, int]:
    """Return the largest number of segments, and of jumps, of any ramp.

    As in jwst, all segments count in a ramp without two successive good groups, although only the
    first is fitted.
    """
    integrations, _, pixels = exposure.data.shape
    block, size = work.block, work.noise.size
    segments, jumps = 0, 0
    for c in range(size):
        work.unfit[c] = 1
    for integ in range(integrations):
        for start in range(0, pixels, size):
            low = min(start, pixels - size)
            gather_integration(exposure, integ, low, work.unfit, plan, block)
            for j in range(size):
                jumps = max(jumps, _count_jumps(block.flags, j))
                if not block.flags[0, j] & SATURATED:
                    count, longest = find_segments(block.flags, j, block.starts, block.stops)
                    if longest > 1:
                        count = split_ramp(block.flags, j, block.starts, block.stops)
                    segments = max(segments, count)
    return segments, jumps


@inner_view_kernel
def _count_jumps(flags: Flags, j: int) -> int:
    jumps = 0
    for k in range(1, flags.shape[0]):
        jumps += (flags[k, j] & JUMP_DET) != 0
    return jumps


@view_kernel
def fit_segments(
    exposure: Exposure,
    plan: Plan,
    rateints: Singles,
    pedestal_factor: float,
    results: Segments,
    work: Stretch,
) -> None:
    """Fill ``results`` for all ramps; ``rateints`` are the fitted rates of the integrations."""
    integrations, _, pixels = exposure.data.shape
    size = work.noise.size
    for start in range(0, pixels, size):
        low = min(start, pixels - size)
        for c in range(size):
            work.unfit[c], work.current[c] = 1, 0.0
        for integ in range(integrations):
            add_odd_rates(exposure, integ, low, work.unfit, plan, work)
        set_currents(work.current, exposure.dark[low : low + size], integrations)
        for integ in range(integrations):
            gather_integration(exposure, integ, low, work.unfit, plan, work.block)
            _fit_stretch_segments(exposure, integ, low, plan, results, work)
            _find_pedestals(exposure, integ, low, rateints, pedestal_factor, results, work)


@inner_view_kernel
def _find_pedestals(
    exposure: Exposure,
    integ: int,
    low: int,
    rateints: Singles,
    factor: float,
    results: Segments,
    work: Stretch,
) -> None:
    """Fill the pedestals of an integration: ``first sample - factor * rate`` (F13)."""
    block = work.block
    for c in range(work.noise.size):
        at = low + c
        pedestal = np.float64(block.ramps[0, c]) - np.float64(rateints[integ, at]) * factor
        flags = exposure.pixeldq[at] | block.added[c]
        is_valid = (flags & UNUSABLE) == 0 and exposure.gain[at] > 0.0 and not math.isnan(pedestal)
        results.pedestal[integ, at] = pedestal if is_valid else 0.0


@inner_view_kernel
def _fit_stretch_segments(
    exposure: Exposure, integ: int, low: int, plan: Plan, results: Segments, work: Stretch
) -> None:
    block = work.block
    ramps, flags = block.ramps, block.flags
    for c in range(work.noise.size):
        at = low + c
        noise = group_noise(exposure.readnoise[at], exposure.gain[at], plan)
        pixel = Pixel(np.float64(exposure.gain[at]), noise, work.current[c])
        jump = 0
        for k in range(1, ramps.shape[0]):
            if flags[k, c] & JUMP_DET:
                before = ramps[k - 1, c]
                if k == 1 and block.alone[c] == ZERO_FRAME:  # jumps are found without it
                    before = _first_sample(exposure, integ, plan.start, at)
                results.crmag[integ, jump, at] = np.float64(ramps[k, c]) - before
                jump += 1
        count = 0
        if not flags[0, c] & SATURATED:
            count = split_ramp(flags, c, block.starts, block.stops)
        one_group_time = time_alone(block.alone[c], plan)
        for k in range(count):
            span = block.starts[k], block.stops[k]
            length = span[1] - span[0]
            time = one_group_time if length == 1 else plan.group_time
            var_read = read_variance(length, time, pixel)
            results.var_rnoise[integ, k, at] = var_read
            results.var_poisson[integ, k, at] = poisson_variance(length, time, pixel)
            results.weights[integ, k, at] = 1.0 / var_read
            results.slope[integ, k, at] = segment_slope(
                ramps, c, span, time, pixel, plan.estimators
            )
            sigslope, yint, sigyint = _intercept(ramps, c, span, pixel)
            results.sigslope[integ, k, at] = sigslope
            results.yint[integ, k, at] = yint
            results.sigyint[integ, k, at] = sigyint


@inner_view_kernel
def _first_sample(exposure: Exposure, integ: int, group: int, at: int) -> float:
    """Return a sample, or NaN if it is saturated."""
    is_saturated = exposure.groupdq[integ, group, at] & SATURATED
    return math.nan if is_saturated else np.float64(exposure.data[integ, group, at])


@inner_view_kernel
def _intercept(
    ramps: Singles, j: int, span: tuple[int, int], pixel: Pixel
) -> tuple[float, float, float]:
    """Return the error of a segment's slope, its intercept at group 0, and the intercept's error.

    Weighted least squares with ``S = sum(w)``, ``Sx = sum(w*x)``, ...: ``D = S*Sxx - Sx**2``,
    ``sigslope = sqrt(S/D)``, ``yint = (Sxx*Sy - Sx*Sxy)/D``, ``sigyint = sqrt(Sxx/D)`` (F12).
    """
    start, stop = span
    if stop - start == 1:
        return 0.0, 0.0, 0.0
    first, last = np.float64(ramps[start, j]), np.float64(ramps[stop - 1, j])
    if stop - start == 2:
        error = math.sqrt(2.0) * pixel.noise
        return error, last * (1.0 - stop + 1.0) + first * (stop - 1.0), error
    power = _POWERS[noise_class(find_ratio(last - first, pixel.gain, pixel.noise))]
    middle = (stop - start - 1) / 2.0
    inverse = 1.0 / (pixel.noise * pixel.noise)
    s, sx, sxx, sy, sxy = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(stop - start):
        weight = np.float64(np.float32(abs((k - middle) / middle)) ** power) * inverse
        x, sample = float(start + k), np.float64(ramps[start + k, j])
        y = 0.0 if math.isnan(sample) else sample
        s += weight
        sx += weight * x
        sxx += weight * x * x
        sy += weight * y
        sxy += weight * x * y
    d = s * sxx - sx * sx
    return math.sqrt(s / d), (sxx * sy - sx * sxy) / d, math.sqrt(sxx / d)
