"""Weights, the sorting network, and times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.steps.ramp_fit.plan import (
    POWERS,
    FitSettings,
    make_plan,
    median_network,
    slope_estimators,
    table_offset,
)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
def test_network_moves_the_median_to_the_middle(values):
    sorted_by_it = np.array(values, np.float64)
    for low, high in median_network(len(values)):
        assert low < high
        pair = sorted(sorted_by_it[[low, high]])
        sorted_by_it[[low, high]] = pair
    middle = sorted_by_it[(len(values) - 1) // 2], sorted_by_it[len(values) // 2]
    assert sum(middle) / 2 == np.median(values)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=40))
def test_network_may_find_the_value_below_the_middle(values):
    sorted_by_it = np.array(values, np.float64)
    for low, high in median_network(len(values), lower=True):
        sorted_by_it[[low, high]] = sorted(sorted_by_it[[low, high]])
    middle = len(values) // 2
    assert sorted_by_it[middle - 1 : middle + 1].tolist() == sorted(values)[middle - 1 : middle + 1]


def test_network_omits_needless_exchanges():
    assert len(median_network(9)) < 26  # the number for sorting 9 values
    assert len(median_network(1)) == 0


@pytest.mark.parametrize("length", [2, 3, 4, 9, 40])
@pytest.mark.parametrize("power", POWERS)
def test_estimators_are_weighted_least_squares(length, power):
    rng = np.random.default_rng(length)
    x, y = np.arange(length), rng.normal(size=length)
    middle = (length - 1) / 2
    weights = np.abs((x - middle) / middle).astype("f4") ** np.float32(power)
    wanted = np.polyfit(x, y, 1, w=np.sqrt(weights.astype("f8")))[0]
    row = slope_estimators(length)[POWERS.index(power), table_offset(length) :]
    pairs = y[::-1][: length // 2] - y[: length // 2]
    np.testing.assert_allclose(row @ pairs, wanted, rtol=1e-9, atol=1e-12)  # polyfit's own accuracy


def test_estimators_of_all_lengths_are_contiguous():
    table = slope_estimators(12)
    assert table.shape == (len(POWERS), table_offset(13))
    for length in range(2, 13):
        alone = slope_estimators(length)[:, table_offset(length) :]
        assert alone.shape == (len(POWERS), length // 2)
        np.testing.assert_array_equal(
            table[:, table_offset(length) : table_offset(length + 1)], alone
        )


def test_window_lies_within_the_group_range():
    plan = make_plan(FitSettings(1.0, 1.0, 1, 0, 0, (2, 9)), 9, (3, 8))
    assert (plan.start, plan.stop, plan.first, plan.last) == (3, 8, 3, 8)
    assert plan.full.shape == (2, len(POWERS))


@pytest.mark.parametrize(("groups", "suppressed"), [(1, False), (2, True)])
def test_an_exposure_of_one_group_keeps_its_ramps(groups, suppressed):
    plan = make_plan(FitSettings(1.0, 1.0, 1, 0, 0, (0, groups)), groups)
    assert plan.suppress is suppressed
