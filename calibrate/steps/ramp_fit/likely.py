"""Likelihood fits of a tile's ramps, and their combination over integrations.

Source: stcal 1.20 ``ramp_fitting`` with its algorithm LIKELY.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.ramp_fit import likelihood
from calbatch.calibrate.steps.ramp_fit.covariance import Covariance, covariance_scales
from calbatch.calibrate.steps.ramp_fit.differences import combine_flags, read_differences
from calbatch.calibrate.steps.ramp_fit.least_squares import FIELDS
from calbatch.calibrate.steps.ramp_fit.likelihood import LikelyPixels, LikelyRates
from calbatch.calibrate.steps.ramp_fit.work import Exposure, flatten_tile
from calbatch.models.dq import DO_NOT_USE

Array = npt.NDArray[Any]

STRETCH = 2048
"""Pixels whose differences stay in the processor's cache from one pass to the next."""

PASSES = 2
"""Number of times that the weights of integrations are computed from the exposure's rate."""


@dataclass(frozen=True)
class LikelySettings:
    """Times and options of a likelihood fit.

    Parameters
    ----------
    covariance : Covariance
        The covariance of the differences of groups; the zero frame, if used, is the first group.
    nframes : int
        Frames averaged into a group.
    window : tuple of int
        The half-open range of groups to fit; groups outside count as DO_NOT_USE.
    """

    covariance: Covariance
    nframes: int
    window: tuple[int, int]


def fit_ramps_by_likelihood(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    average_dark_current: Array,
    zeroframe: Array | None = None,
    *,
    gain: Array,
    readnoise: Array,
    settings: LikelySettings,
) -> tuple[Array, ...]:
    """Return the rates of the exposure and of its integrations, and chi-squared.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns).
    average_dark_current : ndarray
        Rate that contributes only to the Poisson noise (DN/s), (rows, columns).
    zeroframe : ndarray, optional
        First read of each integration (DN), (integrations, rows, columns).
    gain : ndarray
        Gain (electron/DN), (rows, columns).
    readnoise : ndarray
        Noise of the difference of two frames (DN), (rows, columns).
    settings : LikelySettings
        Times and options.

    Returns
    -------
    tuple of ndarray
        Rate (DN/s), error, flags, Poisson and read-noise variance, (rows, columns); the same for
        each integration, (integrations, rows, columns); and the exposure's chi-squared, (rows,
        columns).
    """
    integrations, _, *frame = data.shape
    first, stop = settings.window
    flags = np.array(groupdq, np.uint8)
    flags[:, :first] |= np.uint8(DO_NOT_USE)
    flags[:, stop:] |= np.uint8(DO_NOT_USE)
    exposure = flatten_tile(data, flags, pixeldq, gain, readnoise, average_dark_current, zeroframe)
    pixels = (integrations, pixeldq.size)
    empty: list[Any] = [
        np.empty(pixels, np.uint32 if name == "dq" else np.float32) for name in LikelyRates._fields
    ]
    rates = LikelyRates(*empty)
    for start in range(0, pixeldq.size, STRETCH):
        stop = min(start + STRETCH, pixeldq.size)
        for integ in range(integrations):
            part = _select(rates, (integ, slice(start, stop)))
            _fit_stretch(exposure, integ, (start, stop), settings, part)
    shaped: list[Any] = [array.reshape(integrations, *frame) for array in rates]
    each = LikelyRates(*shaped)
    whole = combine_integrations(each)
    return *(getattr(whole, f) for f in FIELDS), *(getattr(each, f) for f in FIELDS), whole.chisq


def _select(rates: LikelyRates, index: Any) -> LikelyRates:
    """Return the same part of all arrays."""
    parts: list[Any] = [array[index] for array in rates]
    return LikelyRates(*parts)


def _fit_stretch(
    exposure: Exposure,
    integ: int,
    span: tuple[int, int],
    settings: LikelySettings,
    rates: LikelyRates,
) -> None:
    """Fit some pixels of one integration.

    The covariance matrix is first that of the median difference. Differences that fit badly are
    omitted; the rate of the others, and the average dark current, give the final matrix.
    """
    low, high = span
    cov = settings.covariance
    size = (high - low, cov.intervals.size)
    d, use, median = np.empty(size), np.empty(size), np.empty(size[0])
    read_differences(exposure, integ, span, settings.nframes, cov, d, use, median)
    before, rate, w = use.copy(), np.empty_like(median), likelihood.make_scratch(size[1])
    gain = exposure.gain[low:high].astype(np.float64)
    noise = exposure.readnoise[low:high] / np.sqrt(2)
    with np.errstate(all="ignore"):
        pixels = _pixels_at(median * (median > 0), gain, noise, cov)
        likelihood.search_ramps(d, use, pixels, cov, w, rate)
        pixels = _pixels_at(rate * (rate > 0) + exposure.dark[low:high], gain, noise, cov)
    likelihood.fit_likely(d, use, pixels, cov, w, rates)
    combine_flags(exposure, integ, low, before, use, rates.dq)


def _pixels_at(rate: Array, gain: Array, noise: Array, cov: Covariance) -> LikelyPixels:
    """Return the properties of pixels whose covariance matrix is that of a rate."""
    scale = covariance_scales(rate, gain, noise, cov)
    return LikelyPixels(rate=rate, scale=scale, gain=gain, noise=noise)


def combine_integrations(rates: LikelyRates) -> LikelyRates:
    """Return the exposure's rates, in single precision.

    Integrations i are averaged with the weights ``w_i = 1 / (var^P_i rate / rate_i + var^R_i)``,
    normalized to the sum 1. The rate is first the median, and then twice the previous average. NaN
    is left out, except from chi-squared, which is the sum.
    """
    if len(rates.data) == 1:
        return _select(rates, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = _median_of_known(rates.data)
        for _ in range(PASSES):
            ratio = mean / rates.data
            ratio[~np.isfinite(ratio) | (ratio < 0)] = 0
            poisson = rates.var_poisson * ratio
            weight = 1 / (poisson + rates.var_rnoise)
            weight /= np.nansum(weight, axis=0)
            mean = _sum_of_known(rates.data * weight)
        var_poisson = _sum_of_known(poisson * weight**2)
        var_rnoise = _sum_of_known(rates.var_rnoise * weight**2)
        err = np.sqrt(var_poisson + var_rnoise)
    unusable = np.uint32(DO_NOT_USE)
    every = np.bitwise_and.reduce(rates.dq, axis=0) & unusable
    dq = (np.bitwise_or.reduce(rates.dq, axis=0) & ~unusable) | every
    return LikelyRates(mean, err, dq, var_poisson, var_rnoise, np.sum(rates.chisq, axis=0))


def _sum_of_known(values: Array) -> Array:
    """Return sums over integrations without NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    return np.where(known.any(axis=0), np.nansum(values, axis=0), np.float32(np.nan))


def _median_of_known(values: Array) -> Array:
    """Return medians over integrations without NaN; NaN where there is nothing else."""
    unknown = np.isnan(values).all(axis=0)
    filled = np.where(unknown, np.float32(0), values)
    return np.where(unknown, np.float32(np.nan), np.nanmedian(filled, axis=0))
