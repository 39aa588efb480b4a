"""The fit of one ramp is generalized least squares, and omits differences that fit badly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.steps.ramp_fit import likelihood
from calbatch.calibrate.steps.ramp_fit.covariance import (
    covariance_scales,
    make_covariance,
    make_regular_times,
)
from calbatch.models.jit import kernel

GAIN, NOISE = 1.8, 9.0


@kernel
def solve(n, pixel, cov, w):
    fit = likelihood.solve(n, pixel, cov, w)
    likelihood.omit_differences(n, fit, w)
    return fit


@kernel
def search_ramp(n, pixel, cov, w):
    return likelihood.search_ramp(n, pixel, cov, w)


def pixel_of(rate, cov):
    """Return a pixel whose covariance matrix is that of a rate."""
    arrays = np.array([rate]), np.array([GAIN]), np.array([NOISE])
    (scale,) = covariance_scales(*arrays, cov)
    return likelihood.LikelyPixel(rate, float(scale), GAIN, NOISE)


def covariance(groups, frames=2):
    return make_covariance(make_regular_times(groups, frames, 1, 3.0))


def matrix(cov, rate):
    """Return the covariance matrix of the differences."""
    own = rate / GAIN * cov.photon + NOISE**2 * cov.read
    following = rate / GAIN * cov.next_photon + NOISE**2 * cov.next_read
    return np.diag(own) + np.diag(following, 1) + np.diag(following, -1)


def least_squares(differences, covariances):
    """Return rate and chi-squared of differences that have a common mean."""
    inverse = np.linalg.inv(covariances)
    rate = inverse.sum(axis=0) @ differences / inverse.sum()
    rest = differences - rate
    return rate, rest @ inverse @ rest


def scratch(differences, use=None):
    w = likelihood.make_scratch(len(differences))
    w.d[:-1] = differences
    w.use[:-1] = 1 if use is None else use
    return w


differences = st.lists(st.integers(-20, 400), min_size=5, max_size=14).map(np.array)


@given(differences, st.sampled_from([0.0, 10.0, 500.0]), st.data())
def test_it_is_generalized_least_squares_of_the_used_differences(found, rate, data):
    n = len(found)
    left_out = data.draw(st.sets(st.integers(0, n - 1), max_size=n - 4))
    use = np.array([i not in left_out for i in range(n)])
    cov = covariance(n + 1)
    w = scratch(found, use)
    fit = solve(n, pixel_of(rate, cov), cov, w)
    whole = matrix(cov, rate)
    # Covariance matrices of up to 14 differences are inverted to about 1e-12.
    assert summarize(fit) == pytest.approx(
        least_squares(found[use], whole[np.ix_(use, use)]), 1e-8, 1e-8
    )
    for i in range(n):
        rest = use & (np.arange(n) != i)
        wanted = least_squares(found[rest], whole[np.ix_(rest, rest)])
        assert (w.rate_one[i], w.chisq_one[i]) == pytest.approx(wanted, 1e-7, 1e-7)
    for i in range(n - 1):
        rest = use & (np.arange(n) != i) & (np.arange(n) != i + 1)
        wanted = least_squares(found[rest], whole[np.ix_(rest, rest)])
        if np.isfinite(w.chisq_two[i]):  # the papers' formula may divide 0 by 0
            assert (w.rate_two[i], w.chisq_two[i]) == pytest.approx(wanted, 1e-6, 1e-6)


def summarize(fit):
    """Return the rate and chi-squared of a fit."""
    return fit.b / fit.c, (fit.a - fit.b**2 / fit.c) / fit.scale


def search(w, frames):
    """Search a ramp of nine differences of about 20 DN/s; return the rate."""
    cov = covariance(10, frames)
    return search_ramp(9, pixel_of(20.0, cov), cov, w)


class TestSearch:
    @pytest.mark.parametrize("frames", [1, 4])
    def test_a_jump_between_groups_is_omitted(self, frames):
        found = np.full(9, 20.0)
        found[3] = 900
        w = scratch(found)
        rate = search(w, frames)
        assert w.use[:9].tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1]
        assert rate == pytest.approx(20, rel=1e-9)

    def test_a_jump_within_an_averaged_group_costs_two_differences(self):
        found = np.full(9, 20.0)
        found[3:5] = 500
        w = scratch(found)
        rate = search(w, 4)
        assert w.use[:9].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1]
        assert rate == pytest.approx(20, rel=1e-9)

    def test_steady_ramps_are_left_alone(self):
        w = scratch([21.0, 19.0, 22.0, 18.0, 20.0, 21.0, 19.0, 21.0, 19.0])
        search(w, 2)
        assert w.use[:9].all()
