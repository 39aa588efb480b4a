"""Layers as dask collections behave like dask arrays of objects."""

import dask
import dask.array as da
import numpy as np
import pytest

from calbatch.models.tiling.blocks import Blocks, from_array, to_delayed
from calbatch.models.tiling.layers import Layer, Task


def box(value):
    made = np.empty(1, dtype=object)
    made[0] = value
    return made


def add(made, values=None):
    return box(made[0] + sum((values or {}).values()))


@pytest.fixture
def three():
    return Layer("start", [Task(lambda value=value: box(value)) for value in (1, 10, 100)])


def compute(layer, scheduler="sync"):
    return Blocks(layer).compute(scheduler=scheduler).tolist()


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_tiles_are_computed_in_order(three, scheduler):
    assert compute(three, scheduler) == [1, 10, 100]


def test_functions_take_values(three):
    two, three_more = (Layer("value", [Task(lambda n=n: n)]) for n in (2, 3))
    found = three.map("more", add, values={"a": two, "b": three_more})
    assert compute(found) == Blocks(found).run().tolist() == [6, 15, 105]
    assert compute(three.map("same", add)) == [1, 10, 100]


def test_a_delayed_value_takes_all_tiles(three):
    task = Task(lambda *boxes: sum(b[0] for b in boxes), tuple(three.results()))
    total = to_delayed(Layer("sum", [task]))
    assert total.compute(scheduler="sync") == 111
    assert (total + 1).compute(scheduler="sync") == 112


def test_a_chain_is_one_task_for_each_tile(three):
    twice = three.map("a", add).map("b", add)
    (found,) = dask.optimize(Blocks(twice))
    tasks = dict(found.__dask_graph__())
    assert sum("Alias" not in type(task).__name__ for task in tasks.values()) == 3
    assert found.compute(scheduler="sync").tolist() == [1, 10, 100]
    with dask.config.set({"optimization.fuse.active": False}):
        assert compute(three.map("a", add)) == [1, 10, 100]


def test_unused_tiles_are_not_computed():
    def fail():
        raise AssertionError

    failing = Layer("fail", [Task(lambda: box(1)), Task(fail)])
    first = Layer("first", [Task(add, (failing.results()[0],))])
    assert compute(first) == Blocks(first).run().tolist() == [1]


def test_tiles_become_a_dask_array_and_return(three):
    array = Blocks(three).to_array()
    assert isinstance(array, da.Array)
    assert array.chunks == ((1, 1, 1),)
    assert compute(from_array(array + array)) == [2, 20, 200]


def test_tasks_that_only_dask_knows_are_run_by_dask(three):
    more = from_array(Blocks(three).to_array() + 1).map("more", add)
    assert (three.requires_dask, more.requires_dask) == (False, True)
    assert Blocks(more).run().tolist() == [2, 11, 101]


def test_persisted_tiles_are_computed_once(three):
    runs = []
    counted = three.map("counted", lambda made: runs.append(1) or made)
    kept = Blocks(counted).persist(scheduler="sync")
    assert kept.compute(scheduler="sync").tolist() == [1, 10, 100]
    assert len(runs) == 3
