"""Fit ramps by maximum likelihood, and omit differences that fit badly.

The likelihood is that of the differences of successive groups, whose covariance matrix is
tridiagonal. Source: Brandt 2024a (PASP 136, 045004); for the omitted differences, Brandt 2024b
(PASP 136, 045005). Symbols are those of the papers; the order of operations is that of stcal 1.20
``ramp_fitting.likely_fit``, so that results agree to the last bits even where they are degenerate.
"""

import math
from typing import NamedTuple

import numpy as np

from calbatch.calibrate.steps.ramp_fit.block import (
    Floats,
    Singles,
    Words,
)
from calbatch.calibrate.steps.ramp_fit.covariance import Covariance
from calbatch.models.jit import inner_kernel, kernel

ONE_OMITTED, TWO_OMITTED = 20.25, 23.8
"""Decrease of chi-squared that justifies omitting one difference, and two successive ones."""

FEWEST_TO_SEARCH = 3
"""A ramp with at most this number of differences is not searched again."""


class LikelyRates(NamedTuple):
    """Results to fill in, (integrations, pixels)."""

    data: Singles
    err: Singles
    dq: Words
    var_poisson: Singles
    var_rnoise: Singles
    chisq: Singles


class Scratch(NamedTuple):
    """Work space for one ramp of n differences: arrays of n + 1 numbers, some of which use only n.

    Attributes
    ----------
    d, use : ndarray
        Differences (DN/s), and 1 for those that are used, otherwise 0.
    dm : ndarray
        Differences (DN/s), 0 where omitted.
    alpha, beta : ndarray
        Diagonal and secondary diagonal of the covariance matrix, scaled to determinant 1.
    theta, phi, upper_theta, upper_phi, theta_d, phi_d : ndarray
        Recursions over earlier and later differences.
    db, dc : ndarray
        The inverse matrix times ``dm``, and times the weights of the rate.
    rate_one, chisq_one, rate_two, chisq_two : ndarray
        Rates and chi-squared without one difference, and without two.
    """

    d: Floats
    use: Floats
    dm: Floats
    alpha: Floats
    beta: Floats
    theta: Floats
    phi: Floats
    upper_theta: Floats
    upper_phi: Floats
    theta_d: Floats
    phi_d: Floats
    db: Floats
    dc: Floats
    rate_one: Floats
    chisq_one: Floats
    rate_two: Floats
    chisq_two: Floats


class LikelyPixels(NamedTuple):
    """Properties of pixels, (pixels,).

    Attributes
    ----------
    rate : ndarray
        Rate of the covariance matrix, DN/s.
    scale : ndarray
        Factor by which the matrix is divided; see `covariance_scales`.
    gain, noise : ndarray
        Gain (electron/DN), and read noise of one frame (DN).
    """

    rate: Floats
    scale: Floats
    gain: Floats
    noise: Floats


class LikelyPixel(NamedTuple):
    """Properties of one pixel; see `LikelyPixels`."""

    rate: float
    scale: float
    gain: float
    noise: float


class Fit(NamedTuple):
    """Sums A, B and C of the papers, and the factor by which the covariance matrix was divided."""

    a: float
    b: float
    c: float
    scale: float


@inner_kernel
def pixel_at(pixels: LikelyPixels, row: int) -> LikelyPixel:
    """Return one of several pixels."""
    return LikelyPixel(pixels.rate[row], pixels.scale[row], pixels.gain[row], pixels.noise[row])


def make_scratch(differences: int) -> Scratch:
    """Return work space for ramps of a number of differences."""
    return Scratch(*np.zeros((len(Scratch._fields), differences + 1)))


@inner_kernel
def _sign(i: int) -> float:
    return -1.0 if i % 2 == 0 else 1.0


@inner_kernel
def solve(n: int, pixel: LikelyPixel, cov: Covariance, w: Scratch) -> Fit:
    """Fit the used differences, with the covariance matrix of a rate.

    Equations 38 to 48 of Brandt 2024a, and 61 to 63, 71 and 75 for the sums::

        theta[i] = alpha[i-1] theta[i-1] - beta[i-2]**2 theta[i-2]
        phi[i] = alpha[i] phi[i+1] - beta[i]**2 phi[i+2]
        Phi[i] = Phi[i+1] beta[i] + s[i+1] beta[i] phi[i+2]
        Theta[i] = Theta[i-1] beta[i-1] + s[i] theta[i]
        C = sum(dC), B = sum(d dC), A = d Cinv d, with s[i] = -1, 1, -1, ...
    """
    alpha, beta, use, dm = w.alpha, w.beta, w.use, w.dm
    photons, reads, scale = pixel.rate / pixel.gain, pixel.noise**2, pixel.scale
    for i in range(n):
        alpha[i] = (photons * cov.photon[i] + reads * cov.read[i]) / scale
        dm[i] = w.d[i] * use[i]
    for i in range(n - 1):
        own = photons * cov.next_photon[i] + reads * cov.next_read[i]
        beta[i] = own / scale * use[i + 1] * use[i]
    theta, phi = w.theta, w.phi
    theta[0], theta[1] = 1.0, alpha[0]
    for i in range(2, n + 1):
        theta[i] = alpha[i - 1] * theta[i - 1] - beta[i - 2] ** 2 * theta[i - 2]
    phi[n], phi[n - 1] = 1.0, alpha[n - 1]
    for i in range(n - 2, -1, -1):
        phi[i] = alpha[i] * phi[i + 1] - beta[i] ** 2 * phi[i + 2]
    _sum_neighbours(n, w)
    return _add_up(n, scale, w)


