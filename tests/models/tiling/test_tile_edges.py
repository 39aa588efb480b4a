"""Edges of tiles: they cover the frame, and follow the budget or the fixed height."""

from itertools import pairwise

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import ArrayReader, ConstantReader
from calbatch.models.storage.memory import SETTING
from calbatch.models.tiling.plan import SourceNode
from calbatch.models.tiling.tile_edges import (
    DEFAULT_BYTES,
    MIN_ROWS,
    TILE_BYTES,
    choose_kept_tiles,
    tile_cores,
    tile_edges,
)


def source(rows, cols=4):
    return SourceNode({"data": ArrayReader(np.zeros((3, rows, cols), "f4"))}, (rows, cols))


@given(st.integers(1, 300), st.integers(1, 10_000), st.integers(1, 100_000))
def test_tiles_cover_the_frame_within_the_budget(rows, row_bytes, budget):
    with dask.config.set({"calbatch.tile-bytes": budget}):
        edges = tile_edges(source(rows), row_bytes)
    heights = [b - a for a, b in pairwise(edges)]
    assert (edges[0], edges[-1]) == (0, rows)
    assert min(heights) > 0
    assert max(heights) * row_bytes <= max(budget, row_bytes)
    assert max(heights) - min(heights) <= 1


@given(st.integers(1, 300), st.integers(1, 400))
def test_a_fixed_height_holds_for_all_tiles_but_the_last(rows, height):
    with dask.config.set({"calbatch.tile-rows": height}):
        heights = [b - a for a, b in pairwise(tile_edges(source(rows)))]
    assert heights[:-1] == [height] * (len(heights) - 1)
    assert 0 < heights[-1] <= height
    assert sum(heights) == rows


def test_a_row_costs_its_stored_pixels_by_default():
    with dask.config.set({"calbatch.tile-bytes": 10 * 3 * 4 * 4}):
        assert tile_edges(source(30)) == (0, 10, 20, 30)


@given(st.integers(1, 300), st.integers(1, 10_000), st.integers(1, 100_000))
def test_a_default_budget_leaves_several_rows_to_a_tile(rows, row_bytes, budget):
    with dask.config.set({DEFAULT_BYTES: budget}):
        heights = [b - a for a, b in pairwise(tile_edges(source(rows), row_bytes))]
    assert max(heights) <= max(budget // row_bytes, MIN_ROWS)
    assert max(heights) * len(heights) < rows + max(heights) * 2
    assert min(heights) >= min(rows, MIN_ROWS // 2)


def test_no_default_budget_is_that_of_the_module():
    with dask.config.set({DEFAULT_BYTES: None}):
        without = tile_edges(source(100), TILE_BYTES // 10)
    assert without == tuple(range(0, 101, 10))


def test_edges_are_chosen_once():
    node = source(30)
    edges = tile_edges(node)
    with dask.config.set({"calbatch.tile-rows": 3}):
        assert tile_edges(node) == edges
        assert [core.rows for core in tile_cores(node)] == list(pairwise(edges))


def test_cores_span_the_frames_width():
    node = source(30, cols=7)
    assert {core.cols for core in tile_cores(node)} == {(0, 7)}


@pytest.mark.parametrize(
    ("row_megabytes", "memory_gigabytes", "height"),
    [(1, 64, 112), (20, 64, 8), (20, 1, 6), (100, 4, 5), (100, 0.5, 1)],
)
def test_tiles_of_large_rows_have_some_rows_if_memory_suffices(
    row_megabytes, memory_gigabytes, height
):
    with dask.config.set({SETTING: int(memory_gigabytes * 2**30)}):
        edges = tile_edges(source(height * 3), row_megabytes * 2**20)
    assert edges[1] == height


def test_a_row_larger_than_memory_is_rejected():
    node = SourceNode({"data": ConstantReader((2, 1000), "f4", 0)}, (2, 1000))
    with (
        dask.config.set({SETTING: 3999}),
        pytest.raises(ModelError, match=r"one row of its frame, .* takes 4e-06 GB of memory"),
    ):
        tile_edges(node)


@given(
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(0, 5),
    st.integers(1, 9),
    st.integers(0, 999),
)
def test_the_first_tiles_that_fit_are_kept(rows, height, halo, row_bytes, limit):
    node = source(rows)
    with dask.config.set({"calbatch.tile-rows": height, "calbatch.kept-bytes": limit}):
        kept = choose_kept_tiles(node, halo, row_bytes)
        edges = tile_edges(node)
    sizes = [(min(b + halo, rows) - max(a - halo, 0)) * row_bytes for a, b in pairwise(edges)]
    count = sum(kept)
    assert kept == [True] * count + [False] * (len(sizes) - count)
    assert sum(sizes[:count]) <= limit
    assert count == len(sizes) or sum(sizes[: count + 1]) > limit


def test_a_quarter_of_the_memory_is_for_kept_tiles():
    node = source(10)
    with dask.config.set({"calbatch.tile-rows": 1, "calbatch.memory-bytes": 40000}):
        assert sum(choose_kept_tiles(node, 0, 2000)) == 5
