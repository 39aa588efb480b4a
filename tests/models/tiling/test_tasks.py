"""The functions of tasks: boxed tiles in, boxed tiles out."""

import pickle

import numpy as np

from calbatch.models.fits.readers import ArrayReader
from calbatch.models.tiling import tasks
from calbatch.models.tiling.plan import ReductionSpec, SourcePixels, ValueSlot, build_call
from calbatch.models.tiling.reductions import reduce_pixels
from calbatch.models.tiling.sinks import DropArrays
from calbatch.models.tiling.tile import Region

FRAME = (8, 3)
PIXELS = np.arange(24, dtype="f4").reshape(FRAME)
SOURCE = SourcePixels({"data": ArrayReader(PIXELS)}, FRAME)
TOP, MIDDLE = Region((0, 4), (0, 3)), Region((2, 5), (0, 3))


def add(data, *, offset):
    return data + np.float32(offset)


def gather_data(data):
    return data.copy()


ADD, _ = build_call(add, {"data": np.dtype("f4")}, {"offset": ValueSlot("key")})
GATHER, _ = build_call(gather_data, {}, {})
SPEC = ReductionSpec(GATHER, list, (MIDDLE,))


def boxed_tile(region=TOP, halo=0):
    return tasks.RunFromSource(SOURCE, halo, [])(region)


def test_the_source_task_reads_a_tile_and_passes_values_by_key():
    run = pickle.loads(pickle.dumps(tasks.RunFromSource(SOURCE, 1, [ADD])))
    box = run(MIDDLE, values={"key": 10})
    assert box.shape == (1,)
    np.testing.assert_array_equal(box[0].load("data"), PIXELS[1:6] + 10)
    np.testing.assert_array_equal(tasks.get_field("data", box), PIXELS[2:5] + 10)


def test_operations_run_on_a_tile():
    box = tasks.RunOnTile([ADD])(boxed_tile(), {"key": 2})
    np.testing.assert_array_equal(box[0].load("data"), PIXELS[:4] + 2)
    assert tasks.RunOnTile([DropArrays()])(box)[0].arrays == {}


def test_setting_a_field_crops_the_tile():
    box = tasks.set_field("data", boxed_tile(MIDDLE, halo=1), PIXELS[2:5] * 2)
    assert box[0].region == MIDDLE
    np.testing.assert_array_equal(box[0].load("data"), PIXELS[2:5] * 2)


def test_neighbours_give_a_tile_its_halo():
    bottom = Region((4, 8), (0, 3))
    box = tasks.join_halo(Region((0, 5), (0, 3)), TOP, boxed_tile(), boxed_tile(bottom))
    np.testing.assert_array_equal(box[0].load("data"), PIXELS[:5])


def test_a_reduction_is_the_same_from_pixels_and_from_tiles():
    (direct,) = reduce_pixels(SPEC, SOURCE, [ADD], {"key": 10})
    bottom = Region((4, 8), (0, 3))
    tiles = [tasks.RunOnTile([ADD])(boxed_tile(r), {"key": 10}) for r in (TOP, bottom)]
    pieces = [tasks.cut_boxed_pieces(SPEC, box) for box in tiles]
    (from_tiles,) = tasks.reduce_boxed_pieces(SPEC, *pieces)
    np.testing.assert_array_equal(direct, PIXELS[2:5] + 10)
    np.testing.assert_array_equal(from_tiles, direct)


def test_finishing_unpacks_the_tiles():
    (result,) = tasks.finish([], None, [0], tasks.RunOnTile([DropArrays()])(boxed_tile()))
    assert (result.products, result.remark) == ([], "")
    assert set(result.seconds) == {"write"}
