"""Compiled loops of 1/f cleaning, compared with NumPy."""

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats

from calbatch.calibrate.steps.clean_flicker_noise import loops
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED


def test_values_under_a_mask_are_collected_without_nan():
    rng = np.random.default_rng(1)
    frame = rng.normal(size=(7, 9)).astype("f4")
    frame[rng.random(frame.shape) < 0.3] = np.nan
    mask = rng.random(frame.shape) < 0.6
    found = np.empty(frame.size, "f4")
    count = loops.collect_values(frame, mask, found)
    np.testing.assert_array_equal(found[:count], frame[mask & ~np.isnan(frame)])


def test_differences_are_unusable_where_the_later_group_is():
    before = np.arange(8, dtype="f4").reshape(2, 4)
    flags = np.zeros(before.shape, "u1")
    flags[0, :3] = DO_NOT_USE, JUMP_DET, SATURATED
    found = np.empty_like(before)
    loops.subtract_usable(before + 3, before, flags, found)
    np.testing.assert_array_equal(found, [[np.nan, np.nan, 3, 3], [3, 3, 3, 3]])


@pytest.mark.parametrize("limit", [-1.0, 0.0, 0.5, 2.0, 9.0])
def test_positions_in_sorted_values(limit):
    values = np.array([0, 0, 1, 2, 2, 3], "f4")
    assert loops.count_below(values, 0, 6, limit) == np.searchsorted(values, limit, "left")
    assert loops.count_to(values, 0, 6, limit) == np.searchsorted(values, limit, "right")


def test_the_range_of_finite_values():
    values = np.array([-np.inf, 1, 2, np.inf], "f4")
    assert loops.finite_range(values) == (1, 3)


def test_sums_are_added_up_again_after_a_huge_value():
    values = np.sort(np.append(np.random.default_rng(3).normal(0, 1, 999), 1e12).astype("f4"))
    found = loops.clip_values(values, 0, values.size, 3.0)
    np.testing.assert_allclose(found, sigma_clipped_stats(values.astype("f8"), sigma=3), rtol=1e-9)


def test_the_lower_half_without_values_has_no_sigma():
    assert np.isnan(loops.clip_lower_half(np.array([5.0], "f4"), 0, 1, 1.0, 3.0))
