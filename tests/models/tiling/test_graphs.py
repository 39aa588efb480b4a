"""Graphs of plans: the same pixels for any tiles, one run of each kernel per tile, few tasks."""

import threading
from collections import Counter
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import ArrayReader
from calbatch.models.tiling import graphs
from calbatch.models.tiling.plan import (
    AssignNode,
    OperationNode,
    Reduction,
    ReductionSpec,
    ReplaceField,
    SourceNode,
    build_call,
)
from calbatch.models.tiling.tile import REGION, Region
from calbatch.models.tiling.tile_edges import tile_edges

FRAME = (37, 11)
FLOAT = {"data": np.dtype("f4")}
RUNS: Counter[str] = Counter()
LOCK = threading.Lock()


def count(name):
    with LOCK:
        RUNS[name] += 1


def smooth(data):
    """Average the four neighbours of each pixel; the frame's edges repeat their pixels."""
    count("smooth")
    padded = np.pad(data, [(0, 0)] * (data.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    sides = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, 2:]
    return (sides + padded[..., 1:-1, :-2]) / np.float32(4)


def subtract(data, *, level):
    count("subtract")
    return data - np.float32(level)


def add_row_number(data, *, region):
    rows = np.arange(*region.rows, dtype="f4")[:, None]
    return data + rows * np.float32(0.5)


def count_positive(data):
    return data, (data > 0).sum(axis=(0, 2))


def gather(data):
    count("gather")
    return data.ravel().astype("f8")


def mean(pieces):
    return float(np.mean(np.concatenate(pieces)))


class Memory:
    """A sink that holds the product in memory."""

    label = "write"

    def __init__(self, node, name="data"):
        self.node, self.name = node, name

    def write(self, tile):
        return tile.core_rows(self.name).copy()

    def complete(self, receipts, counts):
        self.product = np.concatenate(receipts, axis=-2), dict(counts)

    def publish(self):
        return self.product


def step(parent, kernel, *, radius=0, row_counts=(), **arguments):
    call, reductions = build_call(kernel, FLOAT, arguments, radius=radius, row_counts=row_counts)
    return OperationNode(parent, call, reductions)


def reduction(parent, regions, until=None):
    call, reductions = build_call(gather, {}, {})
    return Reduction(parent, ReductionSpec(call, mean, tuple(regions), until), reductions)


@pytest.fixture
def pixels():
    RUNS.clear()
    return np.random.default_rng(1).normal(size=(2, *FRAME)).astype("f4")


def source(pixels):
    return SourceNode({"data": ArrayReader(pixels)}, pixels.shape[-2:])


WHOLE = Region((0, 37), (0, 11))
EDGES = (Region((0, 3), (0, 11)), Region((30, 37), (2, 4)), Region((30, 37), (6, 9)))


def chain(pixels, assigned=False):
    """Smooth, optionally double with plain dask arithmetic, subtract an edge level, smooth."""
    first = step(source(pixels), smooth, radius=1)
    if assigned:
        doubled = graphs.view(first, "data", pixels.shape, pixels.dtype) * 2
        first = AssignNode(first, "data", doubled)
    level = reduction(first, EDGES)
    middle = step(first, subtract, level=level)
    return middle, step(middle, smooth, radius=1)


def compute_products(pixels, assigned=False):
    first = smooth(pixels) * np.float32(2 if assigned else 1)
    level = np.mean(np.concatenate([first[(..., *r.within(WHOLE))].ravel() for r in EDGES]
                                   ).astype("f8"))  # fmt: skip
    middle = first - np.float32(level)
    return middle, smooth(middle)


def tasks_of(sinks):
    """Count the tasks after optimization, without aliases."""
    (graph,) = dask.optimize(graphs.build_product_graph(sinks))
    return sum("Alias" not in type(task).__name__ for task in dict(graph.__dask_graph__()).values())


def compute(sinks, rows, scheduler="here"):
    with dask.config.set({"calbatch.tile-rows": rows}):
        graph = graphs.build_product_graph(sinks)
    run = graph.run if scheduler == "here" else partial(graph.compute, scheduler=scheduler)
    products, seconds, _ = run()[0]
    return products, seconds


@pytest.mark.parametrize("scheduler", ["here", "sync", "threads"])
@pytest.mark.parametrize("assigned", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 5, 36, 37, 100])
def test_the_result_is_the_same_for_any_tile_height(pixels, rows, assigned, scheduler):
    middle, last = chain(pixels, assigned)
    products, _ = compute([Memory(middle), Memory(last)], rows, scheduler)
    for (found, _), wanted in zip(products, compute_products(pixels, assigned), strict=True):
        np.testing.assert_array_equal(found, wanted)


