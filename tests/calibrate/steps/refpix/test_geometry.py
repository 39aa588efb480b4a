"""Positions on the detector agree with jwst's transforms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwst.lib.reffile_utils import science_detector_frame_transform

from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.calibrate.steps.refpix.geometry import DetectorPlacement
from calbatch.models.tiling.plan import Region

AXES = [(a * i, b * j) for a, b in ((1, 2), (2, 1)) for i in (1, -1) for j in (1, -1)]


@st.composite
def placements(draw):
    spans = []
    for _ in range(2):
        size = draw(st.integers(1, 30))
        starts = st.sampled_from([0, DETECTOR - size]) | st.integers(0, DETECTOR - size)
        spans.append((size, draw(starts)))
    (rows, row), (columns, column) = spans
    return DetectorPlacement((rows, columns), (row, column), *draw(st.sampled_from(AXES)))


def file_positions(placement):
    """Return the full-frame row and column of each pixel of the array."""
    (row, column), (height, width) = placement.origin, placement.shape
    rows, columns = np.arange(row, row + height), np.arange(column, column + width)
    return np.meshgrid(rows, columns, indexing="ij")


def detector_positions(placement):
    """Return each pixel's detector row and column from jwst's transform of the full frame."""
    axes = placement.fastaxis, placement.slowaxis
    shape = (DETECTOR, DETECTOR)
    # A frame of zero strides costs no memory; 1-d numbers show the effect of the transform.
    numbers = np.arange(DETECTOR)
    by_row = science_detector_frame_transform(np.broadcast_to(numbers[:, None], shape), *axes)
    by_column = science_detector_frame_transform(np.broadcast_to(numbers, shape), *axes)
    rows, columns = file_positions(placement)
    if placement.transposed:  # detector columns run along file rows
        return np.argsort(by_column[:, 0])[columns], np.argsort(by_row[0])[rows]
    return np.argsort(by_row[:, 0])[rows], np.argsort(by_column[0])[columns]


@given(placements())
def test_ranges_are_those_of_jwst(placement):
    slow, fast = detector_positions(placement)
    assert placement.slow == (slow.min(), slow.max() + 1)
    assert placement.fast == (fast.min(), fast.max() + 1)


@pytest.mark.parametrize("axes", AXES)
def test_orientation_is_that_of_jwst(axes):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    expected = science_detector_frame_transform(array, *axes)
    assert np.array_equal(DetectorPlacement((3, 4), (0, 0), *axes).to_detector(array), expected)


ranges = st.tuples(st.integers(0, DETECTOR), st.integers(0, DETECTOR)).map(sorted).map(tuple)


@given(placements(), ranges | st.just((0, 4)) | st.just((2044, 2048)), ranges)
def test_region_contains_the_pixels_of_a_detector_rectangle(placement, slow, fast):
    row, column = detector_positions(placement)
    expected = (row >= slow[0]) & (row < slow[1]) & (column >= fast[0]) & (column < fast[1])
    region = placement.region(slow, fast)
    covered = np.zeros(placement.shape, dtype=bool)
    covered[slice(*region.rows), slice(*region.cols)] = True
    assert np.array_equal(covered, expected)


@given(placements(), st.data())
def test_columns_are_detector_columns(placement, data):
    spans = []
    for size in placement.shape:
        start = data.draw(st.integers(0, size - 1))
        spans.append((start, data.draw(st.integers(start + 1, size))))
    region = Region(*spans)
    _, column = detector_positions(placement)
    expected = column[slice(*region.rows), slice(*region.cols)]
    assert np.array_equal(placement.columns(region), expected)
