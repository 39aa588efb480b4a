"""Kernels that may overwrite a tile's array: never one that anything else needs."""

import pickle
from functools import partial

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.fits.readers import ArrayReader
from calbatch.models.tiling import graphs
from calbatch.models.tiling.plan import (
    MAY_OVERWRITE,
    REGION,
    OperationNode,
    Reduction,
    ReductionSpec,
    ReplaceField,
    SourceNode,
    apply_operations,
    build_call,
)
from calbatch.models.tiling.sinks import WriteTile
from calbatch.models.tiling.tile import Region, Tile

FRAME = (24, 5)
WHOLE = Region((0, 24), (0, 5))
FLOAT = {"data": np.dtype("f4")}
PIXELS = np.random.default_rng(7).normal(size=(3, *FRAME)).astype("f4")
ALLOWED: list[bool] = []
"""True for each run of a kernel that might overwrite its field."""


def double(data, *, overwrite_data):
    ALLOWED.append(overwrite_data)
    return np.multiply(data, np.float32(2), out=data if overwrite_data else None)


def add_one(data):
    return data + np.float32(1)


def smooth(data):
    padded = np.pad(data, [(0, 0), (1, 1), (0, 0)], mode="edge")
    return padded[:, :-2] + padded[:, 2:]


def keep(data):
    return data


KERNELS = {"double": 0, "add_one": 0, "smooth": 1, "keep": 0}


def operation(kernel, **arguments):
    if kernel is double:
        arguments["overwrite_data"] = MAY_OVERWRITE
    call, _ = build_call(kernel, FLOAT, arguments, radius=KERNELS.get(kernel.__name__, 0))
    return call


def step(parent, kernel):
    return OperationNode(parent, operation(kernel))


def source():
    return SourceNode({"data": ArrayReader(PIXELS)}, FRAME)


def run(*operations, tile=None):
    """Return the pixels after some operations, and whether each doubling might overwrite."""
    ALLOWED.clear()
    tile = source().pixels.tile(WHOLE, 0) if tile is None else tile
    return apply_operations(operations, tile, {}).load("data"), list(ALLOWED)


def test_an_array_of_an_earlier_operation_is_overwritten():
    pixels, allowed = run(operation(add_one), operation(double), operation(double))
    np.testing.assert_array_equal(pixels, (PIXELS + np.float32(1)) * 4)
    assert allowed == [True, True]


def test_the_array_of_a_tile_that_others_may_have_is_not_overwritten():
    tile = Tile(WHOLE, WHOLE, {"data": PIXELS.copy()})
    pixels, allowed = run(operation(double), tile=tile)
    np.testing.assert_array_equal(tile.load("data"), PIXELS)
    assert allowed == [False]
    np.testing.assert_array_equal(pixels, PIXELS * 2)


def test_an_array_that_passes_through_a_kernel_is_not_overwritten_while_a_tile_has_it():
    tile = Tile(WHOLE, WHOLE, {"data": PIXELS.copy()})
    _, allowed = run(operation(keep), operation(double), tile=tile)
    np.testing.assert_array_equal(tile.load("data"), PIXELS)
    assert allowed == [False]


def test_a_tile_that_has_been_returned_is_not_overwritten():
    tile = apply_operations([operation(add_one)], source().pixels.tile(WHOLE, 0), {})
    _, allowed = run(operation(double), tile=tile)
    np.testing.assert_array_equal(tile.load("data"), PIXELS + np.float32(1))
    assert allowed == [False]


def test_an_array_that_a_kernel_keeps_is_not_overwritten():
    kept = []

    def remember(data):
        kept.append(data + np.float32(1))
        return kept[0]

    _, allowed = run(operation(remember), operation(double))
    np.testing.assert_array_equal(kept[0], PIXELS + np.float32(1))
    assert allowed == [False]


@pytest.mark.parametrize("index", [..., slice(1, 2)], ids=["whole", "part"])
def test_an_array_of_which_something_keeps_a_view_is_not_overwritten(index):
    views = []

    def look(data):
        made = data + np.float32(1)
        views.append(made[index])
        return made

    _, allowed = run(operation(look), operation(double))
    np.testing.assert_array_equal(views[0], (PIXELS + np.float32(1))[index])
    assert allowed == [False]


def test_a_view_is_overwritten_only_if_nothing_else_has_its_memory():
    kept = []

    def cut(data):
        memory = np.empty((2, *data.shape), np.float32)
        memory[:] = data
        kept[:] = [memory] if keeps else []
        return memory[0]

    for keeps in (False, True):
        _, allowed = run(operation(cut), operation(double))
        assert allowed == [not keeps]
    np.testing.assert_array_equal(kept[0][0], PIXELS)


def test_an_array_that_cannot_be_written_to_is_not_overwritten():
    def freeze(data):
        frozen = data.copy()
        frozen.flags.writeable = False
        return frozen

    def borrow(data):
        return np.frombuffer(bytearray(data.tobytes()), "f4").reshape(data.shape)

    def transpose(data):
        return np.asfortranarray(data)

    for kernel in (freeze, borrow, transpose):
        pixels, allowed = run(operation(kernel), operation(double))
        np.testing.assert_array_equal(pixels, PIXELS * 2)
        assert allowed == [False], kernel.__name__


