"""Ramps whose search for jumps by likelihood ends or goes on depending on rounding."""

from collections.abc import Iterator

import numpy as np

from calbatch.calibrate.steps.ramp_fit.likelihood import (
    FEWEST_TO_SEARCH,
    ONE_OMITTED,
    TWO_OMITTED,
)

THRESHOLDS = {1: ONE_OMITTED, 2: TWO_OMITTED}


def is_undecided(ramps, integ, row, column):
    """Return whether the search comes to differences with `divides_zero_by_zero`.

    Only ramps without photon noise, whose median difference is not positive, are recognized. The
    search of ramps that are not finite ends at once.
    """
    d = np.diff(ramps.data[integ, :, row, column].astype(np.float64))
    if not np.isfinite(d).all() or np.median(d) > 0:
        return False
    good = ramps.groupdq[integ, :, row, column] == 0
    variance = ramps.readnoise[row, column].astype(np.float64) ** 2 / 2 / ramps.times["nframes"]
    use = good[1:] & good[:-1]
    return any(divides_zero_by_zero(use) for use in _search(d, use, variance, ramps.times))


def divides_zero_by_zero(use):
    """Return whether a divisor of the fit without two successive differences is exactly 0.

    The divisor is ``dC_i dC_i+1 - C Cinv_i,i+1``; the fit is NaN if it is computed as 0, which ends
    the search. Without photon noise, the inverse covariance matrix of m successive differences is
    proportional to ``min(i, j) (m + 1 - max(i, j)) / (m + 1)``, i and j from 1 to m. Its sums over
    one index are ``dC_i = i (m + 1 - i) / 2``, and over both ``m (m + 1) (m + 2) / 12``, of which C
    is the total for all runs of successive differences. Hence the equation, in integers.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], use, [0]])))
    runs = (edges[1::2] - edges[::2]).tolist()
    total = sum(m * (m + 1) * (m + 2) for m in runs)
    return any(3 * (m + 1) * (i + 1) * (m + 1 - i) == total for m in runs for i in range(1, m))


def _search(d, use, variance, times) -> Iterator[np.ndarray]:
    """Yield the differences that are used, before each omission and after the last."""
    n = d.size
    covariance = variance * (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
    choices = [[i] for i in range(n)]
    if times["nframes"] > 1:
        choices += [[i, i + 1] for i in range(n - 1)]
    while True:
        yield use
        rests = [(len(c), np.isin(np.arange(n), c, invert=True) & use) for c in choices]
        before = _chisq(d, use, covariance)
        better = [before - _chisq(d, rest, covariance) - THRESHOLDS[k] for k, rest in rests]
        best = int(np.argmax(better))
        if not better[best] > 0:
            return
        use = rests[best][1]
        if use.sum() <= FEWEST_TO_SEARCH:
            return


def _chisq(d, use, covariance):
    """Return chi-squared of the used differences around their generalized least-squares mean."""
    if not use.any():
        return np.inf
    inverse = np.linalg.inv(covariance[np.ix_(use, use)])
    rest = d[use] - inverse.sum(axis=0) @ d[use] / inverse.sum()
    return rest @ inverse @ rest
