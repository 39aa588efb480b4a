"""Fit the ramps of a block whose only segment spans the same groups, many ramps at a time.

In exposures of MIRI most ramps are such, since the same leading groups are flagged in all of them.
The results are those of `segments`, bit for bit: a block holds other ramps in another tiling. For
vectorization, see `block`. Equations are numbered in docs/steps/ramp_fit.md. Source: stcal 1.20
``ramp_fitting`` (``slope_fitter.c``).
"""

import math

import numpy as np

from calbatch.calibrate.steps.ramp_fit.block import (
    JUMP_DET,
    PERSISTENCE,
    SATURATED,
    Block,
    Flags,
    Floats,
    Integers,
    Singles,
)
from calbatch.calibrate.steps.ramp_fit.plan import Plan, table_offset
from calbatch.calibrate.steps.ramp_fit.segments import (
    Pixel,
    find_ratio,
    poisson_variance,
    read_variance,
)
from calbatch.calibrate.steps.ramp_fit.unflagged import choose_weight, load_weights
from calbatch.calibrate.steps.ramp_fit.work import Fits
from calbatch.models.jit import inner_view_kernel

_table_offset = inner_view_kernel(table_offset)


@inner_view_kernel
def find_runs(count: int, flags: Flags, runs: Integers, starts: Integers, stops: Integers) -> None:
    """Find how many segments each ramp has, and the groups of its last one.

    A ramp that is saturated in its first group has none.
    """
    mask = np.uint8(~PERSISTENCE & 0xFF)
    for j in range(count):
        runs[j], starts[j] = np.int32((flags[0, j] & mask) == 0), 0
    for k in range(1, flags.shape[0]):
        at = np.int32(k)
        for j in range(count):
            before = flags[k - 1, j] & mask
            begins = np.int32((flags[k, j] & mask) == 0) & np.int32(before != 0)
            start = at - np.int32(before == JUMP_DET)  # it includes a jump just before it
            starts[j] = start if begins != 0 else starts[j]
            runs[j] += begins
    for j in range(count):  # saturated from the first group on
        runs[j] = np.int32(0) if flags[0, j] & SATURATED else runs[j]
        stops[j] = 0
    for k in range(flags.shape[0]):
        after = np.int32(k + 1)
        for j in range(count):
            stops[j] = after if (flags[k, j] & mask) == 0 else stops[j]


@inner_view_kernel
def fit_shared(count: int, plan: Plan, block: Block, fits: Fits) -> None:
    """Fit the ramps whose only segment is that of most ramps, and mark them in ``fits.fitted``.

    Without such a majority, or if the segment is shorter than three groups, none is fitted.
    """
    fitted = fits.fitted
    for j in range(count):
        fitted[j] = 0
    start, stop = _find_majority(count, fits)
    length = stop - start
    if length < 3:
        return
    runs, starts, stops = fits.runs, fits.start, fits.stop
    for j in range(count):
        fitted[j] = np.uint8((runs[j] == 1) & (starts[j] == start) & (stops[j] == stop))
    shared = 0
    for j in range(count):
        shared += fitted[j]
    if 2 * shared < count:
        for j in range(count):
            fitted[j] = 0
        return
    _add_pairs(count, start, stop, plan, block, fits)
    slope, noise = fits.slope, fits.noise
    for j in range(count):  # NaN and infinite values are left to `segment_slope`
        fitted[j] &= np.uint8((slope[j] - slope[j]) + (noise[j] - noise[j]) == 0.0)
    middle = block.ramps[start + length // 2]
    for j in range(count):  # as in `segment_slope`
        unfit = (noise[j] == 0.0) | (abs(middle[j]) == math.inf)
        per_second = slope[j] / plan.group_time
        slope[j] = math.nan if unfit else per_second
    _sum_shared(count, float(length), plan, fits)


@inner_view_kernel
def _find_majority(count: int, fits: Fits) -> tuple[int, int]:
    """Return the segment of more than half of the ramps that have a single one, if there is any.

    Otherwise it is that of some ramp (the majority vote of R. S. Boyer and J S. Moore, 1981).
    """
    start, stop, votes = 0, 0, 0
    for j in range(count):
        if fits.runs[j] == 1:
            if votes == 0:
                start, stop = fits.start[j], fits.stop[j]
            votes += 1 if fits.start[j] == start and fits.stop[j] == stop else -1
    return start, stop


@inner_view_kernel
def _add_pairs(count: int, start: int, stop: int, plan: Plan, block: Block, fits: Fits) -> None:
    """Find the slopes per group; see `segment_slope`."""
    _find_ratios(count, start, stop - 1, block.ramps, fits.gain, fits.noise, fits.ratio)
    for j in range(count):
        fits.slope[j] = 0.0
    offset = _table_offset(stop - start)
    for k in range((stop - start) // 2):
        for row in range(block.weights.size):
            block.weights[row] = plan.estimators[row, offset + k]
        pair = start + k, stop - 1 - k
        _add_pair(count, pair, block.ramps, block.weights, fits.ratio, fits.slope)


@inner_view_kernel
def _find_ratios(
    count: int,
    first: int,
    last: int,
    ramps: Singles,
    gain: Floats,
    noise: Floats,
    ratio: Floats,
) -> None:
    for j in range(count):
        rise = np.float64(ramps[last, j]) - np.float64(ramps[first, j])
        ratio[j] = find_ratio(rise, gain[j], noise[j])


@inner_view_kernel
def _add_pair(
    count: int,
    pair: tuple[int, int],
    ramps: Singles,
    weights: Floats,
    ratio: Floats,
    slope: Floats,
) -> None:
    near, far = pair
    each = load_weights(weights)
    for j in range(count):
        step = np.float64(ramps[far, j]) - np.float64(ramps[near, j])
        slope[j] += choose_weight(each, ratio[j]) * step


@inner_view_kernel
def _sum_shared(count: int, n: float, plan: Plan, fits: Fits) -> None:
    """Find the sums of (F8) to (F10) for a single segment of n groups; see `flagged`."""
    gain, noise, current = fits.gain, fits.noise, fits.current
    slope, inv_var = fits.slope, fits.inv_var
    inv_var_read, inv_var_poisson = fits.inv_var_read, fits.inv_var_poisson
    var_read, var_poisson = fits.var_read, fits.var_poisson
    time = plan.group_time
    cubic, steps = (n * n * n - n) / 6.0, n - 1.0
    for j in range(count):
        var_read[j] = read_variance(2, time, Pixel(gain[j], noise[j], 0.0))
    for j in range(count):
        var_poisson[j] = poisson_variance(2, time, Pixel(gain[j], 0.0, current[j]))
    for j in range(count):
        inv_var_read[j] = cubic * (1.0 / var_read[j])
    for j in range(count):
        slope[j] = 0.0 + slope[j] * inv_var_read[j]
    for j in range(count):
        inverse = steps * (1.0 / var_poisson[j])
        inv_var_poisson[j] = inverse if var_poisson[j] > 0.0 else 0.0
    for j in range(count):
        inv_var[j] = cubic * steps / (var_poisson[j] * cubic + var_read[j] * steps)