@inner_kernel
def _sum_neighbours(n: int, w: Scratch) -> None:
    beta, theta, phi, dm = w.beta, w.theta, w.phi, w.dm
    w.upper_phi[n - 1], w.phi_d[n - 1] = 0.0, 0.0
    for i in range(n - 2, -1, -1):
        s = _sign(i + 1)
        w.upper_phi[i] = w.upper_phi[i + 1] * beta[i] + s * beta[i] * phi[i + 2]
        w.phi_d[i] = (w.phi_d[i + 1] + s * dm[i + 1] * phi[i + 2]) * beta[i]
    w.upper_theta[0] = -theta[0]
    w.theta_d[0], w.theta_d[1] = 0.0, -dm[0] * theta[0]
    for i in range(1, n):
        w.upper_theta[i] = w.upper_theta[i - 1] * beta[i - 1] + _sign(i) * theta[i]
        w.theta_d[i + 1] = beta[i - 1] * w.theta_d[i] + _sign(i) * dm[i] * theta[i]


@inner_kernel
def _add_up(n: int, scale: float, w: Scratch) -> Fit:
    theta, phi, dm = w.theta, w.phi, w.dm
    cross, squares, b, c = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        s = _sign(i)
        inverse = s / theta[n]
        w.dc[i] = inverse * (phi[i + 1] * w.upper_theta[i] + theta[i] * w.upper_phi[i]) * w.use[i]
        w.db[i] = inverse * (phi[i + 1] * w.theta_d[i + 1] + theta[i] * w.phi_d[i])
        before = 1.0 if i == 0 else w.beta[i - 1]
        cross += dm[i] * s / theta[n] * before * phi[i + 1] * w.theta_d[i]
        squares += dm[i] ** 2 * theta[i] * phi[i + 1] / theta[n]
        b += dm[i] * w.dc[i]
        c += w.dc[i]
    return Fit(2 * cross + squares, b, c, scale)


@inner_kernel
def omit_differences(n: int, fit: Fit, w: Scratch) -> None:
    """Fill in rates and chi-squared without one difference, or two successive ones.

    Sections 3.1 and 3.2 of Brandt 2024b. An omitted difference is replaced by a free parameter b,
    a second one by c. Differences that have already been omitted change nothing.
    """
    big_a, big_b, big_c, scale = fit
    chisq, rate = chisq_of(fit), big_b * (1 / big_c)
    dc, db = w.dc, w.db
    for i in range(n):
        own = w.theta[i] * w.phi[i + 1] / w.theta[n] * w.use[i]
        a = (own * big_b - db[i] * dc[i]) / (big_c * own - dc[i] ** 2)
        b = (db[i] - a * dc[i]) / own
        changed = (
            big_a + a**2 * big_c - 2 * a * big_b + b**2 * own - 2 * b * db[i] + 2 * a * b * dc[i]
        )
        w.rate_one[i] = a if w.use[i] != 0.0 else rate
        w.chisq_one[i] = changed / scale if w.use[i] != 0.0 else chisq
    for i in range(n - 1):
        if w.use[i] == 0.0:
            w.rate_two[i], w.chisq_two[i] = w.rate_one[i + 1], w.chisq_one[i + 1]
        elif w.use[i + 1] == 0.0:
            w.rate_two[i], w.chisq_two[i] = w.rate_one[i], w.chisq_one[i]
        else:
            w.rate_two[i], w.chisq_two[i] = _omit_two(n, i, fit, w)


@inner_kernel
def _omit_two(n: int, i: int, fit: Fit, w: Scratch) -> tuple[float, float]:
    """Return rate and chi-squared without the differences i and i + 1."""
    big_a, big_b, big_c, scale = fit
    theta, phi, j = w.theta, w.phi, i + 1
    first = theta[i] * phi[i + 1] / theta[n] * w.use[i]
    second = theta[j] * phi[j + 1] / theta[n] * w.use[j]
    both = -w.beta[i] * theta[i] * phi[i + 2] / theta[n]
    dc, dc2, db, db2 = w.dc[i], w.dc[j], w.db[i], w.db[j]
    p = dc**2 - big_c * first
    q = dc * dc2 - big_c * both
    r = big_b * dc - db * big_c
    c = r / p - (big_b * dc2 - db2 * big_c) / q
    c /= q / p - (dc2**2 - big_c * second) / q
    b = (r - c * q) / p
    a = (big_b - b * dc - c * dc2) / big_c
    chisq = big_a + a**2 * big_c + b**2 * first + c**2 * second
    chisq -= 2 * a * big_b + 2 * b * db + 2 * c * db2
    chisq += 2 * a * b * dc + 2 * a * c * dc2 + 2 * b * c * both
    return a, chisq / scale


