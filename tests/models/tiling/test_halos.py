"""Halos: tiles joined with their neighbours cover the rows of the frame."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.tiling.halos import join_neighbours, overlap
from calbatch.models.tiling.tile import Region, Tile

FRAME = (20, 4)
PIXELS = np.arange(20 * 4, dtype="i4").reshape(FRAME)
ranges = st.tuples(st.integers(0, 20), st.integers(0, 20))


@given(ranges, ranges)
def test_overlap_is_the_rows_in_both_ranges(one, other):
    shared = sorted(set(range(*one)) & set(range(*other)))
    rows = overlap(one, other)
    assert (list(range(*rows)) if rows else []) == shared


@given(st.sets(st.integers(1, 19)), st.integers(0, 25), st.data())
def test_a_tile_with_its_halo_has_the_frames_rows(edges, halo, data):
    cores = [Region(rows, (0, 4)) for rows in pairwise([0, *sorted(edges), 20])]
    tiles = [Tile(c, c, {"data": PIXELS[slice(*c.rows)]}) for c in cores]
    core = data.draw(st.sampled_from(cores))
    wanted = core.grow(halo, FRAME)
    near = [tile for tile in tiles if overlap(tile.core.rows, wanted.rows)]
    joined = join_neighbours(wanted, core, near)
    assert (joined.region, joined.core) == (wanted, core)
    np.testing.assert_array_equal(joined.load("data"), PIXELS[slice(*wanted.rows)])
