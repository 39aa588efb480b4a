"""Kernels over the tiles of a model, and reductions of its frame."""

import dask
import numpy as np
import pytest

from calbatch.models.datamodels import CubeModel, ImageModel, RampModel
from calbatch.models.errors import ModelError
from calbatch.models.tiling.graphs import delayed_value
from calbatch.models.tiling.plan import CORE, REGION, Region

PIXELS = np.arange(96, dtype="f4").reshape(16, 6)


def add(data, *, offset):
    return data + offset


def flag(data, dq):
    return dq | (data > 10), data * 2


def smooth(data):
    padded = np.pad(data, 1, mode="edge")
    return sum(padded[1 + dy : padded.shape[0] - 1 + dy, 1:-1] for dy in (-1, 0, 1)) / 3


def rates(data, groupdq):
    return data.mean((0, 1)), data.mean(1)


def row_numbers(data, *, region):
    return data + np.arange(*region.rows)[:, np.newaxis]


def largest(data):
    return float(data.max())


def test_a_kernel_takes_fields_by_name_and_arguments_by_keyword():
    model = ImageModel(PIXELS)
    shifted = model.map_tiles(add, ["data"], offset=np.float32(3))
    np.testing.assert_array_equal(shifted.data, PIXELS + 3)
    np.testing.assert_array_equal(model.data, PIXELS)


def test_a_kernel_may_have_several_outputs_and_absent_inputs():
    model = ImageModel(PIXELS).map_tiles(flag, ["dq", "data"])
    np.testing.assert_array_equal(model.dq, PIXELS > 10)
    np.testing.assert_array_equal(model.data, PIXELS * 2)


def test_a_reference_is_given_as_the_rows_of_the_tile():
    reference = ImageModel(PIXELS * 10)
    model = ImageModel(PIXELS).map_tiles(add, ["data"], offset=reference.rows("data"))
    np.testing.assert_array_equal(model.data, PIXELS * 11)


def shift(data, err=None, dq=None, *, by):
    moved = data + by
    return moved if err is None else (moved, err * by if dq is None else err * by + dq)


@pytest.mark.parametrize(
    ("optional", "err"),
    [((), PIXELS), (("err",), PIXELS * 2), (("err", "dq"), PIXELS * 2 + 4)],
)
def test_an_optional_field_is_read_on_request(optional, err):
    model = ImageModel(PIXELS)
    model.err, model.dq = PIXELS, np.full(PIXELS.shape, 4, "u4")
    outputs = ("data", *optional[:1])
    shifted = model.map_tiles(shift, outputs, optional=optional, by=np.float32(2))
    np.testing.assert_array_equal(shifted.data, PIXELS + 2)
    np.testing.assert_array_equal(shifted.err, err)


def test_a_reduction_reads_an_optional_field_on_request():
    def count_fields(data, err=None, dq=None):
        return 1 + (err is not None) + (dq is not None)

    model = ImageModel(PIXELS)
    for optional, number in (((), 1), (("err",), 2), (("err", "dq"), 3)):
        found = model.reduce(count_fields, max, [Region((0, 1), (0, 6))], optional=optional)
        assert delayed_value(found).compute() == number


@pytest.mark.parametrize("optional", [("dq",), ("err", "data"), ("dq", "err"), ("other",)])
def test_optional_fields_that_a_kernel_does_not_take_are_refused(optional):
    with pytest.raises(ModelError, match=r"takes optional fields \['err', 'dq'\]"):
        ImageModel(PIXELS).map_tiles(shift, ["data"], optional=optional, by=1)


def test_the_region_is_given_on_request():
    model = ImageModel(PIXELS).map_tiles(row_numbers, ["data"], region=REGION)
    np.testing.assert_array_equal(model.data, PIXELS + np.arange(16)[:, np.newaxis])


def test_one_kernel_fills_several_models():
    ramp = RampModel(np.arange(2 * 3 * 16 * 6, dtype="f4").reshape(2, 3, 16, 6))
    made = ramp.map_tiles_into(
        {"rate": ImageModel, "rateints": CubeModel}, rates, ["rate.data", "rateints.data"]
    )
    expected = np.asarray(ramp.data)
    np.testing.assert_array_equal(made["rate"].data, expected.mean((0, 1)))
    np.testing.assert_array_equal(made["rateints"].data, expected.mean(1))
    assert type(made["rateints"]) is CubeModel