@inner_kernel
def chisq_of(fit: Fit) -> float:
    """Return chi-squared: ``A - B**2 / C``."""
    return (fit.a - fit.b**2 / fit.c) / fit.scale


@inner_kernel
def search_ramp(n: int, pixel: LikelyPixel, cov: Covariance, w: Scratch) -> float:
    """Omit differences that fit badly, one or two at a time; return the rate of the others.

    The covariance matrix stays that of the pixel's rate. As in stcal, NaN ends the search.
    """
    rate = 0.0
    for attempt in range(n):
        fit = solve(n, pixel, cov, w)
        if attempt == 0:
            rate = fit.b * (1 / fit.c)
        omit_differences(n, fit, w)
        found, new_rate = _omit_worst(n, chisq_of(fit), cov, w)
        if not found:
            break
        rate = rate * 0.0 + new_rate
        left = 0.0
        for i in range(n):
            left += w.use[i]
        if left <= FEWEST_TO_SEARCH:
            break
    return rate


@inner_kernel
def _omit_worst(n: int, chisq: float, cov: Covariance, w: Scratch) -> tuple[bool, float]:
    """Omit the worst difference or pair if that lowers chi-squared enough.

    Return whether any was omitted, and the rate without it. Sums include all differences times 0
    or 1, as in stcal: a NaN among them makes the rate NaN.
    """
    best_one, best_two = -math.inf, -math.inf
    for i in range(n):
        better = chisq - w.chisq_one[i]
        if math.isnan(better):
            return False, math.nan
        best_one = max(best_one, better)
    for i in range(n - 1):
        better = (chisq - w.chisq_two[i]) * cov.averaged[i]
        if math.isnan(better):
            return False, math.nan
        best_two = max(best_two, better)
    one = best_one - ONE_OMITTED > best_two - TWO_OMITTED
    best, limit = (best_one, ONE_OMITTED) if one else (best_two, TWO_OMITTED)
    if not best > limit:
        return False, math.nan
    found, rate = False, 0.0
    for i in range(n if one else n - 1):
        other, value = (w.chisq_one[i], w.rate_one[i]) if one else (w.chisq_two[i], w.rate_two[i])
        is_best = chisq - other == best
        found = found or is_best
        rate += value * (1.0 if is_best else 0.0)
    for i in range(n if one else n - 1):
        other = w.chisq_one[i] if one else w.chisq_two[i]
        if chisq - other == best:
            w.use[i] = 0.0
            if not one:
                w.use[i + 1] = 0.0
    return found, rate


@inner_kernel
def _variance(n: int, factor: float, own: Floats, following: Floats, fit: Fit, w: Scratch) -> float:
    """Return a part of the variance of the rate: ``sum(w_i w_j covariance_ij)``, w = dC / C."""
    variance, cross = 0.0, 0.0
    for i in range(n):
        weight = w.dc[i] / fit.c
        variance += weight**2 * (factor * own[i])
    for i in range(n - 1):
        cross += w.dc[i + 1] / fit.c * (w.dc[i] / fit.c) * (factor * following[i])
    return variance + 2 * cross


@kernel
def search_ramps(
    d: Floats, use: Floats, pixels: LikelyPixels, cov: Covariance, w: Scratch, rate: Floats
) -> None:
    """Omit the differences of ramps that fit badly, and fill in the rates (DN/s) of the others."""
    n = cov.intervals.size
    for row in range(rate.size):
        rate[row] = math.nan
        if math.isnan(pixels.rate[row]):
            continue
        w.d[:n], w.use[:n] = d[row], use[row]
        rate[row] = search_ramp(n, pixel_at(pixels, row), cov, w)
        use[row] = w.use[:n]


@kernel
def fit_likely(
    d: Floats, use: Floats, pixels: LikelyPixels, cov: Covariance, w: Scratch, rates: LikelyRates
) -> None:
    """Fit the used differences of ramps, and fill in all results except flags."""
    n = cov.intervals.size
    for row in range(pixels.rate.size):
        w.d[:n], w.use[:n] = d[row], use[row]
        pixel = pixel_at(pixels, row)
        fit = solve(n, pixel, cov, w)
        photons, reads = pixel.rate / pixel.gain, pixel.noise**2
        rates.data[row] = fit.b * (1 / fit.c)
        rates.err[row] = math.sqrt(fit.scale / fit.c)
        rates.chisq[row] = chisq_of(fit)
        rates.var_poisson[row] = _variance(n, photons, cov.photon, cov.next_photon, fit, w)
        rates.var_rnoise[row] = _variance(n, reads, cov.read, cov.next_read, fit, w)
