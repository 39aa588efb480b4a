"""Values of reductions: the same from the source's pixels and from pieces of tiles."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.fits.readers import ArrayReader
from calbatch.models.tiling.plan import ReductionSpec, SourcePixels, build_call
from calbatch.models.tiling.reductions import cut_pieces, reduce_pieces, reduce_pixels
from calbatch.models.tiling.tile import Region, Tile

FRAME = (16, 5)
PIXELS = np.random.default_rng(5).normal(size=FRAME).astype("f4")


def smooth(data):
    padded = np.pad(data, [(1, 1), (0, 0)], mode="edge")
    return padded[:-2] + padded[2:]


def gather_data(data):
    return data.copy()


def ranges(length):
    pairs = st.tuples(st.integers(0, length - 1), st.integers(1, length))
    return pairs.filter(lambda pair: pair[0] < pair[1])


regions = st.lists(
    st.builds(Region, ranges(FRAME[0]), ranges(FRAME[1])), min_size=1, max_size=4, unique=True
)
GATHER, _ = build_call(gather_data, {}, {})
SMOOTH, _ = build_call(smooth, {"data": np.dtype("f4")}, {}, radius=1)


@given(regions, st.integers(0, 3))
def test_pixels_are_those_of_the_whole_frame(regions, times):
    spec = ReductionSpec(GATHER, list, tuple(regions))
    pixels = SourcePixels({"data": ArrayReader(PIXELS)}, FRAME)
    pieces = reduce_pixels(spec, pixels, [SMOOTH] * times, {})
    frame = PIXELS
    for _ in range(times):
        frame = smooth(frame)
    for piece, region in zip(pieces, regions, strict=True):
        np.testing.assert_array_equal(piece, frame[slice(*region.rows), slice(*region.cols)])


@given(regions, st.sets(st.integers(1, 15)))
def test_pieces_of_tiles_make_up_the_regions(regions, edges):
    spec = ReductionSpec(GATHER, list, tuple(regions))
    cores = [Region(rows, (0, 5)) for rows in pairwise([0, *sorted(edges), 16])]
    tiles = [Tile(c, c, {"data": PIXELS[slice(*c.rows)]}) for c in cores]
    pieces = [cut_pieces(["data"], regions, tile) for tile in tiles]
    for found, region in zip(reduce_pieces(spec, pieces, {}), regions, strict=True):
        np.testing.assert_array_equal(found, PIXELS[slice(*region.rows), slice(*region.cols)])


def test_a_tile_outside_a_region_has_no_piece_of_it():
    core = Region((0, 4), (0, 5))
    tile = Tile(core, core, {"data": PIXELS[:4]})
    below, outside = Region((3, 6), (1, 2)), Region((9, 12), (0, 5))
    piece, missing = cut_pieces(["data"], [below, outside], tile)
    np.testing.assert_array_equal(piece["data"], PIXELS[3:4, 1:2])
    assert missing is None
