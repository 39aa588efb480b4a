"""The pattern is scaled to the levels of each group."""

import numpy as np

from calbatch.calibrate.steps.picture_frame import pattern, regions


def choose(*, is_empty=False):
    return regions.ChosenRegions(
        background=np.ones((3, 4), bool),
        at_centre=np.float32(1.5),
        at_edges=np.float32(0.5),
        is_empty=is_empty,
    )


def test_a_pattern_with_an_offset_is_removed():
    rng = np.random.default_rng(3)
    slope = rng.normal(1, 0.5, (3, 4)).astype("f4")
    bias = rng.normal(1000, 9, (2, 1, 3, 4))
    scale, offset = rng.normal(20, 5, (2, 2, 4, 1, 1))
    scale[:, 0] = offset[:, 0] = 0
    data = (bias + scale * (slope - 0.5) + offset).astype("f4")
    medians = np.stack([scale + offset, offset], axis=-1)[:, 1:, 0, 0].astype("f4")
    arguments = {"slope": slope, "levels": medians, "chosen": choose()}
    result = pattern.subtract_pattern(data, **arguments)
    np.testing.assert_array_equal(result[:, 0], data[:, 0])
    # in single precision, counts of 1000 are known to 6e-5
    np.testing.assert_allclose(result, np.broadcast_to(bias, data.shape), atol=3e-4)
    added, pixels, groups = pattern.show_correction(data, **arguments)
    np.testing.assert_array_equal(added, result - data)
    assert not pixels.any()
    assert not groups.any()


def test_without_background_nothing_changes():
    data = np.ones((1, 2, 3, 4), "f4")
    levels = np.ones((1, 1, 2), "f4")
    found = pattern.subtract_pattern(
        data, slope=data[0, 0], levels=levels, chosen=choose(is_empty=True)
    )
    assert found is data