def test_a_field_that_is_read_in_its_turn_is_overwritten():
    replaced = ReplaceField("data", ArrayReader(PIXELS + 5))
    pixels, allowed = run(operation(add_one), replaced, operation(double))
    np.testing.assert_array_equal(pixels, (PIXELS + 5) * 2)
    assert allowed == [True]


class Holder:
    """A sink that keeps the tiles it is given, without copying them."""

    label = "hold"

    def __init__(self, node, holds):
        self.node, self.holds, self.held = node, holds, []

    def write(self, tile):
        return tile if self.holds == "tile" else tile.core_rows("data")

    def complete(self, receipts, counts):
        self.held = receipts

    def publish(self):
        pixels = [each.core_rows("data") if self.holds == "tile" else each for each in self.held]
        return np.concatenate(pixels, axis=-2)


@pytest.mark.parametrize("holds", ["tile", "view"])
def test_what_a_sink_holds_is_not_overwritten(holds):
    sink = Holder(None, holds)
    operations = [operation(add_one), WriteTile(0, sink), operation(double), operation(double)]
    ALLOWED.clear()
    tile = apply_operations(operations, source().pixels.tile(WHOLE, 0), {})
    sink.complete([receipt for _, receipt in tile.receipts], {})
    np.testing.assert_array_equal(sink.publish(), PIXELS + np.float32(1))
    np.testing.assert_array_equal(tile.load("data"), (PIXELS + np.float32(1)) * 4)
    assert ALLOWED == [False, True]


chains = st.lists(st.sampled_from(sorted(KERNELS)), max_size=4)


def extend(node, names):
    for name in names:
        node = step(node, globals()[name])
    return node


def expect(names):
    data = PIXELS.copy()
    for name in names:
        data = double(data, overwrite_data=False) if name == "double" else globals()[name](data)
    return data


def gather(data):
    return data


@settings(max_examples=60)
@given(chains, chains, chains, st.integers(2, 24), st.booleans(), st.sampled_from(["tile", "view"]))
def test_branches_and_decisions_are_not_disturbed(trunk, left, right, rows, decides, holds):
    """Each product is as if it were made alone, in any tiles, whatever the others overwrite."""
    fork = extend(source(), trunk)
    tips = [fork, extend(fork, left), extend(fork, right)]
    if decides:
        call, _ = build_call(gather, {}, {})
        decision = Reduction(fork, ReductionSpec(call, sum_of_all, None, holds=("data",)))
        call, reductions = build_call(add_sum, FLOAT, {"total": decision})
        tips.append(OperationNode(tips[1], call, reductions))
    with dask.config.set({"calbatch.tile-rows": rows}):
        (result,) = graphs.build_product_graph([Holder(tip, holds) for tip in tips]).run()
    wanted = [expect(names) for names in (trunk, trunk + left, trunk + right)]
    if decides:
        wanted.append(wanted[1] + np.float32(sum_of_all([wanted[0]])))
    for found, pixels in zip(result.products, wanted, strict=True):
        np.testing.assert_array_equal(found, pixels)


def sum_of_all(pieces):
    """Return a sum that does not depend on the tiles: of integers."""
    return int(sum(np.rint(np.clip(piece, -9, 9)).sum(dtype=np.int64) for piece in pieces))


def add_sum(data, *, total):
    return data + np.float32(total)


def test_the_argument_survives_pickling():
    assert pickle.loads(pickle.dumps(MAY_OVERWRITE)) is MAY_OVERWRITE


def test_only_operations_in_turn_own_a_tile():
    tile = source().pixels.tile(WHOLE, 0)
    assert not tile.is_own
    assert not operation(add_one).apply(tile, {}).is_own
    assert not apply_operations([operation(add_one)], tile, {}).is_own


def test_a_field_that_the_kernel_does_not_return_is_not_overwritten():
    call, _ = build_call(double, {"err": FLOAT["data"]}, {"overwrite_data": MAY_OVERWRITE})
    ALLOWED.clear()
    tile = apply_operations([operation(add_one), call], source().pixels.tile(WHOLE, 0), {})
    np.testing.assert_array_equal(tile.load("data"), PIXELS + np.float32(1))
    np.testing.assert_array_equal(tile.load("err"), (PIXELS + np.float32(1)) * 2)
    assert ALLOWED == [False]


def fill(*, region, overwrite_data):
    ALLOWED.append(overwrite_data)
    return np.ones((3, *region.shape), np.float32)


def test_a_kernel_without_fields_overwrites_nothing():
    call, _ = build_call(fill, FLOAT, {"region": REGION, "overwrite_data": MAY_OVERWRITE})
    pixels, allowed = run(operation(add_one), call)
    np.testing.assert_array_equal(pixels, np.ones_like(PIXELS))
    assert allowed == [False]


def test_a_kernel_that_receives_the_argument_itself_overwrites_nothing():
    call, _ = build_call(partial(double, overwrite_data=MAY_OVERWRITE), FLOAT, {})
    tile = Tile(WHOLE, WHOLE, {"data": PIXELS.copy()})
    pixels, _ = run(call, tile=tile)
    np.testing.assert_array_equal(tile.load("data"), PIXELS)
    np.testing.assert_array_equal(pixels, PIXELS * 2)
