"""Memory of a tile, computed before it is read."""

import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest

from calbatch.models.budget import (
    BESIDE_REFERENCES,
    RowBytes,
    TileBudget,
    _walk,
    limit_reference_cache,
    row_bytes,
    tile_budget,
)
from calbatch.models.datamodels import CubeModel, ImageModel, RampFitOutputModel, RampModel
from calbatch.models.fits.readers import ArrayReader
from calbatch.models.saving import save
from calbatch.models.tiling import reference_cache
from calbatch.models.tiling.plan import MAY_OVERWRITE
from calbatch.models.tiling.tile_edges import TILE_BYTES

COLS = 64


def subtract(data, *, dark):
    return data - dark


def flag(groupdq, pixeldq):
    return groupdq | 1, pixeldq | 1


def return_data(data):
    return data


def slopes(data, groupdq):
    return data.mean((0, 1)), data.mean(1)


def scale(data, *, overwrite_data):
    return np.multiply(data, np.float32(2), out=data if overwrite_data else None)


def ramp(ints=2, groups=5, rows=32):
    return RampModel(np.ones((ints, groups, rows, COLS), "f4"))


def test_every_kind_of_row_is_counted():
    dark = ArrayReader(np.ones((5, 32, COLS), "f4"))
    model = ramp().map_tiles(subtract, ["data"], dark=dark)
    pixels = 2 * 5 * COLS
    # data are read, replaced (both copies exist briefly) and written; the dark has no integrations
    assert row_bytes([model]) == RowBytes(
        inputs=4 * pixels, references=4 * 5 * COLS, scratch=0, outputs=4 * pixels
    )


def test_fields_that_no_product_has_are_scratch():
    flagged = ramp().map_tiles(flag, ["groupdq", "pixeldq"])
    made = flagged.map_tiles_into(
        {"rate": ImageModel, "rateints": CubeModel}, slopes, ["rate.data", "rateints.data"]
    )
    found = row_bytes(list(made.values()))
    products = 4 * COLS + 2 * 4 * COLS
    flags = 2 * 5 * COLS + 4 * COLS
    assert found == RowBytes(inputs=4 * 2 * 5 * COLS, scratch=flags, outputs=products)


def test_unread_fields_cost_nothing():
    model = ramp()
    model.groupdq = np.zeros(model.shape, "u1")
    made = model.map_tiles_into({"rate": ImageModel}, near_slope, ["rate.data"])
    assert row_bytes([made["rate"]]).inputs == 4 * 2 * 5 * COLS


def near_slope(data):
    return data.mean((0, 1))


def test_released_fields_cost_nothing():
    rate = ramp().map_tiles_into({"rate": ImageModel}, near_slope, ["rate.data"])["rate"]
    twice = rate.map_tiles(return_data, ["data"])
    assert row_bytes([twice]) == row_bytes([rate])


def test_the_most_expensive_branch_counts():
    model = ramp()
    rate = model.map_tiles_into({"rate": ImageModel}, near_slope, ["rate.data"])["rate"]
    flagged = model.map_tiles(flag, ["groupdq", "pixeldq"])
    found = row_bytes([rate, flagged])
    data, groupdq, plane = 4 * 2 * 5 * COLS, 2 * 5 * COLS, 4 * COLS
    assert found.outputs == plane + data + groupdq + plane
    assert found.scratch == 0
    assert found.total >= data + 2 * (groupdq + plane)


def test_a_result_that_takes_the_place_of_its_field_is_no_second_copy(tmp_path):
    stored = RampModel(ramp().save(tmp_path / "ramp.fits"))
    flagged = ramp().map_tiles(flag, ["groupdq", "pixeldq"])
    data = 4 * 2 * 5 * COLS
    totals = {}
    for name, model, overwrites in [
        ("in place", flagged, MAY_OVERWRITE),
        ("copied", flagged, False),
        ("first", stored, MAY_OVERWRITE),
    ]:
        totals[name] = row_bytes([make_rate(scale_ramp(model, overwrite_data=overwrites))]).total
    flags, rate = 2 * 5 * COLS + 4 * COLS, 4 * COLS
    assert totals == {
        "in place": data + flags + rate,
        "copied": 2 * data + flags,
        "first": 2 * data,  # the first operation does not know who else has the tile
    }


