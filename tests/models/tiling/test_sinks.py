"""Sinks: each receives its own receipts, in order, and is published last."""

import numpy as np

from calbatch.models.tiling.sinks import DropArrays, WriteTile, finish_products
from calbatch.models.tiling.tile import Region, Tile


class Recorder:
    """A sink that records its calls."""

    node = None
    label = "write"

    def __init__(self, name, events):
        self.name, self.events = name, events

    def write(self, tile):
        return self.name, tile.core.rows

    def complete(self, receipts, counts):
        self.events.append((self.name, receipts, {n: c.tolist() for n, c in counts.items()}))

    def publish(self):
        self.events.append(f"publish {self.name}")
        return self.name


def tile(rows):
    region = Region(rows, (0, 2))
    values = np.arange(*rows)
    return Tile(region, region, {"data": values}, counts={"rows": values}, seconds={"step": 1.0})


def test_a_tile_collects_receipts_and_drops_its_arrays():
    events = []
    first, second = Recorder("first", events), Recorder("second", events)
    passed = WriteTile(1, second).apply(WriteTile(0, first).apply(tile((0, 3)), {}), {})
    assert passed.receipts == ((0, ("first", (0, 3))), (1, ("second", (0, 3))))
    stripped = DropArrays().apply(passed, {})
    assert stripped.arrays == {}
    assert stripped.receipts == passed.receipts


def test_products_are_completed_before_any_is_published():
    events = []
    sinks = [Recorder("first", events), Recorder("second", events)]

    def remark():
        events.append("before naming")
        return "remark"

    groups = [
        [WriteTile(i, sink).apply(tile(rows), {}) for rows in ((0, 2), (2, 5))]
        for i, sink in enumerate(sinks)
    ]
    result = finish_products(sinks, remark, groups)
    counts = {"rows": [0, 1, 2, 3, 4]}
    assert events == [
        "before naming",
        ("first", [("first", (0, 2)), ("first", (2, 5))], counts),
        ("second", [("second", (0, 2)), ("second", (2, 5))], counts),
        "publish first",
        "publish second",
    ]
    assert result.products == ["first", "second"]
    assert result.seconds == {"step": 4.0}
    assert result.remark == "remark"
