"""Fits of flagged ramps combine their segments by the equations of the ramp fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import (
    GROUP_TIME,
    ONE_GROUP_TIME,
    empty_rates,
    few_groups,
    few_ramps,
    good_runs,
    poisson_variances,
    read_variances,
    segment_sums,
)

from calbatch.calibrate.steps.ramp_fit import flagged
from calbatch.calibrate.steps.ramp_fit.block import UNUSABLE
from calbatch.calibrate.steps.ramp_fit.segments import Pixel
from calbatch.calibrate.steps.ramp_fit.work import make_stretch
from calbatch.models.dq import CHARGELOSS, DO_NOT_USE, JUMP_DET, PERSISTENCE, SATURATED
from calbatch.models.jit import kernel

GROUPS = 6
PIXEL = Pixel(gain=2.0, noise=3.0, current=40.0)


@kernel
def add_odd_rates(exposure, low, odd, plan, work):
    return flagged.add_odd_rates(exposure, 0, low, odd, plan, work)


@kernel
def fit_odd(exposure, count, plan, work, rates):
    flagged.fit_odd(exposure, 0, 0, count, plan, work, rates)


def fit(samples, flags, *, pixeldq=0, suppress=True, groups=GROUPS):
    """Fit one ramp with a current of 40 DN/s; return its rate and the sums, as numbers."""
    exposure = few_ramps(np.reshape(samples, (1, groups, 1)), np.reshape(flags, (1, groups, 1)))
    plan = few_groups(groups, suppress=suppress)
    work, rates = make_stretch(1, 1, plan), empty_rates(1, 1)
    for array in work.sums:
        array[:] = 0
    work.sums.whole[:], work.sums.every_flag[:] = 1, UNUSABLE
    work.odd[:], work.noise[:], work.dq[:], work.current[:] = 1, PIXEL.noise, pixeldq, 0
    count = add_odd_rates(exposure, 0, work.odd[0], plan, work)
    work.current[:] = PIXEL.current
    fit_odd(exposure, count, plan, work, rates)
    rate = type(rates)(*(array[0, 0] for array in rates))
    return rate, type(work.sums)(*(array[0] for array in work.sums))


samples = st.lists(st.integers(-50, 4000), min_size=GROUPS, max_size=GROUPS)
usable = st.lists(
    st.sampled_from([0, 0, 0, PERSISTENCE, JUMP_DET, DO_NOT_USE]),
    min_size=GROUPS,
    max_size=GROUPS,
).filter(lambda flags: max((stop - start for start, stop in good_runs(flags)), default=0) > 1)
"""Flags of ramps with a segment of two groups or more."""


class TestStartingRates:
    def test_only_odd_ramps_add_theirs(self):
        data = np.arange(4)[:, None] * np.array([8, 16, 24, 32])
        exposure, plan = few_ramps([data]), few_groups(4)
        work = make_stretch(3, 1, plan)
        work.current[:] = 1
        odd = np.array([1, 0, 9], "u1")
        count = add_odd_rates(exposure, 1, odd, plan, work)
        assert (count, work.block.where[:2].tolist()) == (2, [0, 2])
        assert work.current.tolist() == [1 + 2, 1, 1 + 4]

    def test_jumps_do_not_count(self):
        exposure = few_ramps(np.reshape([0, 8, 808, 816], (1, 4, 1)), [[[0], [0], [4], [0]]])
        plan = few_groups(4)
        work = make_stretch(1, 1, plan)
        work.current[:] = 0
        add_odd_rates(exposure, 0, np.ones(1, "u1"), plan, work)
        assert work.current[0] == 8 / GROUP_TIME


class TestRates:
    @given(samples, usable)
    def test_segments_are_weighted_by_their_read_variances(self, samples, flags):
        rate, sums = fit(samples, flags, suppress=False)
        slope, read, poisson, both = segment_sums(samples, flags, PIXEL)
        # The weights are powers in single precision, to a relative error of 1e-6.
        tolerance = 1e-5 * np.abs(samples).max()
        assert rate.data == pytest.approx(slope / read, rel=1e-5, abs=tolerance)
        assert rate.var_rnoise == pytest.approx(1 / read, rel=1e-6)
        assert rate.var_poisson == pytest.approx(1 / poisson, rel=1e-6)
        assert rate.err == pytest.approx(np.sqrt(1 / both), rel=1e-6)
        # Sums are in double precision.
        assert sums.inv_var_read == pytest.approx(read, rel=1e-12)
        assert sums.inv_var_poisson == pytest.approx(poisson, rel=1e-12)
        assert sums.slope == pytest.approx(rate.data * read, rel=1e-6)

    @given(samples, usable)
    def test_jumps_and_persistence_pass_to_the_rate(self, samples, flags):
        rate, sums = fit(samples, flags, pixeldq=1 << 10, suppress=False)
        passed = np.bitwise_or.reduce(flags) & (JUMP_DET | PERSISTENCE)
        assert rate.dq == passed | 1 << 10
        assert sums.any_flag == passed
        assert (sums.whole, sums.every_flag, sums.partial) == (0, 0, 0)

    def test_a_saturated_end_is_noted(self):
        rate, sums = fit([0, 8, 16, 9, 9, 9], [0, 0, 0, 2, 2, 2])
        assert rate.data == pytest.approx(1.0, rel=1e-6)
        assert (rate.dq, sums.partial) == (SATURATED, SATURATED)

    @pytest.mark.parametrize("flags", [[2] * 6, [2, 0, 0, 0, 0, 0], [1] * 6, [1, 2, 2, 2, 2, 2]])
    def test_ramps_without_usable_groups_have_no_rate(self, flags):
        rate, sums = fit([0, 8, 16, 24, 32, 40], flags)
        assert np.isnan(rate.data)
        assert (rate.err, rate.var_rnoise, rate.var_poisson) == (0, 0, 0)
        assert rate.dq & DO_NOT_USE
        assert (sums.slope, sums.inv_var_read) == (0, 0)

    def test_an_unusable_pixel_has_no_rate(self):
        rate, sums = fit([0, 8, 16, 24, 32, 40], [0] * 6, pixeldq=DO_NOT_USE)
        assert np.isnan(rate.data)
        assert (rate.err, rate.dq, sums.every_flag) == (0, DO_NOT_USE, DO_NOT_USE)

    def test_a_first_group_alone_is_divided_by_the_time_from_the_reset(self):
        rate, _ = fit([12, 9, 9], [0, 2, 2], groups=3, suppress=False)
        assert rate.data == np.float32(12 / ONE_GROUP_TIME)
        expected = read_variances(2, PIXEL, ONE_GROUP_TIME)
        assert rate.var_rnoise == pytest.approx(expected, rel=1e-6)  # single precision

    def test_a_suppressed_group_has_no_rate(self):
        rate, _ = fit([12, 9, 9], [0, 2, 2], groups=3)
        assert np.isnan(rate.data)


def test_groups_with_charge_loss_reduce_only_the_read_noise():
    lost = CHARGELOSS | DO_NOT_USE
    rate, sums = fit([0, 8, 16, 24, 20, 20], [0, 0, 0, 0, lost, lost])
    assert rate.data == pytest.approx(1.0, rel=1e-6)
    four, six = read_variances(4, PIXEL), read_variances(6, PIXEL)
    error = np.sqrt(four + poisson_variances(4, PIXEL))
    assert rate.err == pytest.approx(error, rel=1e-6)  # single precision
    assert rate.var_rnoise == pytest.approx(six, rel=1e-6)
    assert sums.charged == 1
    assert sums.uncharged == pytest.approx(1 / six, rel=1e-12)
    assert sums.inv_var_read == pytest.approx(1 / four, rel=1e-12)
