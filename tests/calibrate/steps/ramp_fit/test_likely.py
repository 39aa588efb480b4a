"""The likelihood fit agrees with stcal's for all kinds of ramps."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.fitted_ramps import (
    ARRAYS,
    DO_NOT_USE,
    FLAGS,
    JUMP,
    SATURATED,
    assert_near,
    assert_rates_agree,
    draw,
    flag_at_random,
    jwst_fit,
    our_likely_fit,
    spoil,
    with_zero_frames,
)
from support.undecided_ramps import divides_zero_by_zero, is_undecided

from calbatch.calibrate.steps.ramp_fit.likelihood import LikelyRates
from calbatch.calibrate.steps.ramp_fit.likely import combine_integrations

pytestmark = pytest.mark.agreement

UNDECIDED = {
    "seed": 1546,
    "integrations": 2,
    "groups": 14,
    "frames": (1, 2),
    "chance": 0.1,
    "flags": {DO_NOT_USE, SATURATED, JUMP},
}
"""Draws a row of ramps, of which rounding decides one: the ramp 20 of the second integration."""


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def compare_fits(ramps, *, window=(None, None), ours=None):
    """Compare our rates and chi-squared with jwst's; return ours.

    Whether the search for jumps ends can depend on rounding: on whether a divisor that is exactly 0
    is computed as 0 or as 1e-15. stcal adds in another order if only one ramp of a row is searched
    again, so that its own result of such a ramp depends on its neighbours. Ramps that differ, and
    for which this is so in exact arithmetic, are flagged, and all others are compared.
    """
    found, (rate, rateints, _) = fit_both(ramps, window, ours)
    undecided = find_undecided(ramps, found[1]["data"], rateints["data"])
    if undecided.any():
        flagged = ramps.groupdq | np.where(undecided[:, None], np.uint8(JUMP), np.uint8(0))
        ramps = replace(ramps, groupdq=flagged)
        found, (rate, rateints, _) = fit_both(ramps, window, ours)
    chisq = rate.pop("chisq")
    rateints.pop("chisq")
    assert_rates_agree(found[0], rate)
    assert_rates_agree(found[1], rateints)
    # Chi-squared is a difference of sums of squares, about one for each difference of groups.
    assert_near(found[2], chisq, 1e-3, "chisq")
    return found


def fit_both(ramps, window=(None, None), ours=None):
    """Return our results and jwst's."""
    wanted = jwst_fit(ramps, window=window, algorithm="LIKELY")
    return our_likely_fit(ramps, window=ours), wanted


def find_undecided(ramps, found, wanted):
    """Return the mask of ramps that differ because rounding decides whether their search ends."""
    differ = ~np.isclose(found, wanted, rtol=1e-3, atol=0, equal_nan=True)
    for at in np.argwhere(differ):
        differ[tuple(at)] = is_undecided(ramps, *at)
    return differ


def wide(rng, integrations, groups, **times):
    """Draw ramps of two long rows, since jwst fits one row after another."""
    return draw(rng, integrations, groups, rows=2, columns=96, **times)


def hit(ramps, rng, chance=0.05):
    """Add cosmic rays that jump detection has missed."""
    steps = (rng.random(ramps.data.shape) < chance) * rng.exponential(2000, ramps.data.shape)
    return replace(ramps, data=ramps.data + np.cumsum(steps, axis=1).astype(np.float32))


def draw_row(seed, integrations, groups, frames, chance, flags):
    """Draw a row of ramps with jumps, flags and bad pixels."""
    rng = np.random.default_rng(seed)
    ramps = draw(rng, integrations, groups, 1, 48, nframes=frames[0], groupgap=frames[1])
    return spoil(flag_at_random(hit(ramps, rng), rng, chance, sorted(flags)), rng, chance)


def patterns(longest):
    """Return all patterns of used differences, up to a number of differences."""
    return [
        np.array(use)
        for n in range(1, longest + 1)
        for use in product((False, True), repeat=n)
        if any(use)
    ]


