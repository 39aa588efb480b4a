"""Work space fits the tile and the groups in use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import few_groups

from calbatch.calibrate.steps.ramp_fit.work import MAX_STRETCH, MIN_STRETCH, STRETCH, make_stretch


def arrays(work):
    """Yield the arrays of nested records."""
    for value in work:
        if isinstance(value, np.ndarray):
            yield value
        else:
            yield from arrays(value)


@given(st.integers(1, 5000), st.integers(1, 4), st.integers(1, 300))
def test_a_stretch_is_within_the_tile_and_fits_the_caches(pixels, integrations, groups):
    size = make_stretch(pixels, integrations, few_groups(groups)).noise.size
    assert 1 <= size <= min(pixels, MAX_STRETCH)
    assert size * groups <= STRETCH or size <= MIN_STRETCH


@pytest.mark.parametrize(
    ("groups", "size"), [(1, 2048), (64, 2048), (128, 1024), (256, 512), (1000, 512)]
)
def test_more_groups_make_shorter_stretches(groups, size):
    assert make_stretch(10_000, 1, few_groups(groups)).noise.size == size


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 12))
def test_every_array_holds_the_pixels_of_a_stretch(pixels, integrations, groups):
    work = make_stretch(pixels, integrations, few_groups(groups))
    assert work.odd.shape == (integrations, pixels)
    assert work.differences.shape == (max(groups - 1, 1), pixels)
    for array in (*arrays(work.whole), *arrays(work.sums), work.noise, work.current, work.slope):
        assert array.shape == (pixels,)
    assert work.block.where.size == pixels + 1  # one more than can be odd
    assert work.block.ramps.shape == (groups, pixels + 1)


def test_only_groups_in_use_take_space():
    work = make_stretch(4, 1, few_groups(9, window=(3, 6), group_range=(2, 8)))
    assert work.block.ramps.shape == work.block.flags.shape == (6, 5)
    assert work.differences.shape == (2, 4)  # of the three groups to fit
    assert work.steps.differences.shape == (2, 5)


def test_no_two_arrays_share_memory():
    found = list(arrays(make_stretch(3, 2, few_groups(4))))
    for i, array in enumerate(found):
        assert not any(np.shares_memory(array, other) for other in found[:i])
