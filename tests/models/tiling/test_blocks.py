"""Tiles as a dask collection behave like a dask array of objects."""

import dask
import dask.array as da
import numpy as np
import pytest
from dask.delayed import delayed

from calbatch.models.tiling.blocks import (
    call_each,
    delay_call,
    from_array,
    map_blocks,
    new_name,
)


def box(value):
    made = np.empty(1, dtype=object)
    made[0] = value
    return made


def add(made, values=None):
    return box(made[0] + sum((values or {}).values()))


@pytest.fixture
def three():
    return call_each(new_name("start"), [(box, value) for value in (1, 10, 100)], [])


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_tiles_are_computed_in_order(three, scheduler):
    assert three.compute(scheduler=scheduler).tolist() == [1, 10, 100]
    assert dask.compute(three.first(1), three.first(1))[0].tolist() == [1]


def test_functions_take_delayed_values(three):
    found = map_blocks(add, three, {"a": delayed(2), "b": delayed(3)}, "more")
    assert found.compute(scheduler="sync").tolist() == [6, 15, 105]
    assert map_blocks(add, three, {}, "same").compute(scheduler="sync").tolist() == [1, 10, 100]


def test_delayed_calls_take_all_tiles(three):
    found = delay_call(new_name("sum"), lambda parts: sum(b[0] for b in parts[0]), [three])
    assert found.compute(scheduler="sync") == 111


def test_a_chain_is_one_task_for_each_tile(three):
    (found,) = dask.optimize(map_blocks(add, map_blocks(add, three, {}, "a"), {}, "b"))
    tasks = dict(found.__dask_graph__())
    assert sum("Alias" not in type(task).__name__ for task in tasks.values()) == 3
    assert found.compute(scheduler="sync").tolist() == [1, 10, 100]
    with dask.config.set({"optimization.fuse.active": False}):
        assert map_blocks(add, three, {}, "a").compute(scheduler="sync").tolist() == [1, 10, 100]


def test_unused_tiles_are_not_computed(three):
    def fail(made):
        raise AssertionError

    failing = call_each(new_name("fail"), [(box, 1), (fail, 2)], [])
    assert map_blocks(add, failing, {}, "a").first(1).compute(scheduler="sync").tolist() == [1]


def test_tiles_become_a_dask_array_and_return(three):
    array = three.to_array()
    assert isinstance(array, da.Array)
    assert array.chunks == ((1, 1, 1),)
    assert from_array(array + array).compute(scheduler="sync").tolist() == [2, 20, 200]


def test_persisted_tiles_are_computed_once(three):
    runs = []
    counted = map_blocks(lambda made: runs.append(1) or made, three, {}, "counted")
    kept = counted.persist(scheduler="sync")
    assert kept.compute(scheduler="sync").tolist() == [1, 10, 100]
    assert len(runs) == 3
