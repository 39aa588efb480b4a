"""Frames that are made of patches of other frames."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.fits.readers import ArrayReader
from calbatch.models.tiling.patches import Patch, PatchedRows, Planes
from calbatch.models.tiling.tile import Region

SOURCE = np.arange(4 * 3 * 6 * 5, dtype="i4").reshape(4, 3, 6, 5)


def region(rows, cols):
    return Region(rows, cols)


PATCHES = [
    Patch(region((0, 2), (0, 5)), region((3, 5), (1, 6))),
    Patch(region((4, 6), (1, 4)), region((0, 2), (0, 3))),
    Patch(region((1, 3), (0, 2)), region((4, 6), (0, 2))),
]


def assemble(source, patches, shape, fill):
    """Assign the patches one after another."""
    result = np.full(shape, fill, source.dtype)
    for p in patches:
        part = source[p.taken.select()] if p.taken else source
        part = part[..., slice(*p.source.rows), slice(*p.source.cols)]
        place = result[p.placed.select()] if p.placed else result
        place = place[..., slice(*p.target.rows), slice(*p.target.cols)]
        place[...] = part.reshape(place.shape)
    return result


def bounds(size):
    return st.tuples(st.integers(0, size), st.integers(0, size)).map(sorted).map(tuple)


@given(rows=bounds(7), cols=bounds(6))
def test_any_window_is_that_of_the_assembled_frame(rows, cols):
    shape = (4, 3, 7, 6)
    reader = PatchedRows(ArrayReader(SOURCE), PATCHES, shape, -1)
    whole = assemble(SOURCE, PATCHES, shape, -1)
    assert np.array_equal(reader.read(rows, cols), whole[..., slice(*rows), slice(*cols)])


def test_planes_are_chosen_before_anything_is_read():
    reader = PatchedRows(ArrayReader(SOURCE), PATCHES, (4, 3, 7, 6), -1)
    part = reader.planes((slice(1, 3), slice(2, 3)))
    assert np.array_equal(part.whole(), reader.whole()[1:3, 2:3])


def test_planes_are_taken_and_placed():
    inner = region((0, 6), (0, 5))
    stacked = [Patch(inner, region((6 * n, 6 * n + 6), (0, 5)), taken=Planes(0, n, 2))
               for n in range(2)]  # fmt: skip
    stack = PatchedRows(ArrayReader(SOURCE), stacked, (2, 3, 12, 5))
    assert np.array_equal(stack.whole()[..., 6:, :], SOURCE[1::2])
    back = [Patch(p.target, p.source, placed=Planes(0, n, 2)) for n, p in enumerate(stacked)]
    unstacked = PatchedRows(stack, back, SOURCE.shape)
    assert np.array_equal(unstacked.whole(), SOURCE)
    assert np.array_equal(unstacked.planes(slice(1, 2)).whole(), SOURCE[1:2])
    grouped = [Patch(inner, inner, placed=Planes(1, n, 2)) for n in range(2)]
    doubled = PatchedRows(ArrayReader(SOURCE), grouped, (4, 6, 6, 5))
    assert np.array_equal(doubled.whole(), np.repeat(SOURCE, 2, axis=1))


def test_a_single_plane_may_lose_its_axis():
    patches = [Patch(region((0, 6), (0, 5)), region((6 * n, 6 * n + 6), (0, 5)),
                     taken=Planes(0, n, 4)) for n in range(4)]  # fmt: skip
    reader = PatchedRows(ArrayReader(SOURCE[:, 0]), patches, (24, 5))
    assert np.array_equal(reader.whole(), SOURCE[:, 0].reshape(24, 5))


@pytest.mark.parametrize("fill", [np.nan, 7])
def test_pixels_outside_all_patches_have_the_fill_value(fill):
    source = SOURCE[0, 0].astype("f4")
    reader = PatchedRows(ArrayReader(source), PATCHES[1:2], (3, 4), fill)
    wanted = np.full((3, 4), fill, "f4")
    wanted[:2, :3] = source[4:6, 1:4]
    np.testing.assert_array_equal(reader.whole(), wanted)


def test_it_pickles():
    reader = PatchedRows(ArrayReader(SOURCE), PATCHES, (4, 3, 7, 6), -1)
    again = pickle.loads(pickle.dumps(reader))
    assert np.array_equal(again.whole(), reader.whole())


def test_a_block_is_read_once_for_all_of_its_patches():
    reads = []

    class Watched(ArrayReader):
        def _fetch(self, window, dtype):
            reads.append(window.shape)
            return super()._fetch(window, dtype)

    block = region((1, 5), (0, 5))
    patches = [Patch(region((row, row + 1), (0, 5)), region((row, row + 1), (0, 5)), block=block)
               for row in range(1, 5)]  # fmt: skip
    found = PatchedRows(Watched(SOURCE[0, 0]), patches, (6, 5), -1).whole()
    assert reads == [(4, 5)]
    assert np.array_equal(found[1:5], SOURCE[0, 0, 1:5])
    assert np.all(found[[0, 5]] == -1)
