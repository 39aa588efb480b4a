"""Sorting and medians of many pixels at once agree with NumPy."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.calibrate.steps.jump.sort import find_medians, median_of_sorted, sort_columns


def draw_values(seed, rows, columns, equal=False):
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    return (np.round(values) if equal else values).astype("f4")


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 70), st.integers(1, 40), st.booleans())
def test_columns_are_sorted(seed, rows, columns, equal):
    values = draw_values(seed, rows, columns, equal)
    wanted = np.sort(values, axis=0)
    sort_columns(values, rows)
    np.testing.assert_array_equal(values, wanted)


def test_only_the_first_rows_are_sorted():
    values = draw_values(1, 9, 5)
    rest = values[6:].copy()
    wanted = np.sort(values[:6], axis=0)
    sort_columns(values, 6)
    np.testing.assert_array_equal(values[:6], wanted)
    np.testing.assert_array_equal(values[6:], rest)


def test_infinities_sort_last():
    values = np.array([[np.inf], [1.0], [-np.inf], [np.inf], [0.0]], "f4")
    sort_columns(values, 5)
    np.testing.assert_array_equal(values[:, 0], [-np.inf, 0, 1, np.inf, np.inf])


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 2), (0, 7), (1, 5), (3, 6)])
def test_median_of_a_range_of_sorted_values(first, last):
    order = np.sort(draw_values(4, 7, 3), axis=0)
    wanted = np.median(order[first:last].astype("f8"), axis=0)
    assert [median_of_sorted(order, x, first, last) for x in range(3)] == wanted.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([0, 0.3, 1]))
def test_medians_ignore_nan(seed, rows, missing):
    values = draw_values(seed, rows, 12)
    values[np.random.default_rng(seed).random(values.shape) < missing] = np.nan
    picked = np.array([0, 3, 11])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        wanted = np.nanmedian(values[:, picked].astype("f8"), axis=0)
    np.testing.assert_array_equal(find_medians(values, picked), wanted)
