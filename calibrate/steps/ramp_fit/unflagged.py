"""Fit ramps without flags, many pixels at a time.

Their only segment spans all fitted groups, so quantities that depend on flags are shared. Every
loop runs along pixels with few arrays, so that the compiler vectorizes it. The general path is
`flagged`; which path a ramp takes depends on that ramp alone.

For a segment of n groups, by the equations of docs/steps/ramp_fit.md::

    var^P = current / (tgroup * gain * (n - 1))               (F6)
    var^R = 12 * R**2 / ((n**3 - n) * tgroup**2 * gain**2)    (F7)
    var^C = var^R + var^P                                     (F10)

with the read noise R of a group and the rate ``current`` of the Poisson noise.

Source: stcal 1.20 ``ramp_fitting`` (``slope_fitter.c``).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.ramp_fit.block import Flags, Floats, Places, Singles
from calbatch.calibrate.steps.ramp_fit.plan import Plan
from calbatch.calibrate.steps.ramp_fit.segments import LARGE_VARIANCE, find_ratio
from calbatch.models.jit import inner_view_kernel

Weights = tuple[float, float, float, float, float, float]


class Whole(NamedTuple):
    """Results of the fit of an unflagged ramp that a pixel's integrations share.

    Attributes
    ----------
    scale : ndarray of float64
        Factor from slope to rate: 1, 0 if the variance is too large, NaN for an unusable pixel.
    inv_var_read, inv_var_poisson : ndarray of float64
        Inverse variances ``1 / var^R`` and ``1 / var^P``.
    var_read, var_poisson, err : ndarray of float32
        Variances and error as in the products.
    """

    scale: Floats
    inv_var_read: Floats
    inv_var_poisson: Floats
    var_read: Singles
    var_poisson: Singles
    err: Singles


@inner_view_kernel
def merge_flags(flags: Flags, seen: Flags) -> None:
    """Combine one group's flags into ``seen``."""
    for c in range(seen.size):
        seen[c] |= flags[c]


@inner_view_kernel
def _subtract_groups(
    before: Singles, after: Singles, difference: Singles, spoiled: Singles
) -> None:
    """Subtract two groups; ``spoiled`` becomes NaN where a sample is not finite."""
    for c in range(difference.size):
        step = after[c] - before[c]
        difference[c] = step
        spoiled[c] += step * np.float32(0.0)


@inner_view_kernel
def sort_to_middle(count: int, values: npt.NDArray[Any], network: Places) -> None:
    """Exchange the values of the first ``count`` columns by a network; see `median_network`.

    Columns with NaN become meaningless.
    """
    zero = values.dtype.type(0)
    for k in range(network.shape[0]):
        lower, upper = network[k, 0], network[k, 1]
        for c in range(count):
            a, b = values[lower, c], values[upper, c]
            # Without the addition the compiler emits a masked store, several times slower.
            values[lower, c] = (a if a < b else b) + zero
            values[upper, c] = b if a < b else a


@inner_view_kernel
def _note_spoiled(spoiled: Singles, odd: Flags) -> None:
    for c in range(odd.size):
        odd[c] |= np.uint8(0) if spoiled[c] == np.float32(0.0) else np.uint8(1)


@inner_view_kernel
def _add_middle(lower: Singles, upper: Singles, odd: Flags, half: float, total: Floats) -> None:
    """Add the mean of the middle two differences, unless the ramp goes the general path."""
    for c in range(total.size):
        middle = (np.float64(lower[c]) + np.float64(upper[c])) * half
        total[c] += middle if odd[c] == 0 else 0.0


@inner_view_kernel
def add_starting_rates(
    ramps: Singles,
    low: int,
    plan: Plan,
    differences: Singles,
    spoiled: Singles,
    odd: Flags,
    total: Floats,
) -> None:
    """Add the medians of the differences of one integration's unflagged ramps, in DN/s.

    Differences of float32 samples are rounded to float32, so the median is, too. A ramp with a
    sample that is not finite is marked in ``odd``.

    Parameters
    ----------
    ramps : ndarray of float32, (groups, pixels)
        One integration.
    low : int
        Start of the pixels; the size of ``total`` is their number.
    differences, spoiled : ndarray of float32
        Scratch: (groups - 1, pixels) and (pixels,).
    odd : ndarray of uint8, (pixels,)
        Not 0 where a ramp goes the general path.
    total : ndarray of float64, (pixels,)
        Receives the medians.
    """
    size = total.size
    count = plan.last - plan.first - 1
    for c in range(size):
        spoiled[c] = 0.0
    for k in range(count):
        group = plan.first + k
        before, after = ramps[group, low : low + size], ramps[group + 1, low : low + size]
        _subtract_groups(before, after, differences[k], spoiled)
    sort_to_middle(size, differences, plan.network)
    _note_spoiled(spoiled, odd)
    lower, upper = (count - 1) // 2, count // 2
    half = 0.5 / plan.group_time
    _add_middle(differences[lower], differences[upper], odd, half, total)


