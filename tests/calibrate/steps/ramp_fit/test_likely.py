"""The likelihood fit agrees with stcal's for all kinds of ramps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fitted_ramps import (
    FLAGS,
    JUMP,
    assert_near,
    assert_rates_agree,
    draw,
    flag_at_random,
    jwst_fit,
    our_likely_fit,
    spoil,
    with_zero_frames,
)

from calbatch.calibrate.steps.ramp_fit.likelihood import LikelyRates
from calbatch.calibrate.steps.ramp_fit.likely import combine_integrations

pytestmark = pytest.mark.agreement


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def agree(ramps, *, window=(None, None), ours=None):
    """Compare our rates and chi-squared with jwst's; return ours."""
    rate, rateints, _ = jwst_fit(ramps, window=window, algorithm="LIKELY")
    found = our_likely_fit(ramps, window=ours)
    chisq = rate.pop("chisq")
    rateints.pop("chisq")
    assert_rates_agree(found[0], rate)
    assert_rates_agree(found[1], rateints)
    # Chi-squared is a difference of sums of squares, about one for each difference of groups.
    assert_near(found[2], chisq, 1e-3, "chisq")
    return found


def wide(rng, integrations, groups, **times):
    """Draw ramps of two long rows, since jwst fits one row after another."""
    return draw(rng, integrations, groups, rows=2, columns=96, **times)


def hit(ramps, rng, chance=0.05):
    """Add cosmic rays that jump detection has missed."""
    steps = (rng.random(ramps.data.shape) < chance) * rng.exponential(2000, ramps.data.shape)
    return replace(ramps, data=ramps.data + np.cumsum(steps, axis=1).astype(np.float32))


class TestRates:
    @pytest.mark.parametrize("frames", [(1, 0), (4, 1)], ids=["single", "averaged"])
    @pytest.mark.parametrize("integrations", [1, 3])
    @pytest.mark.parametrize("groups", [4, 5, 10, 45])
    def test_unflagged_ramps(self, rng, groups, integrations, frames):
        ramps = wide(rng, integrations, groups, nframes=frames[0], groupgap=frames[1])
        found = agree(hit(ramps, rng))
        assert np.any(found[0]["dq"] & JUMP)  # its own, on top of the jumps flagged before
        assert np.isfinite(found[0]["data"]).mean() > 0.9

    @pytest.mark.parametrize("frames", [(1, 0), (4, 1)], ids=["single", "averaged"])
    @pytest.mark.parametrize("groups", [5, 12])
    def test_flagged_and_invalid_ramps(self, rng, groups, frames):
        ramps = wide(rng, 2, groups, nframes=frames[0], groupgap=frames[1])
        agree(spoil(flag_at_random(hit(ramps, rng), rng), rng))

    @pytest.mark.parametrize("frames", [(1, 0), (2, 0), (8, 2)], ids=str)
    @pytest.mark.parametrize("groups", [4, 9])
    def test_zero_frames(self, rng, groups, frames):
        ramps = wide(rng, 2, groups, nframes=frames[0], groupgap=frames[1])
        agree(with_zero_frames(flag_at_random(hit(ramps, rng), rng, 0.05), rng))

    def test_groups_outside_the_window_are_left_out(self, rng):
        agree(wide(rng, 1, 9), window=(2, 6), ours=(2, 7))

    @settings(max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        integrations=st.integers(1, 4),
        groups=st.integers(4, 14),
        frames=st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(0, 3)),
        chance=st.sampled_from([0.01, 0.1, 0.3]),
        flags=st.sets(st.sampled_from(FLAGS)),
    )
    def test_drawn(self, seed, integrations, groups, frames, chance, flags):
        rng = np.random.default_rng(seed)
        ramps = draw(rng, integrations, groups, 1, 48, nframes=frames[0], groupgap=frames[1])
        agree(spoil(flag_at_random(hit(ramps, rng), rng, chance, sorted(flags)), rng, chance))


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
