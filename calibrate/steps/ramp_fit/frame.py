"""The ramp fit of a tile's pixels: starting rates, integrations, and the exposure's mean rate.

Pixels are processed in short stretches whose samples stay in the processor's cache from one pass to
the next. Source: stcal 1.20 ``ramp_fitting`` (``slope_fitter.c``).

The exposure's rate combines the segments s of all integrations i, by the equations of
docs/steps/ramp_fit.md::

    var^R = 1 / sum_i,s(1 / var^R_i,s)                (F8)
    var^P = 1 / sum_i,s(1 / var^P_i,s)                (F8)
    slope = var^R * sum_i,s(slope_i,s / var^R_i,s)    (F9)
    err = sqrt(var^R + var^P)                         (F11)
"""

import math

import numpy as np

from calbatch.calibrate.steps.ramp_fit.block import (
    BAD_GAIN,
    UNUSABLE,
    Flags,
    Floats,
    Singles,
    Words,
)
from calbatch.calibrate.steps.ramp_fit.flagged import add_odd_rates, fit_odd, gather_integration
from calbatch.calibrate.steps.ramp_fit.plan import Plan
from calbatch.calibrate.steps.ramp_fit.segments import LARGE_VARIANCE, group_noise, zero_if_large
from calbatch.calibrate.steps.ramp_fit.unflagged import (
    Whole,
    add_starting_rates,
    fill_whole,
    fit_whole,
    merge_flags,
)
from calbatch.calibrate.steps.ramp_fit.work import Exposure, IntegrationSums, Rates, Stretch
from calbatch.models.jit import inner_view_kernel, view_kernel


@view_kernel
def fit_pixels(exposure: Exposure, plan: Plan, rate: Rates, rateints: Rates, work: Stretch) -> None:
    """Fit the ramps of all pixels.

    Parameters
    ----------
    exposure : Exposure
        The ramps and the properties of their pixels.
    plan : Plan
        Quantities shared by all fits.
    rate, rateints : Rates
        Receive the mean over integrations, as a single integration, and each integration.
    work : Stretch
        See `make_stretch`.
    """
    size = work.noise.size
    integrations, _, pixels = exposure.data.shape
    for start in range(0, pixels, size):
        low = min(start, pixels - size)  # the last stretch may overlap the one before
        high = low + size
        gain = exposure.gain[low:high]
        _start_noise(exposure.readnoise[low:high], gain, plan, work)
        _start_flags(exposure.pixeldq[low:high], gain, work)
        _start_sums(integrations, work)
        count = 0
        for integ in range(integrations):
            count = _add_rates(exposure, integ, low, plan, work)
        set_currents(work.current, exposure.dark[low:high], integrations)
        fill_whole(gain, work.noise, work.current, work.valid, plan, work.whole)
        for integ in range(integrations):
            if integrations > 1:
                odd = work.odd[integ]
                count = gather_integration(exposure, integ, low, odd, plan, work.block)
            if count < size:
                ramps = exposure.data[integ]
                fit_whole(ramps, low, gain, work.noise, plan, work.ratio, work.slope)
                _write_whole(work, work.odd[integ], _part(rateints, integ, low, high))
            fit_odd(exposure, integ, low, count, plan, work, rateints)
        _write_mean(work, _part(rate, 0, low, high))


@inner_view_kernel
def _part(rates: Rates, integ: int, low: int, high: int) -> Rates:
    """Return views of a stretch: an index with an offset would prevent vectorization."""
    return Rates(
        rates.data[integ, low:high],
        rates.err[integ, low:high],
        rates.dq[integ, low:high],
        rates.var_poisson[integ, low:high],
        rates.var_rnoise[integ, low:high],
    )


@inner_view_kernel
def _start_noise(readnoise: Singles, gain: Singles, plan: Plan, work: Stretch) -> None:
    has_no_slope = plan.last - plan.first < 2
    for c in range(gain.size):
        work.noise[c] = group_noise(readnoise[c], gain[c], plan)
    for c in range(gain.size):
        is_finite = work.noise[c] > 0.0 and work.noise[c] < math.inf
        work.unfit[c] = np.uint8(has_no_slope or not is_finite)


@inner_view_kernel
def _start_flags(pixeldq: Words, gain: Singles, work: Stretch) -> None:
    for c in range(gain.size):
        bad = np.uint32(0) if gain[c] > 0.0 else np.uint32(BAD_GAIN)
        work.dq[c] = pixeldq[c] | bad
    for c in range(gain.size):
        work.valid[c] = np.uint8((work.dq[c] & np.uint32(UNUSABLE)) == 0)


@inner_view_kernel
def _start_sums(integrations: int, work: Stretch) -> None:
    sums = work.sums
    for c in range(work.noise.size):
        sums.slope[c], sums.inv_var_read[c], sums.inv_var_poisson[c] = 0.0, 0.0, 0.0
    for c in range(work.noise.size):
        sums.uncharged[c], sums.whole[c], work.current[c] = 0.0, integrations, 0.0
    for c in range(work.noise.size):
        sums.charged[c], sums.partial[c] = 0, 0
    for c in range(work.noise.size):
        sums.any_flag[c], sums.every_flag[c] = 0, UNUSABLE


