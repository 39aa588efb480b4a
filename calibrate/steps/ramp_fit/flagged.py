"""Fit ramps with flags one by one.

For a segment s of n groups, with ``var^R`` and ``var^P`` as in `unflagged`, the segments of an
integration are combined by the equations of docs/steps/ramp_fit.md::

    var^R = 1 / sum_s(1 / var^R_s)                (F8)
    var^P = 1 / sum_s(1 / var^P_s)                (F8)
    slope = var^R * sum_s(slope_s / var^R_s)      (F9)
    var^C = 1 / sum_s(1 / (var^R_s + var^P_s))    (F10)

Source: stcal 1.20 ``ramp_fitting`` (``slope_fitter.c``).
"""

import math

import numpy as np

from calbatch.calibrate.steps.ramp_fit.block import (
    CHARGELOSS,
    DO_NOT_USE,
    JUMP_DET,
    PERSISTENCE,
    SATURATED,
    UNUSABLE,
    Block,
    Flags,
    Floats,
    Places,
    Singles,
    gather,
    starting_rate,
    time_alone,
)
from calbatch.calibrate.steps.ramp_fit.plan import Plan
from calbatch.calibrate.steps.ramp_fit.segments import (
    LARGE_VARIANCE,
    Pixel,
    poisson_variance,
    read_variance,
    segment_slope,
    split_ramp,
    zero_if_large,
)
from calbatch.calibrate.steps.ramp_fit.work import Exposure, Rates, Stretch
from calbatch.models.jit import inner_kernel


@inner_kernel
def gather_integration(
    exposure: Exposure, integ: int, low: int, odd: Flags, plan: Plan, block: Block
) -> int:
    """Copy an integration's ramps where ``odd`` is not 0 into ``block``; return their number."""
    samples, groupdq, zero = exposure.data[integ], exposure.groupdq[integ], exposure.zero[integ]
    return gather(samples, groupdq, zero, low, odd, plan, block)


@inner_kernel
def add_odd_rates(
    exposure: Exposure,
    integ: int,
    low: int,
    odd: Flags,
    plan: Plan,
    total: Floats,
    block: Block,
) -> int:
    """Add the starting rates (DN/s) of an integration's odd ramps, and return their number.

    Afterwards, ``block`` holds these ramps.
    """
    count = gather_integration(exposure, integ, low, odd, plan, block)
    for j in range(count):
        total[block.where[j]] += starting_rate(
            block.ramps, block.flags, j, block.alone[j], plan, block.differences
        )
    return count


@inner_kernel
def fit_odd(
    exposure: Exposure, integ: int, low: int, count: int, plan: Plan, work: Stretch, rates: Rates
) -> None:
    """Fit the ramps in ``work.block`` by segments, write their rates, and add to the sums."""
    block, sums = work.block, work.sums
    for j in range(count):
        c = block.where[j]
        at = low + c
        pixel = Pixel(np.float64(exposure.gain[at]), work.noise[c], work.current[c])
        time = time_alone(block.alone[j], plan)
        segments = 0
        if not block.flags[j, 0] & SATURATED:
            segments = split_ramp(block.flags, j, block.starts, block.stops)
        slope, inv_var_read, inv_var_poisson, inv_var = _sum_segments(
            block.ramps,
            j,
            segments,
            block.starts,
            block.stops,
            (time, plan.group_time),
            pixel,
            plan.estimators,
        )
        dq = work.dq[c] | block.added[j]
        seen = block.seen[j]
        sums.whole[c] -= 1.0
        sums.slope[c] += slope
        sums.inv_var_read[c] += inv_var_read
        sums.inv_var_poisson[c] += inv_var_poisson
        sums.any_flag[c] |= np.uint32(seen & (JUMP_DET | PERSISTENCE))
        sums.every_flag[c] &= dq
        sums.partial[c] |= seen & np.uint8(SATURATED)
        usable = (dq & UNUSABLE) == 0
        var_read, var_poisson, err = 0.0, 0.0, 0.0
        if usable and segments > 0:
            var_read = zero_if_large(1.0 / inv_var_read)
            if inv_var_poisson > 0.0:
                var_poisson = zero_if_large(1.0 / inv_var_poisson)
            variance = 1.0 / inv_var
            err = 0.0 if variance > LARGE_VARIANCE else math.sqrt(variance)
            slope *= var_read
        rates.data[integ, at] = slope if usable else math.nan
        rates.err[integ, at] = err
        rates.dq[integ, at] = dq | (seen & SATURATED)
        rates.var_poisson[integ, at] = var_poisson
        inverse = 1.0 / var_read if var_read > 0.0 else 0.0
        if seen & CHARGELOSS:
            sums.charged[c] = 1
            inverse = _inverse_read_without_charge_loss(
                exposure.groupdq[integ], at, j, time, pixel, plan, block
            )
            var_read = zero_if_large(1.0 / inverse)
        sums.uncharged[c] += inverse
        rates.var_rnoise[integ, at] = var_read


@inner_kernel
def _sum_segments(
    ramps: Singles,
    j: int,
    count: int,
    starts: Places,
    stops: Places,
    times: tuple[float, float],
    pixel: Pixel,
    estimators: Floats,
) -> tuple[float, float, float, float]:
    """Return sums over segments: ``slope / var^R``, ``1 / var^R``, ``1 / var^P``, ``1 / var^C``.

    They are the sums of (F9), (F8), (F8) and (F10).

    ``times`` are the group times of a segment of one group, and of a longer segment.
    """
    slopes, inv_var_read, inv_var_poisson, inv_var = 0.0, 0.0, 0.0, 0.0
    time = times[0] if count == 1 and stops[0] - starts[0] == 1 else times[1]
    # Variances of two groups; n groups divide them by (n**3 - n) / 6 and by n - 1.
    var_read, var_poisson = read_variance(2, time, pixel), poisson_variance(2, time, pixel)
    inv_var_read_2, inv_var_poisson_2 = 1.0 / var_read, 1.0 / var_poisson
    for k in range(count):
        span = starts[k], stops[k]
        n = float(max(span[1] - span[0], 2))
        cubic, steps = (n * n * n - n) / 6.0, n - 1.0
        slope = segment_slope(ramps, j, span, time, pixel, estimators)
        slopes += slope * (cubic * inv_var_read_2)
        inv_var_read += cubic * inv_var_read_2
        inv_var += cubic * steps / (var_poisson * cubic + var_read * steps)
        if var_poisson > 0.0:
            inv_var_poisson += steps * inv_var_poisson_2
    return slopes, inv_var_read, inv_var_poisson, inv_var


@inner_kernel
def _inverse_read_without_charge_loss(
    groupdq: Flags,
    at: int,
    j: int,
    one_group_time: float,
    pixel: Pixel,
    plan: Plan,
    block: Block,
) -> float:
    """Return the inverse read variance, including groups that are flagged for charge loss.

    Charge loss biases the slope, not the read noise, so jwst computes this variance without it.
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
    for k in range(split_ramp(flags, j, block.starts, block.stops)):
        length = block.stops[k] - block.starts[k]
        time = one_group_time if length == 1 else plan.group_time
        variance = read_variance(length, time, pixel)
        if variance > 0.0:
            inverse += 1.0 / variance
    return inverse