def scale_ramp(model, **options):
    """Return a model whose ramp is overwritten where nothing else needs it."""
    return model.map_tiles(scale, ["data"], **{"overwrite_data": MAY_OVERWRITE} | options)


def make_rate(model):
    return model.map_tiles_into({"rate": ImageModel}, near_slope, ["rate.data"])["rate"]


def flag_ramp(model):
    return model.map_tiles(flag, ["groupdq", "pixeldq"])


def assign_array(model):
    """Return a ramp to which an array of dask's is assigned, whose blocks dask keeps."""
    model.data = da.ones(model.shape, chunks=(*model.shape[:2], 64, COLS), dtype="f4")
    return model


def look_at(model):
    """Return a ramp that somebody has looked at, which keeps its tiles for other views."""
    assert model.data.shape
    return model


PLANS = {
    "nothing else": (lambda a: [make_rate(scale_ramp(flag_ramp(a)))], 1),
    "copied": (lambda a: [make_rate(scale_ramp(flag_ramp(a), overwrite_data=False))], 2),
    "a fork": (lambda a: [make_rate(a), make_rate(scale_ramp(a))], 2),
    "a fork before": (lambda a: [make_rate(a), make_rate(scale_ramp(flag_ramp(a)))], 2),
    "two variants": (
        lambda a: [make_rate(scale_ramp(b)) for b in (flag_ramp(a), scale_ramp(flag_ramp(a)))], 2
    ),
    "looked at": (lambda a: [make_rate(scale_ramp(flag_ramp(look_at(a))))], 2),
    "looked at just before": (lambda a: [make_rate(scale_ramp(look_at(flag_ramp(a))))], 2),
    "an assigned array": (lambda a: [make_rate(scale_ramp(flag_ramp(assign_array(a))))], 2),
    "saved": (lambda a: [a, make_rate(scale_ramp(a))], 2),
}  # fmt: skip
"""Models to save, made from a ramp with flags, and the copies of the ramp in memory at once."""


@pytest.mark.parametrize("plan", PLANS)
def test_the_budget_knows_which_ramps_are_overwritten(plan):
    make, copies = PLANS[plan]
    models = make(flag_ramp(ramp(rows=128)))
    walk = _walk(models)
    for product, model in enumerate(models):
        walk.add_product(product, model)
    data, flags = 4 * 2 * 5 * COLS, 2 * 5 * COLS + 4 * COLS
    assert copies * data < walk.peak <= copies * data + 2 * flags + 4 * COLS


@pytest.mark.parametrize(
    "plan", ["nothing else", "copied", "a fork", "a fork before", "looked at just before"]
)
def test_memory_of_plans_stays_within_the_budget(plan, tmp_path):
    data = np.random.default_rng(4).normal(size=(20, 10, 256, 64)).astype("f4")
    stored = RampModel(RampModel(data).save(tmp_path / "ramp.fits"))
    make, _ = PLANS[plan]
    # If the branch that scales reads the ramp before the other one does, it has it for itself.
    least = 0 if plan == "a fork before" else 0.8
    require_within_budget(make(flag_ramp(stored)), tmp_path, least)


@pytest.mark.parametrize("ints", [1, 20])
def test_memory_stays_within_the_budget(ints, tmp_path):
    rng = np.random.default_rng(ints)
    data, dark = (rng.normal(size=(n, 10, 256, 64)).astype("f4") for n in (ints, 1))
    model = RampModel(data).map_tiles(subtract, ["data"], dark=ArrayReader(dark[0]))
    require_within_budget([make_rate(model)], tmp_path)