def test_a_reduction_gathers_regions_and_combines_them():
    model = ImageModel(PIXELS)
    regions = [Region((row, row + 1), (0, 6)) for row in range(16)]
    top = model.reduce(largest, max, regions)
    np.testing.assert_array_equal(
        model.map_tiles(add, ["data"], offset=top).data, PIXELS + PIXELS.max()
    )


def test_a_reduction_stops_once_its_condition_holds():
    model = ImageModel(PIXELS)
    regions = [Region((row, row + 1), (0, 6)) for row in range(16)]
    count = model.reduce(largest, len, regions, until=lambda found: len(found) == 2)
    np.testing.assert_array_equal(model.map_tiles(add, ["data"], offset=count).data, PIXELS + 2)


def largest_of_even_rows(data, *, region):
    if region.rows[0] % 2:
        raise ValueError("an odd row")
    return data.max()


def take_one(results):
    return next(results)


def take_two(results):
    return next(results), next(results)


def test_a_reduction_in_turn_reads_a_region_when_its_result_is_asked_for():
    model = ImageModel(PIXELS)
    regions = [Region((row, row + 1), (0, 6)) for row in range(16)]
    first, both = (
        delayed_value(
            model.reduce(largest_of_even_rows, combine, regions, in_turn=True, region=REGION)
        )
        for combine in (take_one, take_two)
    )
    assert first.compute(scheduler="sync") == PIXELS[0].max()
    with pytest.raises(ValueError, match="an odd row"):
        both.compute(scheduler="sync")


@pytest.mark.parametrize(
    ("kernel", "outputs", "arguments", "message"),
    [
        (add, ["nothing"], {"offset": 1}, "has no field 'nothing'"),
        (add, ["data"], {}, "offset"),
        (add, ["data"], {"offset": 1, "other": 2}, "other"),
        (rates, ["data"], {}, "has no field 'groupdq'"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(kernel, outputs, arguments, message):
    with pytest.raises(ModelError, match=message):
        ImageModel(PIXELS).map_tiles(kernel, outputs, **arguments)


def test_a_kernel_that_reads_an_absent_field_is_refused():
    def square(area):
        return area**2

    with pytest.raises(ModelError, match="has no area, and its schema has no default"):
        ImageModel(PIXELS).map_tiles(square, ["data"])


def own_rows(data, *, region, core):
    return data, region.rows, core.rows


def test_a_decision_gathers_every_tile_with_the_rows_that_it_needs():
    model = ImageModel(PIXELS).map_tiles(add, ["data"], offset=np.float32(1))
    decision = model.decide(own_rows, list, frame_bytes=9, radius=2, region=REGION, core=CORE)
    with dask.config.set({"calbatch.tile-rows": 6}):
        found = delayed_value(decision).compute(scheduler="sync")
    assert [rows for _, *rows in found] == [
        [(0, 8), (0, 6)], [(4, 14), (6, 12)], [(10, 16), (12, 16)],
    ]  # fmt: skip
    for data, (first, last), _ in found:
        np.testing.assert_array_equal(data, PIXELS[first:last] + 1)


def most_below(data, *, limit):
    return float(data[data < limit].max(initial=-np.inf))


def test_a_decision_takes_one_that_another_branch_makes():
    model = ImageModel(PIXELS)
    lower = model.map_tiles(add, ["data"], offset=np.float32(-1))
    limit = lower.decide(largest, max, frame_bytes=9)
    decision = model.decide(most_below, max, frame_bytes=9, limit=limit)
    with dask.config.set({"calbatch.tile-rows": 6}):
        found = delayed_value(decision).compute(scheduler="sync")
    assert found == PIXELS[PIXELS.max() - 1 > PIXELS].max()


def test_a_decision_reaches_every_tile():
    model = ImageModel(PIXELS)
    decision = model.decide(largest, max, frame_bytes=9)
    with dask.config.set({"calbatch.tile-rows": 6}):
        result = np.asarray(model.map_tiles(add, ["data"], offset=decision).data)
    np.testing.assert_array_equal(result, PIXELS + PIXELS.max())
