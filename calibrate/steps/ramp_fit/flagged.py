"""Fit ramps with flags, those with a segment of their own one by one.

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
from calbatch.calibrate.steps.ramp_fit.shared import find_runs, fit_shared
from calbatch.calibrate.steps.ramp_fit.starting import add_block_rates
from calbatch.calibrate.steps.ramp_fit.work import Exposure, Fits, Rates, Stretch
from calbatch.models.jit import inner_view_kernel


@inner_view_kernel
def gather_integration(
    exposure: Exposure, integ: int, low: int, odd: Flags, plan: Plan, block: Block
) -> int:
    """Copy an integration's ramps where ``odd`` is not 0 into ``block``; return their number."""
    samples, groupdq, zero = exposure.data[integ], exposure.groupdq[integ], exposure.zero[integ]
    return gather(samples, groupdq, zero, low, odd, plan, block)


@inner_view_kernel
def add_odd_rates(
    exposure: Exposure, integ: int, low: int, odd: Flags, plan: Plan, work: Stretch
) -> int:
    """Add an integration's starting rates (DN/s) of odd ramps to ``work.current``; count the ramps.

    Afterwards, ``work.block`` holds these ramps.
    """
    count = gather_integration(exposure, integ, low, odd, plan, work.block)
    if count > 0:
        add_block_rates(count, plan, work.block, work.steps, work.current)
    return count


@inner_view_kernel
def fit_odd(
    exposure: Exposure, integ: int, low: int, count: int, plan: Plan, work: Stretch, rates: Rates
) -> None:
    """Fit the ramps in ``work.block`` by segments, write their rates, and add to the sums."""
    if count == 0:
        return
    block, fits = work.block, work.fits
    _pick_pixels(exposure.gain, low, count, work)
    find_runs(count, block.flags, fits.runs, fits.start, fits.stop)
    fit_shared(count, plan, block, fits)
    _fit_segments(count, plan, block, fits)
    _find_rates(count, fits)
    _omit_charge_loss(exposure.groupdq[integ], low, count, plan, work)
    _write_rates(integ, low, count, block, fits, rates)
    _add_to_sums(count, work)


@inner_view_kernel
def _pick_pixels(gain: Singles, low: int, count: int, work: Stretch) -> None:
    """Copy the properties of the pixels of the block's ramps."""
    fits, where = work.fits, work.block.where
    for j in range(count):
        c = where[j]
        fits.gain[j], fits.noise[j], fits.current[j] = gain[low + c], work.noise[c], work.current[c]
        fits.dq[j] = work.dq[c] | work.block.added[j]


@inner_view_kernel
def _fit_segments(count: int, plan: Plan, block: Block, fits: Fits) -> None:
    """Fit the other ramps one by one, and set ``fits.fitted`` if they have a segment."""
    flags, starts, stops, fitted = block.flags, block.starts, block.stops, fits.fitted
    for j in range(count):
        if fitted[j] != 0:
            continue
        segments = fits.runs[j]
        starts[0], stops[0] = fits.start[j], fits.stop[j]
        if segments > 1:
            segments = split_ramp(flags, j, starts, stops)
        slope, inv_var_read, inv_var_poisson, inv_var = _sum_segments(
            block.ramps,
            j,
            segments,
            starts,
            stops,
            (time_alone(block.alone[j], plan), plan.group_time),
            Pixel(fits.gain[j], fits.noise[j], fits.current[j]),
            plan.estimators,
        )
        fits.slope[j], fits.inv_var_read[j] = slope, inv_var_read
        fits.inv_var_poisson[j], fits.inv_var[j] = inv_var_poisson, inv_var
        fitted[j] = segments > 0


@inner_view_kernel
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