def test_undecided_ramps_are_those_whose_divisor_is_zero():
    for use in patterns(9):
        n = use.size
        covariance = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
        inverse = np.zeros((n, n))
        inverse[np.ix_(use, use)] = np.linalg.inv(covariance[np.ix_(use, use)])
        dc = inverse.sum(axis=0)
        divisor = (dc[1:] * dc[:-1] - dc.sum() * np.diagonal(inverse, 1))[use[1:] & use[:-1]]
        # Other divisors are fractions with small denominators.
        assert divides_zero_by_zero(use) == np.any(np.abs(divisor) < 1e-9)


class TestRates:
    @pytest.mark.parametrize("frames", [(1, 0), (4, 1)], ids=["single", "averaged"])
    @pytest.mark.parametrize("integrations", [1, 3])
    @pytest.mark.parametrize("groups", [4, 5, 10, 45])
    def test_unflagged_ramps(self, rng, groups, integrations, frames):
        ramps = wide(rng, integrations, groups, nframes=frames[0], groupgap=frames[1])
        found = compare_fits(hit(ramps, rng))
        assert np.any(found[0]["dq"] & JUMP)  # its own, on top of the jumps flagged before
        assert np.isfinite(found[0]["data"]).mean() > 0.9

    @pytest.mark.parametrize("frames", [(1, 0), (4, 1)], ids=["single", "averaged"])
    @pytest.mark.parametrize("groups", [5, 12])
    def test_flagged_and_invalid_ramps(self, rng, groups, frames):
        ramps = wide(rng, 2, groups, nframes=frames[0], groupgap=frames[1])
        compare_fits(spoil(flag_at_random(hit(ramps, rng), rng), rng))

    @pytest.mark.parametrize("frames", [(1, 0), (2, 0), (8, 2)], ids=str)
    @pytest.mark.parametrize("groups", [4, 9])
    def test_zero_frames(self, rng, groups, frames):
        ramps = wide(rng, 2, groups, nframes=frames[0], groupgap=frames[1])
        compare_fits(with_zero_frames(flag_at_random(hit(ramps, rng), rng, 0.05), rng))

    def test_groups_outside_the_window_are_left_out(self, rng):
        compare_fits(wide(rng, 1, 9), window=(2, 6), ours=(2, 7))

    @settings(max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        integrations=st.integers(1, 4),
        groups=st.integers(4, 14),
        frames=st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(0, 3)),
        chance=st.sampled_from([0.01, 0.1, 0.3]),
        flags=st.sets(st.sampled_from(FLAGS)),
    )
    @example(**UNDECIDED)
    def test_drawn(self, seed, integrations, groups, frames, chance, flags):
        compare_fits(draw_row(seed, integrations, groups, frames, chance, flags))

    def test_rounding_decides_whether_a_search_ends(self):
        ramps = draw_row(**UNDECIDED)
        alone = replace(ramps, **{f: getattr(ramps, f)[..., 20:21] for f in ARRAYS})
        # Without the first jump found, four successive differences are left.
        assert is_undecided(alone, 1, 0, 0)
        assert not is_undecided(alone, 0, 0, 0)
        in_row, by_itself = our_likely_fit(ramps), our_likely_fit(alone)
        assert by_itself[0]["data"][0, 0] == in_row[0]["data"][0, 20]
        compare_fits(alone)


def test_integrations_are_averaged_by_the_variances_at_the_mean_rate():
    shape = (2, 1, 1)
    data, variance = np.array([4.0, 6.0], "f4").reshape(shape), np.ones(shape, "f4")
    rates = LikelyRates(data, variance, np.zeros(shape, "u4"), variance * 0, variance, variance)
    found = combine_integrations(rates)
    # Without Poisson noise, both count equally.
    assert found.data[0, 0] == 5
    assert (found.var_rnoise[0, 0], found.var_poisson[0, 0]) == (0.5, 0)
    assert found.err[0, 0] == pytest.approx(np.sqrt(0.5), rel=1e-6)  # single precision
    assert found.chisq[0, 0] == 2


def test_an_integration_without_a_rate_is_left_out():
    shape = (2, 1, 1)
    data, ones = np.array([4.0, np.nan], "f4").reshape(shape), np.ones(shape, "f4")
    flags = np.array([JUMP, 1], "u4").reshape(shape)
    found = combine_integrations(LikelyRates(data, ones, flags, ones * data, ones * data, ones))
    assert found.data[0, 0] == 4
    assert found.dq[0, 0] == JUMP
