"""Rates of the exposure combine those of its integrations by the equations of the ramp fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import (
    GROUP_TIME,
    empty_rates,
    few_groups,
    few_ramps,
    poisson_variances,
    read_variances,
    segment_sums,
    weighted_slope,
)

from calbatch.calibrate.steps.ramp_fit import frame
from calbatch.calibrate.steps.ramp_fit.segments import Pixel
from calbatch.calibrate.steps.ramp_fit.work import make_stretch
from calbatch.models.dq import (
    CHARGELOSS,
    DO_NOT_USE,
    JUMP_DET,
    NO_GAIN_VALUE,
    PERSISTENCE,
    SATURATED,
)
from calbatch.models.jit import kernel

GROUPS = 5


@kernel
def set_currents(current, dark, integrations):
    frame.set_currents(current, dark, integrations)


def fit(exposure, *, stretch=None, **options):
    """Return the rates of the exposure, (1, pixels), and of its integrations."""
    integrations, groups, pixels = exposure.data.shape
    plan = few_groups(groups, **options)
    rate, rateints = empty_rates(1, pixels), empty_rates(integrations, pixels)
    work = make_stretch(stretch or pixels, integrations, plan)
    frame.fit_pixels(exposure, plan, rate, rateints, work)
    return rate, rateints


def steady(*rates):
    """Return ramps of one pixel with a rate (DN/s) in each integration."""
    return np.array(rates)[:, None, None] * GROUP_TIME * np.arange(GROUPS)[:, None]


samples = st.lists(
    st.lists(st.integers(-50, 4000), min_size=GROUPS, max_size=GROUPS), min_size=2, max_size=2
)
"""Two integrations of one pixel."""


def pixel_of(samples, flags=None, dark=0.5):
    """Return the pixel of two integrations, whose current is the mean of their starting rates."""
    steps = np.diff(np.array(samples, "f8"), axis=1)
    if flags is not None:
        steps[np.array(flags)[:, 1:] & JUMP_DET != 0] = np.nan
    current = max(np.nanmedian(steps, axis=1).mean() / GROUP_TIME, 0) + dark
    return Pixel(2.0, 3.0, current)


def test_currents_are_mean_starting_rates_and_the_dark_rate():
    current = np.array([6.0, -6.0, np.nan])
    set_currents(current, few_ramps(np.zeros((1, 1, 3)), dark=0.5).dark, 3)
    assert current.tolist() == [2.5, 0.5, 0.5]


@given(samples)
def test_the_rate_of_unflagged_ramps_is_the_mean(samples):
    rate, rateints = fit(few_ramps(np.array(samples)[:, :, None], dark=0.5))
    pixel = pixel_of(samples)
    read, poisson = read_variances(GROUPS, pixel), poisson_variances(GROUPS, pixel)
    slopes = [weighted_slope(ramp, pixel) for ramp in samples]
    # The weights are powers in single precision, to a relative error of 1e-6.
    atol = 1e-5 * np.abs(samples).max()
    np.testing.assert_allclose(rateints.data[:, 0], slopes, rtol=1e-5, atol=atol)
    assert rate.data[0, 0] == pytest.approx(np.mean(slopes), rel=1e-5, abs=atol)
    # Variances and errors are in single precision.
    np.testing.assert_allclose(rateints.err, np.sqrt(read + poisson), rtol=1e-6)
    assert rate.var_rnoise[0, 0] == pytest.approx(read / 2, rel=1e-6)
    assert rate.var_poisson[0, 0] == pytest.approx(poisson / 2, rel=1e-6)
    assert rate.err[0, 0] == pytest.approx(np.sqrt((read + poisson) / 2), rel=1e-6)
    assert rate.dq[0, 0] == 0


@given(samples, st.sampled_from([2, 3]))
def test_the_rate_combines_the_segments_of_all_integrations(samples, jump):
    flags = np.zeros((2, GROUPS), "u1")
    flags[1, jump] = JUMP_DET
    exposure = few_ramps(np.array(samples)[:, :, None], flags[:, :, None], dark=0.5)
    rate, rateints = fit(exposure)
    pixel = pixel_of(samples, flags)
    each = [segment_sums(*ramp, pixel) for ramp in zip(samples, flags, strict=True)]
    slope, read, poisson, _ = np.sum(each, axis=0)
    # The weights are powers in single precision, to a relative error of 1e-6.
    atol = 1e-5 * np.abs(samples).max()
    assert rate.data[0, 0] == pytest.approx(slope / read, rel=1e-5, abs=atol)
    assert rate.var_rnoise[0, 0] == pytest.approx(1 / read, rel=1e-6)
    assert rate.var_poisson[0, 0] == pytest.approx(1 / poisson, rel=1e-6)
    assert rate.err[0, 0] == pytest.approx(np.sqrt(1 / read + 1 / poisson), rel=1e-6)
    assert rateints.dq[:, 0].tolist() == [0, JUMP_DET]
    assert rate.dq[0, 0] == JUMP_DET


@given(samples)
def test_ramps_with_and_without_flags_have_the_same_rates(samples):
    data = np.array(samples)[:, :, None]
    plain, _ = fit(few_ramps(data))
    flagged, _ = fit(few_ramps(data, PERSISTENCE))  # does not exclude a group
    for name in ("data", "err", "var_poisson", "var_rnoise"):
        found, wanted = getattr(flagged, name), getattr(plain, name)
        # The sums of products are formed in another order.
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    assert (flagged.dq[0, 0], plain.dq[0, 0]) == (PERSISTENCE, 0)


def test_an_unusable_integration_does_not_count():
    flags = np.zeros((2, GROUPS, 1), "u1")
    flags[1] = DO_NOT_USE
    rate, rateints = fit(few_ramps(steady(1, 7), flags))
    assert rate.data[0, 0] == pytest.approx(1, rel=1e-6)
    assert rate.dq[0, 0] == 0
    assert np.isnan(rateints.data[1, 0])
    assert rateints.dq[:, 0].tolist() == [0, DO_NOT_USE]


@pytest.mark.parametrize("flag", [DO_NOT_USE, DO_NOT_USE | SATURATED])
def test_without_a_usable_integration_there_is_no_rate(flag):
    rate, _ = fit(few_ramps(steady(1, 7), flag))
    assert np.isnan(rate.data[0, 0])
    assert rate.dq[0, 0] == flag
    assert (rate.err[0, 0], rate.var_rnoise[0, 0], rate.var_poisson[0, 0]) == (0, 0, 0)


def test_a_saturated_group_is_noted_in_the_rate():
    flags = np.zeros((2, GROUPS, 1), "u1")
    flags[0, 3:] = SATURATED
    rate, _ = fit(few_ramps(steady(2, 2), flags))
    assert rate.data[0, 0] == pytest.approx(2, rel=1e-6)
    assert rate.dq[0, 0] == SATURATED


@pytest.mark.parametrize("gain", [0.0, -1.0, np.nan])
def test_pixels_without_a_gain_have_no_rate(gain):
    rate, _ = fit(few_ramps(steady(2, 2), gain=gain))
    assert np.isnan(rate.data[0, 0])
    assert rate.dq[0, 0] == NO_GAIN_VALUE | DO_NOT_USE


def test_charge_loss_in_one_integration_reduces_only_the_read_noise():
    flags = np.zeros((2, GROUPS, 1), "u1")
    flags[1, 3:] = CHARGELOSS | DO_NOT_USE
    rate, _ = fit(few_ramps(steady(2, 2), flags))
    pixel = Pixel(2.0, 3.0, 2.0)
    three, five = read_variances(3, pixel), read_variances(5, pixel)
    steps = 2 + 4  # differences of groups that are fitted
    poisson = poisson_variances(2, pixel) / steps
    assert rate.var_rnoise[0, 0] == pytest.approx(five / 2, rel=1e-6)  # single precision
    assert rate.var_poisson[0, 0] == pytest.approx(poisson, rel=1e-6)
    error = np.sqrt(1 / (1 / three + 1 / five) + poisson)
    assert rate.err[0, 0] == pytest.approx(error, rel=1e-6)


def test_groups_outside_the_window_do_not_count():
    data = steady(3)
    data[0, [0, -1], 0] = 9999, -9999
    rate, _ = fit(few_ramps(data), window=(1, 4))
    assert rate.data[0, 0] == pytest.approx(3, rel=1e-6)
    assert rate.var_rnoise[0, 0] == pytest.approx(read_variances(3, Pixel(2, 3, 3)), rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_rates_do_not_depend_on_the_size_of_a_stretch(seed, stretch):
    rng = np.random.default_rng(seed)
    data = np.cumsum(rng.normal(50, 30, (2, GROUPS, 7)), axis=1)
    flags = rng.choice([0, 0, 0, JUMP_DET, SATURATED, DO_NOT_USE], data.shape)
    exposure = few_ramps(data, flags)
    for found, wanted in zip(fit(exposure, stretch=stretch), fit(exposure), strict=True):
        for array, whole in zip(found, wanted, strict=True):
            assert array.tobytes() == whole.tobytes()
