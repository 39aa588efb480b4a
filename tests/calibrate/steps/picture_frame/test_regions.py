"""The background, and its parts at the centre and at the edges, are those of jwst."""

import numpy as np
import pytest
from jwst.picture_frame.picture_frame import _region_masks

from calbatch.calibrate.steps.picture_frame import regions
from calbatch.models.tiling.plan import Region


@pytest.mark.agreement
@pytest.mark.parametrize("shape", [(2048, 2048), (90, 96)])
def test_parts_are_those_of_jwst(shape):
    background = np.random.default_rng(1).random(shape) < 0.9
    wanted = _region_masks(background)
    rows, columns = shape
    found = [
        regions.cut_parts(background[a:b], Region((a, b), (0, columns)))
        for a, b in ((0, 77), (77, rows))
    ]
    for part, expected in zip(zip(*found, strict=True), wanted, strict=True):
        np.testing.assert_array_equal(np.concatenate(part), expected)


def test_sources_and_bad_pixels_are_no_background():
    rng = np.random.default_rng(2)
    rate = rng.normal(10, 1, (100, 100)).astype("f4")
    special = {0: 0.0, 1: np.nan, 2: 12.9, 3: 6.0, 4: 500.0, 5: 10.0}
    for column, value in special.items():
        rate[0, column] = value
    found = regions.choose_regions([(rate, rate)], n_sigma=2.0).background
    assert found[0, :6].tolist() == [False, False, False, False, False, True]
    assert found.mean() == pytest.approx(0.977 - 0.0013, abs=0.01)  # of a normal distribution
    unclipped = regions.choose_regions([(rate, rate)], n_sigma=0.0).background
    assert unclipped[0, :6].tolist() == [False, False, *[True] * 4]


def test_levels_of_the_reference_are_those_in_the_background():
    rate = np.ones((90, 96), "f4")
    rate[:80] = np.nan
    slope = np.arange(90 * 96, dtype="f4").reshape(90, 96)
    bands = [(rate[a:b], slope[a:b]) for a, b in ((0, 50), (50, 90))]
    chosen = regions.choose_regions(bands, n_sigma=0)
    assert chosen.at_centre == np.median(slope[80:90, 76:96])
    assert chosen.at_edges == np.median(slope[80:90, 4:75])
    assert not chosen.is_empty
    image = regions.show_background(chosen=chosen, region=Region((79, 81), (0, 3)))
    assert image.tolist() == [[0, 0, 0], [1, 1, 1]]
