"""Margins of arrays in the border of reference pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.steps._reference_pixels import (
    DETECTOR,
    Margins,
    miri_margins,
    near_infrared_margins,
)


@st.composite
def subarrays(draw, height=DETECTOR, width=DETECTOR):
    """Draw (shape, origin) of a rectangle on a detector, often at an edge."""
    spans = []
    for full in (height, width):
        size = draw(st.integers(1, 40) | st.integers(1, full))
        starts = st.sampled_from([0, full - size]) | st.integers(0, full - size)
        spans.append((size, draw(starts)))
    (rows, row), (columns, column) = spans
    return (rows, columns), (row, column)


@given(subarrays())
def test_near_infrared_margins_are_the_border_inside_the_array(subarray):
    shape, (row, column) = subarray
    border = np.ones((DETECTOR, DETECTOR), dtype=bool)
    border[4:-4, 4:-4] = False
    expected = border[row : row + shape[0], column : column + shape[1]]
    covered = np.zeros(shape, dtype=int)
    for region in near_infrared_margins(*subarray).regions(shape):
        covered[slice(*region.rows), slice(*region.cols)] += 1
    assert np.array_equal(covered, expected)


@given(subarrays(1024, 1032))
def test_miri_margins_are_the_side_columns_inside_the_array(subarray):
    shape, (_, column) = subarray
    sides = np.isin(np.arange(column, column + shape[1]), [0, 1, 2, 3, 1028, 1029, 1030, 1031])
    covered = np.zeros(shape, dtype=int)
    for region in miri_margins(*subarray).regions(shape):
        covered[slice(*region.rows), slice(*region.cols)] += 1
    assert np.array_equal(covered, np.broadcast_to(sides, shape))


@given(subarrays())
def test_interior_and_margins_partition_the_array(subarray):
    shape, _ = subarray
    margins = near_infrared_margins(*subarray)
    covered = np.zeros(shape, dtype=int)
    for region in [*margins.regions(shape), margins.interior(shape)]:
        covered[slice(*region.rows), slice(*region.cols)] += 1
    assert (covered == 1).all()


def test_margins_can_have_a_minimum_width():
    assert near_infrared_margins((16, 32), (100, 200), 4) == Margins(0, 0, 4, 4)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [("only_rows", Margins(4, 4, 0, 0)), ("only_columns", Margins(0, 0, 4, 4))],
)
def test_margins_of_one_direction(kept, expected):
    whole = near_infrared_margins((DETECTOR, DETECTOR), (0, 0))
    assert getattr(whole, kept)() == expected