def require_within_budget(models, folder, least=0.8):
    """Save models in four tiles, and compare the peak of their memory with the budget."""
    first, second = (
        [(model, folder / f"{name}{i}.fits") for i, model in enumerate(models)]
        for name in ("first", "second")
    )
    with dask.config.set({"calbatch.tile-rows": 64}):
        budget = tile_budget(models).bytes
        save(first, scheduler="sync")  # imports the modules for saving
        tracemalloc.start()
        save(second, scheduler="sync")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert least * budget < peak < 1.2 * budget + 2**20


def test_the_halo_is_read_too():
    model = (
        ramp().map_tiles(return_data, ["data"], radius=1).map_tiles(return_data, ["data"], radius=2)
    )
    with dask.config.set({"calbatch.tile-rows": 8}):
        budget = tile_budget([model])
    assert (budget.rows, budget.halo, budget.tiles) == (8, 3, 4)
    assert budget.bytes == budget.row.total * 14


def test_a_single_tile_has_no_neighbours():
    model = ramp().map_tiles(return_data, ["data"], radius=3)
    budget = tile_budget([model])
    assert (budget.rows, budget.halo, budget.tiles) == (32, 0, 1)


@pytest.mark.parametrize("ints", [1, 10, 40])
def test_tiles_have_fewer_rows_if_rows_are_larger(ints):
    dark = ArrayReader(np.broadcast_to(np.float32(1), (10, 512, 512)))
    data = np.broadcast_to(np.float32(1), (ints, 10, 512, 512))
    model = RampModel(data).map_tiles(subtract, ["data"], dark=dark)
    budget = tile_budget([model])
    assert budget.bytes <= TILE_BYTES
    assert budget.tiles == 1 or budget.bytes > TILE_BYTES * 0.8


def test_saving_cuts_tiles_by_the_budget(tmp_path):
    """A dark of many groups makes rows large, although those of the exposure are small."""
    seen = []
    model = ramp(ints=1, groups=1, rows=64)
    dark = ArrayReader(np.zeros((1, 64, COLS), "f4"))
    model = model.map_tiles(subtract, ["data"], dark=dark)
    limit = row_bytes([model]).total * 16
    with dask.config.set({"calbatch.tile-bytes": limit}):
        model.save(tmp_path / "a.fits")
        seen = list(model._content.node.source.edges)
    assert seen == [0, 16, 32, 48, 64]


def test_an_assigned_array_counts_as_an_output():
    model = ramp()
    model.data = model.data * 2
    found = row_bytes([model])
    assert found.outputs == 4 * 2 * 5 * COLS


def test_tables_alone_have_no_tiles(tmp_path):
    model = RampFitOutputModel()
    assert tile_budget([model]).bytes == 0
    assert save([(model, tmp_path / "empty.fits")]).products


def peak(data):
    return float(data.max())


def remove(data, *, level):
    return data - level


