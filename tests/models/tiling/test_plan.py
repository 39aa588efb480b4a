"""Plans without dask: evaluated on any region, they return the pixels of the whole frame."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import ArrayReader, ConstantReader
from calbatch.models.tiling.plan import (
    AssignNode,
    OperationNode,
    Reduction,
    ReductionSpec,
    ReplaceField,
    SourceNode,
    ValueSlot,
    apply_operations,
    build_call,
    label_operations,
)
from calbatch.models.tiling.tile import REGION, Region, Tile

FRAME = (13, 6)
WHOLE = Region((0, 13), (0, 6))
PIXELS = np.random.default_rng(3).normal(size=(2, *FRAME)).astype("f4")
FLOAT = {"data": np.dtype("f4")}


def add_neighbours(data):
    """Add the rows above and below; the frame's edges repeat their rows."""
    padded = np.pad(data, [(0, 0), (1, 1), (0, 0)], mode="edge")
    return padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]


def scale(data, *, factor):
    return data * np.float32(factor)


def add_reference(data, *, reference):
    return data + reference


def add_row_number(data, *, region):
    return data + np.arange(*region.rows, dtype="f4")[:, None]


def count_positive(data):
    return data, (data > 0).sum(axis=(0, 2))


REFERENCE = np.random.default_rng(4).normal(size=FRAME).astype("f4")
KERNELS = {
    "add_neighbours": (add_neighbours, {}, 1),
    "scale": (scale, {"factor": 0.5}, 0),
    "add_reference": (add_reference, {"reference": ArrayReader(REFERENCE)}, 0),
    "add_row_number": (add_row_number, {"region": REGION}, 0),
}


def source():
    return SourceNode({"data": ArrayReader(PIXELS)}, FRAME)


def chain(names):
    node = source()
    for name in names:
        kernel, arguments, radius = KERNELS[name]
        call, reductions = build_call(kernel, FLOAT, arguments, radius=radius)
        node = OperationNode(node, call, reductions)
    return node


def evaluate(tip, core):
    """Evaluate a plan on one region, with the halo that its operations add up to."""
    operations = [n.op for n in tip.ancestry() if isinstance(n, OperationNode)][::-1]
    halo = sum(op.radius for op in operations)
    return apply_operations(operations, tip.source.pixels.tile(core, halo), {})


def run_kernels(names):
    data = PIXELS
    for name in names:
        kernel, arguments, _ = KERNELS[name]
        known = {"reference": REFERENCE, "region": WHOLE}
        data = kernel(data, **{k: known.get(k, v) for k, v in arguments.items()})
    return data


rows = st.tuples(st.integers(0, 12), st.integers(1, 13)).filter(lambda pair: pair[0] < pair[1])


@given(st.lists(st.sampled_from(sorted(KERNELS)), max_size=5), rows)
def test_a_plan_gives_the_frames_pixels_on_any_rows(names, rows):
    tile = evaluate(chain(names), Region(rows, (0, 6)))
    np.testing.assert_array_equal(tile.core_rows("data"), run_kernels(names)[:, slice(*rows)])


@given(st.lists(st.sampled_from(sorted(KERNELS)), max_size=5))
def test_time_is_recorded_under_each_operations_label(names):
    assert set(evaluate(chain(names), WHOLE).seconds) == set(names)


def test_row_counts_are_those_of_the_core():
    call, _ = build_call(count_positive, FLOAT, {}, row_counts=("positive",))
    tile = source().pixels.tile(Region((4, 9), (0, 6)), 2)
    counts = call.apply(tile, {}).counts["positive"]
    np.testing.assert_array_equal(counts, (PIXELS[:, 4:9] > 0).sum(axis=(0, 2)))


def test_a_call_that_does_not_keep_other_fields_drops_them():
    readers = {"data": ArrayReader(PIXELS), "err": ConstantReader(PIXELS.shape, "f4", 0)}
    tile = SourceNode(readers, FRAME).pixels.tile(WHOLE, 0)
    for keep, names in ((True, {"data", "err"}), (False, {"data"})):
        call, _ = build_call(scale, FLOAT, {"factor": 2}, keep=keep)
        assert set(call.apply(tile, {}).arrays) == names


def test_outputs_are_cast_to_their_types():
    call, _ = build_call(scale, {"data": np.dtype("f8")}, {"factor": 2})
    tile = call.apply(source().pixels.tile(WHOLE, 0), {})
    assert tile.load("data").dtype == np.float64