@inner_view_kernel
def fill_whole(
    gain: Singles,
    noise: Floats,
    current: Floats,
    valid: Flags,
    plan: Plan,
    whole: Whole,
) -> None:
    """Fill ``whole`` from gain, read noise and current (see `Pixel`)."""
    n = float(plan.last - plan.first)
    for c in range(noise.size):
        electrons = np.float64(gain[c])  # per DN
        ratio = noise[c] / plan.group_time
        var_read = 12.0 * ratio * ratio / ((n * n * n - n) * electrons * electrons)
        var_poisson = current[c] / (plan.group_time * electrons * (n - 1.0))
        var = var_read + var_poisson
        usable = valid[c] != 0
        whole.inv_var_read[c] = 1.0 / var_read
        whole.inv_var_poisson[c] = 1.0 / var_poisson if var_poisson > 0.0 else 0.0
        is_small = var_read < LARGE_VARIANCE
        # Without the additions the compiler emits masked stores, several times slower.
        whole.scale[c] = np.float64(is_small) + (0.0 if usable else math.nan)
        whole.var_read[c] = (var_read if usable and is_small else 0.0) + 0.0
        in_range = usable and var_poisson > 0.0 and var_poisson < LARGE_VARIANCE
        whole.var_poisson[c] = (var_poisson if in_range else 0.0) + 0.0
        root = math.sqrt(var) if not var > LARGE_VARIANCE else 0.0
        whole.err[c] = (root if usable else 0.0) + 0.0


@inner_view_kernel
def _find_ratios(
    before: Singles, after: Singles, gain: Singles, noise: Floats, ratio: Floats
) -> None:
    for c in range(ratio.size):
        rise = np.float64(after[c]) - np.float64(before[c])
        ratio[c] = find_ratio(rise, np.float64(gain[c]), noise[c])


@inner_view_kernel
def load_weights(weights: Floats) -> Weights:
    """Return the weights of a pair of groups by class of signal-to-noise ratio as numbers."""
    return weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]


@inner_view_kernel
def choose_weight(weights: Weights, ratio: float) -> float:
    """Return the weight for a ratio: that of its `noise_class`.

    Looking it up in an array would prevent vectorization, and so would a class in an integer of
    another width.
    """
    lowest = weights[0] if ratio < 5.0 else weights[1] if ratio < 10.0 else weights[2]
    highest = weights[4] if ratio < 100.0 else weights[5]
    return lowest if ratio < 20.0 else weights[3] if ratio < 50.0 else highest


@inner_view_kernel
def _add_pair(
    low: Singles,
    high: Singles,
    weights: Floats,
    ratio: Floats,
    slope: Floats,
) -> None:
    each = load_weights(weights)
    for c in range(slope.size):
        weight = choose_weight(each, ratio[c])
        slope[c] += weight * (np.float64(high[c]) - np.float64(low[c]))


@inner_view_kernel
def fit_whole(
    ramps: Singles,
    low: int,
    gain: Singles,
    noise: Floats,
    plan: Plan,
    ratio: Floats,
    slope: Floats,
) -> None:
    """Find the slopes of one integration's ramps as if none had flags, in DN/s.

    ``slope = sum(c[p] * (y[last - p] - y[first + p]))`` (F2) over pairs of groups p; for c see
    `slope_estimators`.

    Parameters
    ----------
    ramps : ndarray of float32, (groups, pixels)
        One integration.
    low : int
        Start of the pixels; the size of ``slope`` is their number.
    gain, noise : ndarray, (pixels,)
        Gain (electron/DN) and read noise (electron).
    ratio : ndarray of float64, (pixels,)
        Scratch: signal-to-noise ratios.
    slope : ndarray of float64, (pixels,)
        The result.
    """
    size = slope.size
    first, last = plan.first, plan.last - 1
    high = low + size
    _find_ratios(ramps[first, low:high], ramps[last, low:high], gain, noise, ratio)
    for c in range(size):
        slope[c] = 0.0
    for k in range(plan.full.shape[0]):
        near, far = ramps[first + k, low:high], ramps[last - k, low:high]
        _add_pair(near, far, plan.full[k], ratio, slope)
