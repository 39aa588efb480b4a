"""Reference pixels combine to the signal along rows and columns, in any orientation."""

from dataclasses import replace

import numpy as np
import pytest

from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.calibrate.steps.refpix.combine import (
    Edges,
    RefPixSettings,
    combine_amplifiers,
    combine_single,
    signal_of,
)
from calbatch.calibrate.steps.refpix.geometry import AMPLIFIER, DetectorPlacement
from calbatch.models.tiling.plan import Region

AXES = [(a * i, b * j) for a, b in ((1, 2), (2, 1)) for i in (1, -1) for j in (1, -1)]
EACH_ROW = RefPixSettings(side_smoothing_length=1)
"""Settings with which the sides of a row are its own signal."""


def place(rows, columns, axes=(1, 2), *, first=(0, 0)):
    """Return a subarray of some detector rows and columns from ``first`` on."""
    (slow, fast), (fastaxis, slowaxis) = first, axes
    row = slow if slowaxis > 0 else DETECTOR - slow - rows
    column = fast if fastaxis > 0 else DETECTOR - fast - columns
    if abs(fastaxis) == 2:
        return DetectorPlacement((columns, rows), (column, row), fastaxis, slowaxis)
    return DetectorPlacement((rows, columns), (row, column), fastaxis, slowaxis)


def to_file(placement, array):
    """Return a copy of (..., detector rows, columns) as (..., file rows, columns)."""
    array = array[..., :: np.sign(placement.slowaxis), :: np.sign(placement.fastaxis)]
    return np.array(array.swapaxes(-2, -1) if placement.transposed else array)


def whole(placement, detector, good=True):
    """Return all pixels as one region, and their samples given in the detector frame."""
    regions = [Region((0, placement.shape[0]), (0, placement.shape[1]))]
    usable = np.broadcast_to(good, detector.shape[-2:])
    return regions, [(to_file(placement, detector), to_file(placement, usable))]


def pixel_signal(placement, detector, good=True, settings=EACH_ROW):
    """Return the signal of each pixel, (integrations, groups, detector rows, columns)."""
    regions, gathered = whole(placement, detector, good)
    signal = combine_amplifiers(gathered, placement=placement, regions=regions, settings=settings)
    return placement.to_detector(of_pixels(signal))


def of_pixels(signal):
    """Return the signal of each pixel in the file's frame; all blocks are whole frames."""
    return signal.rows[..., 0, :, None] + signal.cols[..., 0, None, :]


def striped_samples(rows, columns):
    """Return samples of 10 in even and 30 in odd columns, plus the row number above row 3."""
    parity = np.where(np.arange(columns) % 2, 30.0, 10.0)
    by_row = np.where(np.arange(rows) < 4, 0, np.arange(rows))
    return (by_row[:, None] + parity)[None, None]


class TestEdges:
    @pytest.mark.parametrize("axes", AXES)
    def test_a_rectangle_is_cut_in_the_detector_frame(self, axes):
        placement = place(6, 7, axes)
        detector = np.arange(2 * 3 * 6 * 7.0).reshape(2, 3, 6, 7)
        good = detector[0, 0] % 3 != 0
        edges = Edges(placement, *whole(placement, detector, good))
        samples, usable = edges.cut_rectangle((0, 4), (2, 5))
        assert np.array_equal(samples, detector.reshape(6, 6, 7)[:, :4, 2:5])
        assert np.array_equal(usable, good[:4, 2:5])

    def test_a_rectangle_is_joined_from_several_regions(self):
        regions = [Region((0, 2), (0, 5)), Region((2, 5), (0, 5))]
        detector = np.arange(25.0).reshape(1, 1, 5, 5)
        good = np.ones((5, 5), bool)
        gathered = [(detector[..., :2, :], good[:2]), (detector[..., 2:, :], good[2:])]
        samples, usable = Edges(place(5, 5), regions, gathered).cut_rectangle((0, 4), (0, 4))
        assert np.array_equal(samples[0], detector[0, 0, :4, :4])
        assert usable.all()

    def test_pixels_that_were_not_gathered_are_not_usable(self):
        gathered = [(np.ones((1, 1, 2, 5)), np.ones((2, 5), bool))]
        edges = Edges(place(5, 5), [Region((0, 2), (0, 5))], gathered)
        samples, usable = edges.cut_rectangle((0, 4), (0, 4))
        assert samples[0, :, 0].tolist() == [1, 1, 0, 0]
        assert usable[:, 0].tolist() == [True, True, False, False]

    def test_a_rectangle_outside_the_exposure_is_empty(self):
        placement = place(5, 5)
        edges = Edges(placement, *whole(placement, np.ones((1, 1, 5, 5))))
        samples, usable = edges.cut_rectangle((DETECTOR - 4, DETECTOR), (0, 5))
        assert (samples.shape, usable.shape) == ((1, 0, 5), (0, 5))


@pytest.mark.parametrize("axes", AXES)
def test_signals_along_detector_axes_become_those_along_file_axes(axes):
    placement = place(3, 4, axes)
    by_row, by_column = np.array([[[1.0, 2, 3]]]), np.array([[10.0, 20, 30, 40]])
    signal = signal_of(placement, (1, 1), by_row, by_column)
    found = of_pixels(signal)
    assert np.array_equal(placement.to_detector(found)[0, 0], by_row[0].T + by_column)


