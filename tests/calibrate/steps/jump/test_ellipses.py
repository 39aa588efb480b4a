"""Ellipses: measured, drawn and tested as stcal does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stcal.jump.jump import _sk_filter_areas, ellipse_subim, point_inside_ellipse

from calbatch.calibrate.steps.jump.areas import find_areas
from calbatch.calibrate.steps.jump.ellipses import (
    Ellipse,
    Outline,
    draw,
    find_ellipses,
    is_any_inside,
)

FRAME = (23, 31)

ellipses = st.builds(
    Ellipse,
    st.floats(0, FRAME[1] - 1),
    st.floats(0, FRAME[0] - 1),
    st.tuples(st.floats(-2, 60), st.floats(-2, 60))
    | st.tuples(st.integers(-2, 30)).map(lambda a: a * 2),
    st.floats(-90, 90),
)


def as_stcal(ellipse):
    return (ellipse.col, ellipse.row), ellipse.axes, ellipse.angle


@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.3, 0.6]), st.sampled_from([1, 5, 9, 20]))
@settings(max_examples=20, deadline=None)
def test_areas_are_measured_as_in_stcal(seed, density, min_area):
    mask = np.random.default_rng(seed).random(FRAME) < density
    areas = find_areas(np.packbits(mask, axis=-1))
    found = find_ellipses(areas, np.flatnonzero(areas.find_large(min_area)))
    assert [as_stcal(e) for e in found] == _sk_filter_areas(mask.astype("u1"), min_area)


def test_an_enclosed_pixel_counts():
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    areas = find_areas(np.packbits(ring, axis=-1))
    assert [areas.find_large(size).tolist() for size in (8, 9, 10)] == [[True], [True], [False]]


def measure(mask):
    areas = find_areas(np.packbits(mask, axis=-1))
    return find_ellipses(areas, np.arange(areas.sizes.size))


def test_without_areas_there_are_no_ellipses():
    assert measure(np.zeros((3, 3), bool)) == []


def test_a_pixel_has_negative_axes():
    (ellipse,) = measure(np.ones((1, 1), bool))
    assert ellipse.axes == (-1, -1)


def test_axes_are_four_standard_deviations_minus_one():
    rows, cols = np.ogrid[-30:31, -20:21]
    (ellipse,) = measure((rows / 30) ** 2 + (cols / 20) ** 2 <= 1)
    np.testing.assert_allclose(ellipse.axes, [39, 59], atol=0.5)  # the grid adds a fraction


@given(ellipses)
@settings(max_examples=80, deadline=None)
def test_pixels_are_those_of_stcal(ellipse):
    drawing = draw(Outline.of(ellipse), FRAME)
    where, image = ellipse_subim(ellipse.col, ellipse.row, *ellipse.axes, ellipse.angle, 4, FRAME)
    height, width = drawing.mask.shape
    assert (drawing.row, drawing.row + height, drawing.col, drawing.col + width) == where
    np.testing.assert_array_equal(drawing.mask, image == 4)


@given(ellipses, st.lists(st.tuples(st.floats(-5, 40), st.floats(-5, 40)), min_size=1, max_size=5))
@settings(max_examples=80, deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # stcal divides by axes of 0
def test_points_inside_are_those_of_stcal(ellipse, points):
    cols, rows = np.array(points).T
    wanted = any(point_inside_ellipse(point, as_stcal(ellipse)) for point in points)
    assert is_any_inside(cols, rows, ellipse) == wanted
