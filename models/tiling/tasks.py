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
from calbatch.models.tiling.reductions import cut_pieces, reduce_pieces
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


@dataclass(frozen=True, eq=False)
class RunFromSource:
    """Task that reads a source's tile and applies operations to it."""

    pixels: SourcePixels
    halo: int
    operations: Sequence[Operation]
    is_kept: bool = True  # else the tile is pending

    def __call__(self, core: Region, values: Mapping[str, Any] | None = None) -> Array:
        """Return the boxed tile of a region."""
        tile = PendingTile(partial(self._read, core), self.operations, values or {})
        return _box(tile.compute(is_writing=True) if self.is_kept else tile)

    def _read(self, region: Region, _: bool) -> Tile:
        return self.pixels.tile(region, self.halo)


@dataclass(frozen=True, eq=False)
class RunOnTile:
    """Task that applies operations to a tile."""

    operations: Sequence[Operation]
    is_kept: bool = True  # else the tile is pending

    def __call__(self, box: Array, values: Mapping[str, Any] | None = None) -> Array:
        """Return the boxed tile after the operations."""
        tile = PendingTile(partial(open_box, box), self.operations, values or {})
        return _box(tile.compute(is_writing=True) if self.is_kept else tile)


def set_field(name: str, box: Array, block: Array) -> Array:
    """Return a boxed tile with a field set to a block of a dask array."""
    tile = open_box(box).crop()
    return _box(replace(tile, arrays={**tile.arrays, name: block}))


def get_field(name: str, box: Array) -> Array:
    """Return a field of a boxed tile without its halo."""
    return open_box(box).core_rows(name)


def join_halo(wanted: Region, core: Region, *boxes: Array) -> Array:
    """Return a boxed tile with its halo, taken from its neighbours."""
    return _box(join_neighbours(wanted, core, [open_box(box) for box in boxes]))


def cut_boxed_pieces(
    spec: ReductionSpec, box: Array, values: Mapping[str, Any] | None = None
) -> Array:
    """Return the boxed pieces of a reduction's regions that lie in a tile."""
    tile = open_box(box, is_writing=False)
    return _box(cut_pieces(spec.gather.inputs, spec.resolve_regions(values or {}), tile))


def reduce_boxed_pieces(
    spec: ReductionSpec, *boxes: Array, values: Mapping[str, Any] | None = None
) -> Any:
    """Return a reduction's value from the boxed pieces of all tiles."""
    return reduce_pieces(spec, [box[0] for box in boxes], values or {})


def gather_boxed(spec: ReductionSpec, box: Array, values: Mapping[str, Any] | None = None) -> Array:
    """Return a tile's boxed contribution to a decision."""
    tile = open_box(box, is_writing=False).narrow(spec.gather.radius, spec.gather.inputs)
    return _box(spec.gather_from(tile, values or {}))


def combine_boxed(spec: ReductionSpec, *boxes: Array) -> Any:
    """Return the value of a decision from the boxed contributions of all tiles."""
    return spec.combine([box[0] for box in boxes])


def finish(
    sinks: Sequence[Sink], before_naming: BeforeNaming, branches: Sequence[int], *boxes: Array
) -> Array:
    """Complete and publish products; each box holds a tile of the branch of the same position."""
    tiles: dict[int, list[Tile]] = {}
    for branch, box in zip(branches, boxes, strict=True):
        tiles.setdefault(branch, []).append(box[0])
    return _box(finish_products(sinks, before_naming, list(tiles.values())))