def test_a_replaced_field_comes_from_its_reader():
    put = ReplaceField("data", ArrayReader(PIXELS + 1))
    tile = put.apply(source().pixels.tile(Region((2, 4), (0, 6)), 0), {})
    np.testing.assert_array_equal(tile.load("data"), PIXELS[:, 2:4] + 1)


def test_a_reduction_among_the_arguments_leaves_a_slot():
    gather, _ = build_call(scale, {}, {"factor": 1})
    level = Reduction(source(), ReductionSpec(gather, max, (WHOLE,)))
    call, reductions = build_call(scale, FLOAT, {"factor": level})
    assert reductions == (level,)
    assert call.arguments == {"factor": ValueSlot(level.key)}
    tile = call.apply(source().pixels.tile(WHOLE, 0), {level.key: 3})
    np.testing.assert_array_equal(tile.load("data"), PIXELS * 3)


def tile_of(region):
    return source().pixels.tile(region, 0)


def test_a_reduction_combines_its_regions_in_order():
    gather, _ = build_call(scale, {}, {"factor": 1})
    regions = (Region((8, 9), (0, 6)), Region((0, 2), (1, 3)))
    pieces = ReductionSpec(gather, list, regions).compute(tile_of, {})
    for piece, region in zip(pieces, regions, strict=True):
        np.testing.assert_array_equal(piece, PIXELS[:, slice(*region.rows), slice(*region.cols)])


def test_a_reduction_stops_at_its_condition():
    gather, _ = build_call(scale, {}, {"factor": 1})
    regions = tuple(Region((row, row + 1), (0, 6)) for row in range(13))
    spec = ReductionSpec(gather, len, regions, until=lambda pieces: len(pieces) == 4)
    assert spec.compute(tile_of, {}) == 4


def test_a_reductions_regions_may_be_another_reductions_value():
    gather, _ = build_call(scale, {}, {"factor": 1})
    spec = ReductionSpec(gather, len, ValueSlot("regions"))
    assert spec.resolve_regions({"regions": (WHOLE,)}) == (WHOLE,)
    assert spec.compute(tile_of, {"regions": (WHOLE, WHOLE)}) == 2


@pytest.mark.parametrize("arguments", [{}, {"factor": 1, "offset": 2}, {"offset": 2}])
def test_arguments_that_do_not_match_the_kernel_are_rejected(arguments):
    with pytest.raises(ModelError, match=r"scale takes arguments \['factor'\]"):
        build_call(scale, FLOAT, arguments)


def test_a_wrong_number_of_results_is_rejected():
    call, _ = build_call(count_positive, FLOAT, {})
    with pytest.raises(ModelError, match=r"count_positive returned 2 arrays, not \('data',\)"):
        call.apply(source().pixels.tile(WHOLE, 0), {})


@pytest.mark.parametrize(
    ("kernel", "name"), [(count_positive, "count_positive"), (partial(count_positive), "partial")]
)
def test_errors_in_a_step_name_its_kernel(kernel, name):
    with label_operations("mine"):
        with pytest.raises(ModelError, match=rf"mine: {name} takes arguments \[\], got"):
            build_call(kernel, FLOAT, {"factor": 1})
        call, _ = build_call(kernel, FLOAT, {})
    assert call.label == "mine"
    with pytest.raises(ModelError, match=f"mine: {name} returned 2 arrays"):
        call.apply(source().pixels.tile(WHOLE, 0), {})


def test_ancestry_leads_to_the_source():
    node = chain(["scale", "scale"])
    assigned = AssignNode(node, "data", None)
    assert list(assigned.ancestry())[:2] == [assigned, node]
    assert assigned.source is list(assigned.ancestry())[-1]
    assert isinstance(assigned.source, SourceNode)


def test_a_tile_with_a_halo_covers_it():
    tile = source().pixels.tile(Region((0, 3), (0, 6)), 2)
    assert isinstance(tile, Tile)
    assert tile.region == Region((0, 5), (0, 6))


def test_operations_are_labelled_by_the_block_that_adds_them():
    def labels():
        call, _ = build_call(add_neighbours, {"data": np.dtype("f4")}, {})
        return call.label, ReplaceField("data", ArrayReader(PIXELS)).label

    assert labels() == ("add_neighbours", "assign")
    with label_operations("outer"):
        with label_operations("inner"):
            assert labels() == ("inner", "inner")
        assert labels() == ("outer", "outer")
    assert labels() == ("add_neighbours", "assign")
