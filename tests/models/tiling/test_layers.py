"""Tasks in one thread: tile after tile, each result dropped after its last use."""

import gc
import weakref

import pytest

from calbatch.models.tiling.layers import Layer, ResultOf, Task, run_tasks

TILES = 4


class Tile:
    """A result whose life is watched."""

    def __init__(self, row):
        self.row = row


class Recorder:
    """The calls of tasks, and the largest number of tiles that lived at the same time."""

    def __init__(self):
        self.calls, self.alive, self.most = [], weakref.WeakSet(), 0

    def make(self, name, row):
        tile = Tile(row)
        self.alive.add(tile)
        self.most = max(self.most, len(self.alive))
        self.calls.append((name, row))
        return tile

    def read(self):
        return Layer("read", [Task(lambda i=i: self.make("read", i)) for i in range(TILES)])

    def follow(self, layer, name, **options):
        return layer.map(name, lambda tile, values=None: self.make(name, tile.row), **options)


def total(*parts, values=None):
    return sum(getattr(part, "row", part) for part in parts) + sum((values or {}).values())


def combine(*layers, **options):
    """Return a layer of one task that takes all tiles of others, those of a row together."""
    rows = zip(*(layer.results() for layer in layers), strict=True)
    return Layer("sum", [Task(total, tuple(each for row in rows for each in row))], **options)


@pytest.fixture
def recorder():
    gc.collect()
    return Recorder()


def test_a_tile_goes_through_all_tasks_before_the_next(recorder):
    last = recorder.follow(recorder.follow(recorder.read(), "fit"), "write")
    drop = last.map("drop", lambda tile: tile.row)
    assert run_tasks(combine(drop).results()) == [6]
    stages = ("read", "fit", "write")
    assert recorder.calls == [(name, i) for i in range(TILES) for name in stages]
    assert recorder.most == 2


def test_branches_of_a_tile_run_one_after_the_other(recorder):
    read = recorder.read()
    branches = [recorder.follow(read, n).map("drop", lambda tile: tile.row) for n in "ab"]
    assert run_tasks(combine(*branches).results()) == [12]
    assert recorder.calls == [(name, i) for i in range(TILES) for name in ("read", "a", "b")]
    assert recorder.most == 2


def test_values_of_the_frame_come_first_and_are_found_once(recorder):
    read = recorder.read()
    decision = combine(read.map("gather", lambda tile: tile.row))
    after = recorder.follow(read, "after", values={"decided": decision})
    drop = after.map("drop", lambda tile, values: tile.row + values["decided"], values={
        "decided": decision})  # fmt: skip
    assert run_tasks(combine(drop).results()) == [6 + 6 * TILES]
    assert recorder.calls == [(n, i) for n in ("read", "after") for i in range(TILES)]
    assert recorder.most == TILES + 1


def test_a_branch_before_a_decision_does_not_wait_for_it(recorder):
    read = recorder.read()
    early = recorder.follow(read, "early").map("drop", lambda tile: tile.row)
    light = read.map("light", lambda tile: tile.row)
    decided = light.map("late", lambda row, values: row, values={"decided": combine(light)})
    assert run_tasks(combine(decided, early).results()) == [12]
    assert recorder.calls == [(name, i) for i in range(TILES) for name in ("read", "early")]
    assert recorder.most == 2


def test_a_long_chain_of_tasks_runs():
    layer = Layer("first", [Task(lambda: 0)])
    for _ in range(5000):
        layer = layer.map("next", lambda count: count + 1)
    assert run_tasks(layer.results()) == [5000]


def test_several_results_share_tasks(recorder):
    read = recorder.read()
    found = run_tasks([ResultOf(read, 1), *combine(read).results(), ResultOf(read, 1)])
    assert found[0] is found[2]
    assert (found[0].row, found[1]) == (1, 6)
    assert sorted(recorder.calls) == [("read", i) for i in range(TILES)]


def test_an_error_ends_the_tasks(recorder):
    def fail(tile):
        raise ValueError(tile.row)

    with pytest.raises(ValueError, match="0"):
        run_tasks(combine(recorder.read().map("fail", fail)).results())
    assert recorder.calls == [("read", 0)]