@inner_view_kernel
def _add_rates(exposure: Exposure, integ: int, low: int, plan: Plan, work: Stretch) -> int:
    """Mark an integration's odd ramps, add all starting rates, and count the odd ramps."""
    odd = work.odd[integ]
    for c in range(odd.size):
        odd[c] = work.unfit[c]
    high = low + odd.size
    for group in range(plan.start, plan.stop):
        merge_flags(exposure.groupdq[integ, group, low:high], odd)
    if _has_whole(odd):
        add_starting_rates(
            exposure.data[integ], low, plan, work.differences, work.spoiled, odd, work.current
        )
    return add_odd_rates(exposure, integ, low, odd, plan, work)


@inner_view_kernel
def _has_whole(odd: Flags) -> bool:
    """Return whether any ramp is unflagged; a tile with fewer than two groups to fit has none."""
    found = 0
    for c in range(odd.size):
        found |= odd[c] == 0
    return found != 0


@inner_view_kernel
def set_currents(current: Floats, dark: Singles, integrations: int) -> None:
    """Convert sums of starting rates to the rate of the Poisson noise.

    ``current = max(mean(start), 0) + dark`` (F5)
    """
    if integrations > 1:  # a division takes as long as the rest
        for c in range(current.size):
            current[c] /= integrations
    for c in range(current.size):
        current[c] = (current[c] if current[c] > 0.0 else 0.0) + np.float64(dark[c])


@inner_view_kernel
def _write_whole(work: Stretch, odd: Flags, rates: Rates) -> None:
    """Write an integration's rates of unflagged ramps, and add them to the sums."""
    whole, total = work.whole, work.sums.slope
    for c in range(odd.size):
        rates.data[c] = work.slope[c] * whole.scale[c]
    for c in range(odd.size):
        part = work.slope[c] * whole.inv_var_read[c]
        total[c] += part if odd[c] == 0 else 0.0
    for c in range(odd.size):
        rates.err[c] = whole.err[c]
        rates.var_poisson[c] = whole.var_poisson[c]
    for c in range(odd.size):
        rates.dq[c] = work.dq[c]
        rates.var_rnoise[c] = whole.var_read[c]


@inner_view_kernel
def _write_mean(work: Stretch, rates: Rates) -> None:
    """Write the mean rates over integrations."""
    sums, whole = work.sums, work.whole
    for c in range(work.dq.size):
        every = sums.every_flag[c] if sums.whole[c] == 0.0 else np.uint32(0)
        rates.dq[c] = work.dq[c] | sums.any_flag[c] | every
    for c in range(work.dq.size):
        work.valid[c] = np.uint8((rates.dq[c] & np.uint32(UNUSABLE)) == 0)
    for c in range(work.dq.size):
        rates.dq[c] |= np.uint32(sums.partial[c])
    _combine(whole.inv_var_read, sums.whole, work.valid, sums.inv_var_read)
    _combine(whole.inv_var_poisson, sums.whole, work.valid, sums.inv_var_poisson)
    var_read, var_poisson = sums.inv_var_read, sums.inv_var_poisson  # now variances
    for c in range(work.dq.size):
        rates.var_rnoise[c] = var_read[c]
        rates.var_poisson[c] = var_poisson[c]
    for c in range(work.dq.size):
        rates.err[c] = math.sqrt(var_read[c] + var_poisson[c])
    for c in range(work.dq.size):
        slope = sums.slope[c] * var_read[c]
        rates.data[c] = slope if work.valid[c] != 0 else math.nan
    _write_uncharged_noise(sums, whole, rates)


@inner_view_kernel
def _write_uncharged_noise(sums: IntegrationSums, whole: Whole, rates: Rates) -> None:
    """Write the read-noise variance of ramps with charge loss as if they had none."""
    found = 0
    for c in range(sums.charged.size):
        found |= sums.charged[c]
    if found == 0:
        return
    for c in range(sums.charged.size):
        if sums.charged[c] != 0:
            inv_var_read = sums.uncharged[c]
            has_whole = whole.var_read[c] > 0.0 and sums.whole[c] > 0.0
            inv_var_read += sums.whole[c] * whole.inv_var_read[c] if has_whole else 0.0
            if inv_var_read > 0.0:
                rates.var_rnoise[c] = zero_if_large(1.0 / inv_var_read)


@inner_view_kernel
def _combine(each: Floats, count: Floats, valid: Flags, sums: Floats) -> None:
    """Add the inverse variances of unflagged ramps, and convert the sums to variances in place."""
    for c in range(sums.size):
        total = sums[c] + (each[c] * count[c] if count[c] > 0.0 else 0.0)
        variance = 1.0 / total if total > 0.0 else total
        in_range = valid[c] != 0 and not variance >= LARGE_VARIANCE
        sums[c] = variance if in_range else 0.0