@inner_view_kernel
def _find_rates(count: int, fits: Fits) -> None:
    """Find rates, errors and variances from the sums over segments."""
    usable, fitted, dq = fits.usable, fits.fitted, fits.dq
    slope, rate, inv_var = fits.slope, fits.rate, fits.inv_var
    inv_var_read, inv_var_poisson = fits.inv_var_read, fits.inv_var_poisson
    var_read, var_poisson, err, uncharged = (
        fits.var_read,
        fits.var_poisson,
        fits.err,
        fits.uncharged,
    )
    for j in range(count):
        usable[j] = np.uint8((dq[j] & np.uint32(UNUSABLE)) == 0)
    for j in range(count):
        fitted[j] &= usable[j]
    for j in range(count):
        variance = zero_if_large(1.0 / inv_var_read[j])
        var_read[j] = variance if fitted[j] != 0 else 0.0
    for j in range(count):
        variance = zero_if_large(1.0 / inv_var_poisson[j])
        var_poisson[j] = variance if fitted[j] != 0 and inv_var_poisson[j] > 0.0 else 0.0
    for j in range(count):
        variance = 1.0 / inv_var[j]
        error = 0.0 if variance > LARGE_VARIANCE else math.sqrt(variance)
        err[j] = error if fitted[j] != 0 else 0.0
    for j in range(count):
        fit = slope[j] * var_read[j]
        rate[j] = fit if fitted[j] != 0 else slope[j]
    for j in range(count):
        rate[j] = rate[j] if usable[j] != 0 else math.nan
    for j in range(count):
        inverse = 1.0 / var_read[j]
        uncharged[j] = inverse if var_read[j] > 0.0 else 0.0


@inner_view_kernel
def _omit_charge_loss(groupdq: Flags, low: int, count: int, plan: Plan, work: Stretch) -> None:
    """Find the read-noise variance of ramps with charge loss as if they had none."""
    block, fits = work.block, work.fits
    found = 0
    for j in range(count):
        found |= block.seen[j]
    if not found & CHARGELOSS:
        return
    for j in range(count):
        if block.seen[j] & CHARGELOSS:
            c, time = block.where[j], time_alone(block.alone[j], plan)
            pixel = Pixel(fits.gain[j], fits.noise[j], fits.current[j])
            inverse = _inverse_read_without_charge_loss(
                groupdq, low + c, j, time, pixel, plan, block
            )
            fits.uncharged[j] = inverse
            fits.var_read[j] = zero_if_large(1.0 / inverse)
            work.sums.charged[c] = 1


@inner_view_kernel
def _write_rates(integ: int, low: int, count: int, block: Block, fits: Fits, rates: Rates) -> None:
    for j in range(count):
        at = low + block.where[j]
        rates.data[integ, at] = fits.rate[j]
        rates.err[integ, at] = fits.err[j]
        rates.dq[integ, at] = fits.dq[j] | (block.seen[j] & SATURATED)
        rates.var_poisson[integ, at] = fits.var_poisson[j]
        rates.var_rnoise[integ, at] = fits.var_read[j]


@inner_view_kernel
def _add_to_sums(count: int, work: Stretch) -> None:
    block, fits, sums = work.block, work.fits, work.sums
    for j in range(count):
        c, seen = block.where[j], block.seen[j]
        sums.whole[c] -= 1.0
        sums.slope[c] = fits.slope[j] + sums.slope[c]  # NaN has the sign of the first NaN
        sums.inv_var_read[c] += fits.inv_var_read[j]
        sums.inv_var_poisson[c] += fits.inv_var_poisson[j]
        sums.uncharged[c] += fits.uncharged[j]
        sums.any_flag[c] |= np.uint32(seen & (JUMP_DET | PERSISTENCE))
        sums.every_flag[c] &= fits.dq[j]
        sums.partial[c] |= seen & np.uint8(SATURATED)


@inner_view_kernel
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
        flags[group - plan.start, j] = flag
    inverse = 0.0
    for k in range(split_ramp(flags, j, block.starts, block.stops)):
        length = block.stops[k] - block.starts[k]
        time = one_group_time if length == 1 else plan.group_time
        variance = read_variance(length, time, pixel)
        if variance > 0.0:
            inverse += 1.0 / variance
    return inverse
