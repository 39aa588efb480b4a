"""Sinks: the products that collect tiles, and the operations that hand tiles to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from calbatch.models.tiling.plan import PlanNode
from calbatch.models.tiling.tile import Array, Tile

BeforeNaming = Callable[[], str] | None
"""Called when all pixels are written, before products get their names; returns a remark."""


class Sink(Protocol):
    """Collects the tiles of one node into a product, or into something else about them."""

    label: str
    """Name under which the time that it takes is counted."""

    @property
    def node(self) -> PlanNode:
        """The node whose tiles it collects."""

    def write(self, tile: Tile) -> Any:
        """Store the rows of one tile's core and return a small receipt."""

    def complete(self, receipts: list[Any], counts: Mapping[str, Array]) -> None:
        """Complete the product; ``counts`` holds the row counts of the whole frame."""

    def publish(self) -> Any:
        """Publish the complete product under its name and return its description."""


class GraphResult(NamedTuple):
    """The computed value of a product graph.

    Attributes
    ----------
    products : list
        The description that each sink's ``publish`` returned.
    seconds : dict
        CPU seconds by operation label.
    remark : str
        The return value of ``before_naming``.
    """

    products: list[Any]
    seconds: dict[str, float]
    remark: str


class WriteTile:
    """Operation that writes a tile to a sink and passes the tile on."""

    radius = 0

    def __init__(self, index: int, sink: Sink) -> None:
        self.index, self.write, self.label = index, sink.write, sink.label

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        """Return the tile with the sink's receipt."""
        receipt = (self.index, self.write(tile))
        return replace(tile, receipts=(*tile.receipts, receipt))


class DropArrays:
    """Operation that drops a tile's arrays and passes on its receipts and counts."""

    label, radius = "write", 0

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        """Return the tile without arrays."""
        return replace(tile, arrays={})


def finish_products(
    sinks: Sequence[Sink], before_naming: BeforeNaming, groups: Sequence[Sequence[Tile]]
) -> GraphResult:
    """Complete and publish the products.

    Parameters
    ----------
    sinks : sequence of Sink
        The products.
    before_naming : callable or None
        Called first.
    groups : sequence of sequence of Tile
        The tiles of each branch of the graph; their receipts show which sinks they passed.
    """
    seconds: dict[str, float] = {}
    remark = before_naming() if before_naming else ""
    for tiles in groups:
        for tile in tiles:
            for label, spent in tile.seconds.items():
                seconds[label] = seconds.get(label, 0.0) + spent
        names = tiles[0].counts
        counts = {n: np.concatenate([t.counts[n] for t in tiles]) for n in names}
        for i in {index for index, _ in tiles[0].receipts}:
            receipts = [r for t in tiles for index, r in t.receipts if index == i]
            sinks[i].complete(receipts, counts)
    return GraphResult([sink.publish() for sink in sinks], seconds, remark)