class TestFourAmplifiers:
    @pytest.mark.parametrize("axes", AXES)
    def test_columns_have_their_parity_and_rows_their_side(self, axes):
        detector = striped_samples(8, 6)
        assert np.array_equal(pixel_signal(place(8, 6, axes), detector), detector)

    def test_the_side_signal_is_multiplied(self):
        settings = replace(EACH_ROW, side_gain=0.5)
        columns = pixel_signal(place(8, 6), striped_samples(8, 6), settings=settings)[0, 0]
        assert columns[:, 0].tolist() == [10, 10, 10, 10, 12, 12.5, 13, 13.5]

    def test_the_side_signal_is_a_running_median(self):
        detector = striped_samples(8, 6)
        settings = replace(EACH_ROW, side_smoothing_length=3)
        found = pixel_signal(place(8, 6), detector, settings=settings)[0, 0, :, 0] - 10
        # Each row has four samples at the side; beyond the subarray there are none.
        by_row = detector[0, 0, :, 0] - 10
        expected = [np.median(by_row[max(y - 1, 0) : y + 2]) for y in range(8)]
        assert found.tolist() == expected

    def test_without_sides_rows_have_no_signal(self):
        settings = replace(EACH_ROW, use_side_ref_pixels=False)
        found = pixel_signal(place(8, 6), striped_samples(8, 6), settings=settings)
        assert found[0, 0].tolist() == [[10, 30, 10, 30, 10, 30]] * 8

    def test_without_parity_all_columns_have_one_mean(self):
        settings = RefPixSettings(odd_even_columns=False, use_side_ref_pixels=False)
        found = pixel_signal(place(8, 6), striped_samples(8, 6), settings=settings)
        assert found[0, 0].tolist() == [[20] * 6] * 8

    def test_bottom_and_top_are_averaged(self):
        placement = place(DETECTOR, 2, first=(0, 100))
        regions = [Region((0, 4), (0, 2)), Region((DETECTOR - 4, DETECTOR), (0, 2))]
        good = np.ones((4, 2), bool)
        bottom, top = np.full((1, 1, 4, 2), [1.0, 2.0]), np.full((1, 1, 4, 2), [5.0, 8.0])
        signal = combine_amplifiers(
            [(bottom, good), (top, good)], placement=placement, regions=regions, settings=EACH_ROW
        )
        assert signal.cols[0, 0, 0].tolist() == [(1 + 5) / 2, (2 + 8) / 2]
        assert not signal.rows.any()

    def test_each_amplifier_has_its_own_offsets(self):
        placement = place(5, 4, first=(0, AMPLIFIER - 2))
        detector = np.broadcast_to([1.0, 2, 30, 40], (1, 1, 5, 4))
        assert pixel_signal(placement, detector)[0, 0, 4].tolist() == [1, 2, 30, 40]

    def test_each_group_has_its_own_signal(self):
        detector = striped_samples(8, 6) * np.arange(1, 7).reshape(2, 3, 1, 1)
        assert np.array_equal(pixel_signal(place(8, 6), detector), detector)

    def test_outliers_and_unusable_pixels_do_not_count(self):
        detector, good = np.full((1, 1, 5, 40), 7.0), np.ones((5, 40), bool)
        detector[0, 0, 1, 8] = 1e6  # clipped: 80 even pixels deviate less than 3 sigma
        detector[0, 0, 2, 11], good[2, 11] = np.nan, False
        assert np.array_equal(
            pixel_signal(place(5, 40), detector, good), np.full((1, 1, 5, 40), 7.0)
        )


class TestOneAmplifier:
    @staticmethod
    def combine(*gathered, axes=(1, 2), **settings):
        """Return the signal of each pixel of 3 detector rows and 4 columns."""
        placement = place(3, 4, axes, first=(0, 100))
        signal = combine_single(
            gathered, placement=placement, lead=(1, 2), settings=RefPixSettings(**settings)
        )
        return placement.to_detector(of_pixels(signal))

    @pytest.mark.parametrize("axes", AXES)
    def test_columns_have_the_mean_of_their_parity(self, axes):
        one = np.array([[[1.0, 5, 3], [2, 6, 4]]]), np.array([100, 101, 102])
        other = np.array([[[9.0], [8]]]), np.array([103])
        found = self.combine(one, other, axes=axes)
        assert found[0, 0].tolist() == [[2, 7, 2, 7]] * 3
        assert found[0, 1].tolist() == [[3, 7, 3, 7]] * 3

    def test_without_parity_all_columns_have_one_mean(self):
        gathered = np.array([[[1.0, 5, 3], [2, 6, 4]]]), np.array([100, 101, 102])
        found = self.combine(gathered, odd_even_columns=False)
        assert (found[0, 0] == 3).all()
        assert (found[0, 1] == 4).all()

    def test_outliers_are_clipped(self):
        samples = np.full((1, 2, 40), 7.0)
        samples[0, 1, 4] = 1e6
        assert (self.combine((samples, np.arange(40))) == 7).all()

    def test_without_one_parity_there_is_no_offset(self):
        gathered = np.ones((1, 2, 3)), np.array([100, 102, 102])
        assert not self.combine(gathered).any()

    def test_without_reference_pixels_there_is_no_signal(self):
        nothing = np.empty((1, 2, 0)), np.empty(0, int)
        options = {"placement": place(3, 4), "lead": (1, 2), "settings": RefPixSettings()}
        assert combine_single([nothing, nothing], **options) is None
