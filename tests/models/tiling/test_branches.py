"""Decisions about the whole frame: tiles are kept, and computed again only if they do not fit."""

import threading
from collections import Counter
from functools import partial

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.fits.readers import ArrayReader
from calbatch.models.tiling import graphs
from calbatch.models.tiling.plan import (
    OperationNode,
    Reduction,
    ReductionSpec,
    SourceNode,
    build_call,
)
from calbatch.models.tiling.tile import Region

FRAME = (37, 11)
FLOAT = {"data": np.dtype("f4")}
ROW = 4 * 11  # bytes
RUNS: Counter[str] = Counter()
LOCK = threading.Lock()


def count(name):
    with LOCK:
        RUNS[name] += 1


def smooth(data):
    count("smooth")
    padded = np.pad(data, [(1, 1), (0, 0)], mode="edge")
    return padded[:-2] + padded[1:-1] + padded[2:]


def subtract(data, *, level):
    count("subtract")
    return data - np.float32(level)


def gather(data):
    count("gather")
    return data.copy()


def median(pieces):
    count("median")
    return float(np.median(np.concatenate(pieces)))


class Memory:
    """A sink that holds the product in memory, and counts the tiles that it is given."""

    label = "write"

    def __init__(self, node):
        self.node = node

    def write(self, tile):
        count("write")
        return tile.core_rows("data").copy()

    def complete(self, receipts, counts):
        self.product = np.concatenate(receipts, axis=-2)

    def publish(self):
        return self.product


def step(parent, kernel, *, radius=0, **arguments):
    call, reductions = build_call(kernel, FLOAT, arguments, radius=radius)
    return OperationNode(parent, call, reductions)


def decision(parent):
    call, reductions = build_call(gather, {}, {})
    return Reduction(parent, ReductionSpec(call, median, None), reductions)


def reduction(parent, regions):
    call, reductions = build_call(gather, {}, {})
    return Reduction(parent, ReductionSpec(call, median, regions), reductions)


@pytest.fixture
def pixels():
    RUNS.clear()
    return np.random.default_rng(1).normal(size=FRAME).astype("f4")


def chain(pixels, decisions):
    """Smooth, then subtract the frame's median and smooth again, some times."""
    node = step(SourceNode({"data": ArrayReader(pixels)}, FRAME), smooth, radius=1)
    nodes = [node]
    for _ in range(decisions):
        node = step(node, subtract, level=decision(node))
        node = step(node, smooth, radius=1)
        nodes.append(node)
    return nodes


def compute_expected(pixels, decisions):
    frame = smooth(pixels)
    for _ in range(decisions):
        frame = smooth(frame - np.float32(np.median(frame)))
    RUNS.clear()
    return frame


def waiting(sinks):
    """Return the nodes that wait in a graph."""
    return graphs.find_branches([s.node for s in sinks]).waiting


def compute(sinks, *, rows=5, kept=10**9, scheduler="here"):
    with dask.config.set({"calbatch.tile-rows": rows, "calbatch.kept-bytes": kept}):
        kept_rows = dict.fromkeys(waiting(sinks), ROW)
        graph = graphs.build_product_graph(sinks, kept_rows=kept_rows)
    run = graph.run if scheduler == "here" else partial(graph.compute, scheduler=scheduler)
    return run()[0].products


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    kept=st.integers(0, 45 * ROW),
    decisions=st.integers(0, 3),
    scheduler=st.sampled_from(["here", "sync", "threads"]),
)
def test_the_result_does_not_depend_on_tiles_and_memory(rows, kept, decisions, scheduler):
    pixels = np.random.default_rng(2).normal(size=FRAME).astype("f4")
    wanted = compute_expected(pixels, decisions)
    last = chain(pixels, decisions)[-1]
    (found,) = compute([Memory(last)], rows=rows, kept=kept, scheduler=scheduler)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("decisions", [1, 2])
def test_with_enough_memory_each_kernel_runs_once_per_tile(pixels, decisions):
    compute([Memory(chain(pixels, decisions)[-1])])
    tiles = 8
    assert dict(RUNS) == {
        "smooth": tiles * (decisions + 1),
        "subtract": tiles * decisions,
        "gather": tiles * decisions,
        "median": decisions,
        "write": tiles,
    }


def test_only_tiles_that_do_not_fit_are_computed_again(pixels):
    # each tile has 5 rows and those of its halo: 6 at the edge of the frame, 7 elsewhere
    compute([Memory(chain(pixels, 1)[-1])], kept=(6 + 7 + 7) * ROW)
    assert RUNS["smooth"] == 8 + 8 + 5
    assert RUNS["gather"] == 8


def test_an_intermediate_product_is_written_once(pixels):
    first, last = chain(pixels, 1)
    for kept in (0, 10**9):
        RUNS.clear()
        one, other = compute([Memory(first), Memory(last)], kept=kept)
        assert RUNS["write"] == 2 * 8
        np.testing.assert_array_equal(one, smooth(pixels))
        np.testing.assert_array_equal(other, compute_expected(pixels, 1))


def test_a_reduction_after_a_decision_does_not_decide_again(pixels):
    node = chain(pixels, 1)[-1]
    level = reduction(node, (Region((0, 3), (0, 11)),))
    last = step(node, subtract, level=level)
    (found,) = compute([Memory(last)])
    assert RUNS["median"] == 2
    assert RUNS["gather"] == 8 + 1
    frame = compute_expected(pixels, 1)
    np.testing.assert_array_equal(found, frame - np.float32(np.median(frame[:3])))


def test_contributions_have_no_halo(pixels):
    node = chain(pixels, 0)[-1]
    value = decision(node)
    last = step(step(node, subtract, level=value), smooth, radius=3)
    compute([Memory(last)], rows=7)
    assert RUNS["median"] == 1
    with dask.config.set({"calbatch.tile-rows": 7}):
        found = graphs.delayed_value(decision(chain(pixels, 0)[-1])).compute(scheduler="sync")
    assert found == float(np.median(smooth(pixels)))


def test_views_share_a_decision(pixels):
    last = chain(pixels, 1)[-1]
    with dask.config.set({"calbatch.tile-rows": 5}):
        views = [graphs.view(last, "data", FRAME, pixels.dtype) for _ in range(2)]
        found = dask.compute(*views, scheduler="sync")
    assert RUNS["median"] == 1
    for view in found:
        np.testing.assert_array_equal(view, compute_expected(pixels, 1))


def test_a_trial_computes_no_more_than_the_first_tiles(pixels):
    last = chain(pixels, 1)[-1]
    with dask.config.set({"calbatch.tile-rows": 5, graphs.TRIAL: True}):
        np.asarray(graphs.view(last, "data", FRAME, pixels.dtype)[:5])
    assert dict(RUNS) == {"smooth": 3, "subtract": 1, "gather": 2, "median": 1}
