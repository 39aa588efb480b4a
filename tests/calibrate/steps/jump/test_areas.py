"""Connected areas: the same as scikit-image's, from packed flags."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from calbatch.calibrate.steps.jump.areas import find_areas, pack_flags


@st.composite
def masks(draw):
    """Draw frames from nearly empty to nearly full."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 21)))
    seed, density = draw(st.integers(0, 2**32)), draw(st.sampled_from([0.02, 0.1, 0.3, 0.5, 0.9]))
    return np.random.default_rng(seed).random(shape) < density


@given(masks())
@settings(max_examples=60, deadline=None)
def test_areas_are_those_of_scikit_image(mask):
    areas = find_areas(np.packbits(mask, axis=-1))
    wanted = regionprops(label(mask.astype("u1")))
    assert areas.sizes.tolist() == [region.area for region in wanted]
    for i, region in enumerate(wanted):
        image = np.full(region.image.shape, np.nan)
        areas.fill_image(i, image)
        np.testing.assert_array_equal(image, region.image)
        assert tuple(areas.centres[:, i]) == region.centroid
        assert tuple(areas.sides[:, i]) == region.image.shape
        assert tuple(areas.corners[:, i]) == region.bbox[:2]


@given(masks(), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_large_areas_are_those_of_scikit_image(mask, min_area):
    areas = find_areas(np.packbits(mask, axis=-1))
    wanted = [r.area_filled >= min_area for r in regionprops(label(mask.astype("u1")))]
    assert areas.find_large(min_area).tolist() == wanted


def test_flags_are_packed_along_columns():
    flags = np.array([[[0, 4, 5, 2, 64, 68, 0, 0, 4]]], "u1")
    np.testing.assert_array_equal(pack_flags(flags, 4), [[[0b01100100, 0b10000000]]])