def test_tiles_kept_for_a_decision_are_counted(tmp_path):
    rng = np.random.default_rng(4)
    model = RampModel(rng.normal(size=(2, 10, 256, 64)).astype("f4"))
    model = model.map_tiles(return_data, ["data"], radius=1)
    decision = model.decide(peak, max, frame_bytes=77)
    made = model.map_tiles(remove, ["data"], level=decision)
    rate = made.map_tiles_into({"rate": ImageModel}, near_slope, ["rate.data"])["rate"]
    row = 4 * 2 * 10 * COLS
    peaks = {}
    for kept in (0, 3 * 16 * row, 2**40):
        with dask.config.set({"calbatch.tile-rows": 16, "calbatch.kept-bytes": kept}):
            budget = tile_budget([rate])
            save([(rate, tmp_path / "first.fits")], scheduler="sync")
            tracemalloc.start()
            save([(rate, tmp_path / "second.fits")], scheduler="sync")
            peaks[budget.kept // row] = tracemalloc.get_traced_memory()[1] - budget.kept
            tracemalloc.stop()
        assert budget.decisions == 77
    assert list(peaks) == [0, 48, 256]
    # graphs and headers take little; besides kept tiles, at most one is in memory
    assert max(peaks.values()) < 1.5 * budget.bytes + 2**20


def hold(data):
    return data


def largest_of(gathered):
    return max(float(data.max()) for data in gathered)


def test_arrays_that_a_decision_holds_are_counted_if_their_tiles_are_not_kept(tmp_path):
    rng = np.random.default_rng(4)
    model = RampModel(rng.normal(size=(2, 10, 256, 64)).astype("f4"))
    model = model.map_tiles(return_data, ["data"], radius=1)
    decision = model.decide(hold, largest_of, frame_bytes=77, holds=("data",))
    made = model.map_tiles(remove, ["data"], level=decision)
    rate = made.map_tiles_into({"rate": ImageModel}, near_slope, ["rate.data"])["rate"]
    row = 4 * 2 * 10 * COLS
    for kept, rows in ((0, 256), (5 * 16 * row, 256 - 5 * 16), (2**40, 0)):
        with dask.config.set({"calbatch.tile-rows": 16, "calbatch.kept-bytes": kept}):
            budget = tile_budget([rate])
            assert budget.decisions == 77 + rows * row
            save([(rate, tmp_path / "first.fits")], scheduler="sync")
            tracemalloc.start()
            save([(rate, tmp_path / "second.fits")], scheduler="sync")
            peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        halos = 2 * row * (256 // 16)  # held arrays are views of tiles with halos
        assert peak_bytes < budget.kept + budget.decisions + halos + 1.5 * budget.bytes + 2**20


@pytest.mark.parametrize(("limit", "left"), [(0, None), (1000, 0), (2**30, "rest")])
def test_references_are_cached_in_the_memory_that_a_held_ramp_leaves(limit, left):
    model = RampModel(np.ones((2, 10, 64, 64), "f4")).map_tiles(return_data, ["data"], radius=1)
    made = {}
    for holds in ((), ("data",)):
        decision = model.decide(hold, largest_of, frame_bytes=77, holds=holds)
        made[holds] = model.map_tiles(remove, ["data"], level=decision)
    with dask.config.set({reference_cache.SETTING: limit}):
        budget = tile_budget([made["data",]])
        found = limit_reference_cache([made["data",]])
        assert limit_reference_cache([model]) == {}
        # small tiles that wait take nothing from the references
        assert limit_reference_cache([made[()]]).get(reference_cache.SETTING, limit) == limit
    assert budget.kept > 1000
    rest = limit - budget.kept - budget.decisions
    wanted = rest if left == "rest" else left
    assert found == ({} if left is None else {reference_cache.SETTING: wanted})


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        (BESIDE_REFERENCES - 77, 2**29),
        (BESIDE_REFERENCES, 2**29 - 77),
        (BESIDE_REFERENCES + 1000, 2**29 - 1077),
        (2**30, 0),
    ],
)
def test_many_tiles_that_wait_leave_less_memory_for_references(kept, left):
    budget = TileBudget(RowBytes(), 1, 0, 1, kept=kept, decisions=77)
    assert budget.limit_references(2**29) == left


@pytest.mark.parametrize(("more", "left"), [(-1, None), (30, 970), (2000, 0)])
def test_values_larger_than_a_tile_leave_less_memory_for_references(more, left):
    model = ramp()

    def subtract(size):
        level = model.reduce(peak, max, frame_bytes=size)
        return model.map_tiles(remove, ["data"], level=level)

    size = tile_budget([subtract(1)]).bytes + more
    with dask.config.set({reference_cache.SETTING: 1000}):
        found = limit_reference_cache([subtract(size)])
    assert found == ({} if left is None else {reference_cache.SETTING: left})


def test_values_of_the_whole_frame_are_counted():
    model = ramp()
    first = model.reduce(peak, max, frame_bytes=7)
    second = model.reduce(peak_above, max, frame_bytes=30, level=first)
    last = model.map_tiles(remove, ["data"], level=second)
    assert tile_budget([last]).reductions == 37
    assert tile_budget([model]).reductions == 0


def peak_above(data, *, level):
    return max(float(data.max()), level)
