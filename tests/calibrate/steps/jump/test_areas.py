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
        np.testing.assert_array_equal(areas.image(i), region.image)
        assert (areas.centre_rows[i], areas.centre_cols[i]) == region.centroid
        assert (areas.heights[i], areas.widths[i]) == region.image.shape


def test_flags_are_packed_along_columns():
    flags = np.array([[[0, 4, 5, 2, 64, 68, 0, 0, 4]]], "u1")
    np.testing.assert_array_equal(pack_flags(flags, 4), [[[0b01100100, 0b10000000]]])
