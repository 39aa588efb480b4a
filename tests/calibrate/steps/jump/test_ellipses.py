"""Ellipses: measured, drawn and tested as stcal does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stcal.jump.jump import _sk_filter_areas, ellipse_subim, point_inside_ellipse

from calbatch.calibrate.steps.jump.areas import find_areas
from calbatch.calibrate.steps.jump.ellipses import (
    CACHED_PIXELS,
    Ellipse,
    draw_ellipse,
    find_ellipses,
    is_any_inside,
    measure_shape,
)
from calbatch.models.tiling.tile import Region

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


def test_a_pixel_has_negative_axes():
    assert measure_shape(np.ones((1, 1), bool)).axes == (-1, -1)


def test_large_shapes_are_measured_alike():
    rows, cols = np.ogrid[-30:31, -20:21]
    disc = (rows / 30) ** 2 + (cols / 20) ** 2 <= 1
    assert disc.size > CACHED_PIXELS
    shape = measure_shape(disc)
    # an ellipse's axes are four standard deviations minus one; the grid adds a fraction
    np.testing.assert_allclose(shape.axes, [39, 59], atol=0.5)


@given(ellipses)
@settings(max_examples=80, deadline=None)
def test_pixels_are_those_of_stcal(ellipse):
    drawing = draw_ellipse(ellipse, FRAME)
    where, image = ellipse_subim(ellipse.col, ellipse.row, *ellipse.axes, ellipse.angle, 4, FRAME)
    height, width = drawing.mask.shape
    assert (drawing.row, drawing.row + height, drawing.col, drawing.col + width) == where
    np.testing.assert_array_equal(drawing.mask, image == 4)


@given(ellipses, st.lists(st.integers(1, FRAME[0] - 1), unique=True))
@settings(max_examples=50, deadline=None)
def test_bands_have_the_pixels_of_the_frame(ellipse, edges):
    drawing = draw_ellipse(ellipse, FRAME)
    whole, parts = np.zeros(FRAME, bool), np.zeros(FRAME, bool)
    height, width = drawing.mask.shape
    whole[drawing.row :, drawing.col :][:height, :width] = drawing.mask
    for first, last in zip([0, *sorted(edges)], [*sorted(edges), FRAME[0]], strict=True):
        part = drawing.within(Region((first, last), (0, FRAME[1])))
        if part is not None:
            parts[first:last][part[0]] = part[1]
    np.testing.assert_array_equal(parts, whole)


@given(ellipses, st.lists(st.tuples(st.floats(-5, 40), st.floats(-5, 40)), min_size=1, max_size=5))
@settings(max_examples=80, deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # stcal divides by axes of 0
def test_points_inside_are_those_of_stcal(ellipse, points):
    cols, rows = np.array(points).T
    wanted = any(point_inside_ellipse(point, as_stcal(ellipse)) for point in points)
    assert is_any_inside(cols, rows, ellipse) == wanted
