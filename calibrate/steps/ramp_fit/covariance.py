"""Covariance of the differences of a ramp's groups, from the times of their reads.

Source: Brandt 2024 (PASP 136, 045004), as in stcal 1.20 ``ramp_fitting.likely_algo_classes``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import kernel

Floats = npt.NDArray[np.float64]

RESCALED = 10
"""Number of factors of the determinant after which the product is scaled to 1."""


class Covariance(NamedTuple):
    """Covariance matrix of the differences of successive groups per second, which is tridiagonal.

    With the rate a (DN/s), the gain g and the read noise R of a frame (DN), its diagonal and its
    secondary diagonal are ``a / g * photon + R**2 * read``.

    Attributes
    ----------
    intervals : ndarray, (differences,)
        Seconds between the mean times of the groups.
    photon, read : ndarray, (differences,)
        Coefficients of the diagonal.
    next_photon, next_read : ndarray, (differences - 1,)
        Coefficients of the secondary diagonal.
    averaged : ndarray, (differences - 1,)
        1 if the group between two differences averages several reads, otherwise 0.
    """

    intervals: Floats
    photon: Floats
    read: Floats
    next_photon: Floats
    next_read: Floats
    averaged: Floats


def make_regular_times(groups: int, frames: int, gap: int, frame_time: float) -> list[Floats]:
    """Return the times (s) of the reads of each group, ``gap`` frames apart."""
    numbers = np.arange(1, frames + 1)
    seconds = np.float64(frame_time)
    return [np.asarray((numbers + g * (frames + gap)) * seconds) for g in range(groups)]


def separate_first_read(times: Sequence[Floats]) -> list[Floats]:
    """Return the times with the first group's first read, the zero frame, as a group of its own."""
    first, *later = times
    return [first[:1], first[1:], *later]


def make_covariance(times: Sequence[Any]) -> Covariance:
    """Return the coefficients of the covariance matrix of the differences of groups.

    For N reads at the times t_1, ..., t_N of a group (equations 4, 11, 28 and 29)::

        mean = sum(t_k) / N
        tau = sum((2 (N - k) + 1) t_k) / N**2
        photon[i] = (tau[i] + tau[i+1] - 2 mean[i]) / interval[i]**2
        read[i] = (1 / N[i] + 1 / N[i+1]) / interval[i]**2
        next_photon[i] = (mean[i+1] - tau[i+1]) / (interval[i] interval[i+1])
        next_read[i] = -1 / (N[i+1] interval[i] interval[i+1])

    Parameters
    ----------
    times : sequence
        Times of the reads (s) of each group.
    """
    reads = [np.atleast_1d(np.asarray(group, np.float64)) for group in times]
    count = np.array([group.size for group in reads])
    mean = np.array([np.mean(group) for group in reads])
    tau = np.array([_weighted_mean(group) for group in reads])
    interval = mean[1:] - mean[:-1]
    both = interval[1:] * interval[:-1]
    return Covariance(
        intervals=interval,
        photon=(tau[:-1] + tau[1:] - 2 * mean[:-1]) / interval**2,
        read=(1 / count[:-1] + 1 / count[1:]) / interval**2,
        next_photon=(mean[1:-1] - tau[1:-1]) / both,
        next_read=-1 / (count[1:-1] * interval[1:] * interval[:-1]),
        averaged=(count[1:-1] > 1).astype(np.float64),
    )


def _weighted_mean(times: Floats) -> float:
    size = times.size
    weights = 2 * (size - np.arange(1, size + 1)) + 1
    return float(np.sum(weights * times) / size**2)


def covariance_scales(rate: Floats, gain: Floats, noise: Floats, cov: Covariance) -> Floats:
    """Return the n-th root of the determinant of each pixel's covariance matrix.

    The determinant ``theta[n]``, with ``theta[i] = alpha[i-1] theta[i-1] - beta[i-2]**2
    theta[i-2]``, could overflow: every few factors, it is scaled to 1. The roots are those of
    NumPy, since others differ in the last bit, which decides between equally good fits.
    """
    n = cov.intervals.size
    scale, last, before = np.ones(rate.size), np.empty(rate.size), np.ones(rate.size)
    for stop in (*range(RESCALED, n, RESCALED), n):
        start = (stop - 1) // RESCALED * RESCALED
        _multiply_factors(rate, gain, noise, cov, (start, stop), scale, last, before)
        root = last ** (1.0 / stop)
        scale *= root
        rest = last / root
        before /= rest
        last[:] = 1.0
    return scale


@kernel
def _multiply_factors(
    rate: Floats,
    gain: Floats,
    noise: Floats,
    cov: Covariance,
    span: tuple[int, int],
    scale: Floats,
    last: Floats,
    before: Floats,
) -> None:
    """Continue theta from ``span[0]`` to ``span[1]``; keep its last value and the one before."""
    for at in range(rate.size):
        photons, reads, s = rate[at] / gain[at], noise[at] ** 2, scale[at]
        older, old = before[at], last[at]
        first = span[0] + 1
        if span[0] == 0:
            older, old, first = 1.0, photons * cov.photon[0] + reads * cov.read[0], 2
        for i in range(first, span[1] + 1):
            alpha = photons * cov.photon[i - 1] + reads * cov.read[i - 1]
            beta = photons * cov.next_photon[i - 2] + reads * cov.next_read[i - 2]
            new = alpha / s * old - beta**2 / s**2 * older
            older, old = old, new
        before[at], last[at] = older, old
