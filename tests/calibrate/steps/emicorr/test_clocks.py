"""The times at which MIRI's pixels are read."""

import numpy as np
import pytest

from calbatch.calibrate.steps.emicorr.clocks import SUBARRAY_CLOCKS, Clocks, Sampling, period_of


def sampling(**changes):
    usual = {"shape": (2, 5, 64, 72), "samples": 1, "clocks": Clocks(28, 8512)}
    return Sampling(**{**usual, "has_reset_frame": True, **changes})


def test_pixels_follow_one_another_four_at_a_time():
    found = sampling(samples=9).offsets((3, 5))
    assert found.shape == (2, 18)
    assert found[0, 0] == 3 * 28
    np.testing.assert_array_equal(np.diff(found, axis=1), 9)
    np.testing.assert_array_equal(np.diff(found, axis=0), 28)


@pytest.mark.parametrize(("rows", "row"), [(1024, 271), (64, 28)])
def test_rows_outside_the_subarray_take_seven_samples(rows, row):
    one = sampling(shape=(1, 1, rows, 72), clocks=Clocks(row, 0))
    assert one.frame_samples == rows * row + (1024 - rows) * 7


def test_phases_are_fractions_of_a_period():
    one = sampling()
    period = period_of(390.625)
    assert period == pytest.approx(256)
    phases = one.phases((0, 64), period)
    assert phases.min() >= 0
    assert phases.max() < 1
    np.testing.assert_allclose(phases * 256 % 256, one.offsets((0, 64)) % 256, atol=1e-9)
    assert one.group_shift(period) == pytest.approx(one.frame_samples % 256 / 256)


def test_a_reset_frame_delays_the_next_integration():
    with_reset, without = (sampling(has_reset_frame=flag) for flag in (True, False))
    period = period_of(390.625)
    shifts = [one.integration_shift(period) for one in (with_reset, without)]
    assert shifts[0] - shifts[1] == pytest.approx(8512 / 256)
    assert shifts[1] == pytest.approx(5 * without.group_shift(period))


def test_clocks_are_those_of_jwst():
    from jwst.emicorr.emicorr import subarray_clocks

    found = {
        name: {"rowclocks": clocks.row, "frameclocks": clocks.frame}
        for name, clocks in SUBARRAY_CLOCKS.items()
    }
    assert found == subarray_clocks