@given(st.integers(1, 40), st.integers(0, 3), st.integers(0, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_halos_add_up_over_any_number_of_operations(rows, before, after, assigned):
    pixels = np.random.default_rng(2).normal(size=(1, *FRAME)).astype("f4")
    node, wanted = source(pixels), pixels
    for _ in range(before):
        node, wanted = step(node, smooth, radius=1), smooth(wanted)
    if assigned:
        with dask.config.set({"calbatch.tile-rows": rows}):
            view = graphs.view(node, "data", pixels.shape, pixels.dtype)
        node, wanted = AssignNode(node, "data", view + 1), wanted + 1
    for _ in range(after):
        node, wanted = step(node, smooth, radius=1), smooth(wanted)
    products, _ = compute([Memory(node)], rows)
    np.testing.assert_array_equal(products[0][0], wanted)


def test_a_chain_takes_one_task_per_tile_and_two_per_exposure(pixels):
    _, last = chain(pixels)
    with dask.config.set({"calbatch.tile-rows": 4}):
        assert tasks_of([Memory(last)]) == 10 + 2


def test_each_kernel_runs_once_per_tile_and_the_reduction_once(pixels):
    middle, last = chain(pixels)
    RUNS.clear()
    compute([Memory(middle), Memory(last)], rows=4)
    assert RUNS["subtract"] == 10
    assert RUNS["gather"] == len(EDGES)
    assert RUNS["smooth"] == 2 * 10 + len(EDGES)  # the reduction smooths its own regions


def test_a_view_shares_its_tiles_with_the_nodes_after_it(pixels):
    node = step(source(pixels), subtract, level=1)
    with dask.config.set({"calbatch.tile-rows": 10}):
        view = graphs.view(node, "data", pixels.shape, pixels.dtype)
        after = AssignNode(node, "data", view * 3)
        RUNS.clear()
        products, _ = compute([Memory(after)], rows=10)
    np.testing.assert_array_equal(products[0][0], (pixels - 1) * 3)
    assert RUNS["subtract"] == 4


def test_an_assigned_array_adds_at_most_three_tasks_per_tile(pixels):
    def tasks(*, assigned):
        node = step(source(pixels), subtract, level=1)
        if assigned:
            view = graphs.view(node, "data", pixels.shape, pixels.dtype)
            flat = graphs.view(source(pixels), "data", pixels.shape, pixels.dtype)
            node = AssignNode(node, "data", view / flat)
        return tasks_of([Memory(step(node, subtract, level=2))])

    with dask.config.set({"calbatch.tile-rows": 4}):
        assert tasks(assigned=True) - tasks(assigned=False) <= 3 * 10


def test_the_region_argument_is_the_tiles_region(pixels):
    node = step(step(source(pixels), add_row_number, region=REGION), smooth, radius=1)
    wanted = smooth(pixels + np.arange(37, dtype="f4")[:, None] * np.float32(0.5))
    for rows in (3, 37):
        products, _ = compute([Memory(node)], rows)
        np.testing.assert_array_equal(products[0][0], wanted)


def test_row_counts_exclude_the_halo(pixels):
    node = step(step(source(pixels), count_positive, row_counts=("positive",)), smooth, radius=1)
    for rows in (3, 37):
        products, _ = compute([Memory(node)], rows)
        np.testing.assert_array_equal(products[0][1]["positive"], (pixels > 0).sum(axis=(0, 2)))


def test_a_reduction_stops_at_its_condition(pixels):
    regions = [Region((r, r + 1), (0, 11)) for r in range(37)]
    level = reduction(source(pixels), regions, until=lambda pieces: len(pieces) == 2)
    node = step(level.parent, subtract, level=level)
    products, _ = compute([Memory(node)], rows=7)
    wanted = pixels - np.float32(np.mean(np.concatenate([pixels[:, 0], pixels[:, 1]]).astype("f8")))
    np.testing.assert_allclose(products[0][0], wanted, rtol=1e-6)  # the sum has another order
    assert RUNS["gather"] == 2


def test_a_replaced_field_is_read_from_its_reader(pixels):
    node = OperationNode(source(pixels), ReplaceField("data", ArrayReader(pixels + 5)))
    products, _ = compute([Memory(node)], rows=8)
    np.testing.assert_array_equal(products[0][0], pixels + 5)


def test_seconds_are_reported_by_operation(pixels):
    _, seconds = compute([Memory(chain(pixels)[1])], rows=8)
    assert set(seconds) == {"smooth", "subtract", "write"}


def test_a_kernel_that_changes_the_shape_is_rejected(pixels):
    def cut(data):
        return data[..., 1:, :]

    with pytest.raises(ModelError, match=r"cut returned data of shape \(2, 36, 11\)"):
        compute([Memory(step(source(pixels), cut))], rows=37)


def test_arguments_that_a_kernel_does_not_take_are_rejected(pixels):
    with pytest.raises(ModelError, match=r"subtract takes arguments \['level'\], got \['lvl'\]"):
        step(source(pixels), subtract, lvl=1)


def test_an_array_of_another_frame_is_rejected(pixels):
    with pytest.raises(ModelError, match=r"shape \(2, 11, 37\) does not end in \(37, 11\)"):
        graphs.align_chunks(da.zeros((2, 11, 37)), source(pixels), "data")


def test_the_height_of_tiles_follows_from_the_memory_per_row(pixels):
    with dask.config.set({"calbatch.tile-bytes": 1000}):
        assert tile_edges(source(pixels), row_bytes=100) == (0, 9, 18, 27, 37)
