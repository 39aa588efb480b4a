"""Functions that the tasks of a graph call on workers.

Tiles travel in boxes: object arrays of one element, because dask's blocks have to be arrays. A box
may hold a pending tile instead, which is computed wherever the tile is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from calbatch.models.tiling.halos import join_neighbours
from calbatch.models.tiling.plan import Operation, ReductionSpec, SourcePixels, apply_operations
from calbatch.models.tiling.reductions import cut_pieces, reduce_pieces, reduce_pixels
from calbatch.models.tiling.sinks import BeforeNaming, Sink, WriteTile, finish_products
from calbatch.models.tiling.tile import Array, Region, Tile


def _box(value: Any) -> Array:
    """Return an object array that holds one value."""
    box = np.empty(1, dtype=object)
    box[0] = value
    return box


@dataclass(frozen=True, eq=False)
class PendingTile:
    """A tile that is not kept: its start, and the operations to run on it.

    Attributes
    ----------
    start : callable
        Returns the tile before the operations; takes the argument ``is_writing`` of `compute`.
    operations : sequence of Operation
        The operations.
    values : mapping
        Values of reductions, by key.
    """

    start: Callable[[bool], Tile]
    operations: Sequence[Operation]
    values: Mapping[str, Any]

    def compute(self, is_writing: bool) -> Tile:
        """Return the tile; products are written in passing only if ``is_writing`` is true."""
        operations = [op for op in self.operations if is_writing or not isinstance(op, WriteTile)]
        return apply_operations(operations, self.start(is_writing), self.values)


def open_box(box: Array, is_writing: bool = True) -> Tile:
    """Return the tile in a box, computing it if it is pending."""
    tile = box[0]
    return tile.compute(is_writing) if isinstance(tile, PendingTile) else cast("Tile", tile)


class Core:
    """A region in a graph, opaque to dask: a bare tuple could be taken for a task."""

    def __init__(self, region: Region) -> None:
        self.region = region


@dataclass(frozen=True, eq=False)  # hashable, even if its fields are not
class RunFromSource:
    """Task that reads a source's tile and applies operations to it."""

    pixels: SourcePixels
    halo: int
    operations: Sequence[Operation]
    keys: tuple[str, ...] = ()  # of the reductions whose values it takes
    is_kept: bool = True  # else the tile is pending

    def __call__(self, core: Core, reduced: list[Any]) -> Array:
        """Return the boxed tile of a region."""
        values = dict(zip(self.keys, reduced, strict=True))
        start = partial(self._read, core.region)
        tile = PendingTile(start, self.operations, values)
        return _box(tile.compute(is_writing=True) if self.is_kept else tile)

    def _read(self, region: Region, _: bool) -> Tile:
        return self.pixels.tile(region, self.halo)


@dataclass(frozen=True, eq=False)  # hashable, even if its fields are not
class RunOnTile:
    """Task that applies operations to a tile, which then waits for a decision."""

    operations: Sequence[Operation]
    keys: tuple[str, ...] = ()  # of the reductions whose values it takes
    is_kept: bool = True  # else the tile is pending

    def __call__(self, box: Array, reduced: list[Any]) -> Array:
        """Return the boxed tile after the operations."""
        values = dict(zip(self.keys, reduced, strict=True))
        tile = PendingTile(partial(open_box, box), self.operations, values)
        return _box(tile.compute(is_writing=True) if self.is_kept else tile)


def run_on_tile(
    operations: Sequence[Operation], box: Array, values: Mapping[str, Any] | None = None
) -> Array:
    """Return a boxed tile after some operations."""
    return _box(apply_operations(operations, open_box(box), values or {}))


def set_field(name: str, box: Array, block: Array) -> Array:
    """Return a boxed tile with a field set to a block of a dask array."""
    tile = open_box(box).crop()
    return _box(replace(tile, arrays={**tile.arrays, name: block}))


def get_field(name: str, box: Array) -> Array:
    """Return a field of a boxed tile without its halo."""
    return open_box(box).core_rows(name)


def join_halo(wanted: Region, core: Region, boxes: Sequence[Array]) -> Array:
    """Return a boxed tile with its halo, taken from its neighbours."""
    return _box(join_neighbours(wanted, core, [open_box(box) for box in boxes]))


@dataclass(frozen=True, eq=False)  # hashable, even if its fields are not
class ReducePixels:
    """Task that evaluates a reduction on its own regions."""

    spec: ReductionSpec
    pixels: SourcePixels
    operations: Sequence[Operation]
    keys: tuple[str, ...]  # of the reductions whose values it takes

    def __call__(self, reduced: list[list[Any]]) -> Any:
        """Return the reduction's value."""
        values = {key: value for key, (value,) in zip(self.keys, reduced, strict=True)}
        return reduce_pixels(self.spec, self.pixels, self.operations, values)


def cut_boxed_pieces(
    spec: ReductionSpec, box: Array, values: Mapping[str, Any] | None = None
) -> Array:
    """Return the boxed pieces of a reduction's regions that lie in a tile."""
    tile = open_box(box, is_writing=False)
    return _box(cut_pieces(spec.gather.inputs, spec.resolve_regions(values or {}), tile))


def reduce_boxed_pieces(spec: ReductionSpec, keys: Sequence[str], computed: list[list[Any]]) -> Any:
    """Return a reduction's value from the boxed pieces of all tiles, followed by other values."""
    boxes, *reduced = computed
    values = {key: value for key, (value,) in zip(keys, reduced, strict=True)}
    return reduce_pieces(spec, [box[0] for box in boxes], values)


def gather_boxed(spec: ReductionSpec, box: Array, values: Mapping[str, Any] | None = None) -> Array:
    """Return a tile's boxed contribution to a decision."""
    tile = open_box(box, is_writing=False).narrow(spec.gather.radius, spec.gather.inputs)
    return _box(spec.gather_from(tile, values or {}))


def combine_boxed(spec: ReductionSpec, computed: list[list[Array]]) -> Any:
    """Return the value of a decision from the boxed contributions of all tiles."""
    (boxes,) = computed
    return spec.combine([box[0] for box in boxes])


def finish(sinks: Sequence[Sink], before_naming: BeforeNaming, groups: list[list[Array]]) -> Array:
    """Complete and publish products; each group holds the tiles of one branch of the graph."""
    tiles: list[list[Tile]] = [[box[0] for box in boxes] for boxes in groups]
    return _box(finish_products(sinks, before_naming, tiles))
