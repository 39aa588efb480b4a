"""Functions that the tasks of a graph call on workers.

Tiles travel in boxes: object arrays of one element, because dask's blocks have to be arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from calbatch.models.tiling.halos import join_neighbours
from calbatch.models.tiling.plan import Operation, ReductionSpec, SourcePixels, apply_operations
from calbatch.models.tiling.reductions import cut_pieces, reduce_pieces, reduce_pixels
from calbatch.models.tiling.sinks import BeforeNaming, Sink, finish_products
from calbatch.models.tiling.tile import Array, Region, Tile


def _box(value: Any) -> Array:
    """Return an object array that holds one value."""
    box = np.empty(1, dtype=object)
    box[0] = value
    return box


class Core:
    """A region in a graph, opaque to dask: a bare tuple could be taken for a task."""

    def __init__(self, region: Region) -> None:
        self.region = region


@dataclass(frozen=True, eq=False)  # hashable, whatever its fields are
class RunFromSource:
    """Task that reads a source's tile and applies operations to it."""

    pixels: SourcePixels
    halo: int
    operations: Sequence[Operation]
    keys: tuple[str, ...]  # of the reductions whose values it takes

    def __call__(self, core: Core, reduced: list[Any]) -> Array:
        """Return the boxed tile of a region."""
        values = dict(zip(self.keys, reduced, strict=True))
        tile = self.pixels.tile(core.region, self.halo)
        return _box(apply_operations(self.operations, tile, values))


def run_on_tile(
    operations: Sequence[Operation], box: Array, values: Mapping[str, Any] | None = None
) -> Array:
    """Return a boxed tile after some operations."""
    return _box(apply_operations(operations, box[0], values or {}))


def set_field(name: str, box: Array, block: Array) -> Array:
    """Return a boxed tile with a field set to a block of a dask array."""
    tile = box[0].crop()
    return _box(replace(tile, arrays={**tile.arrays, name: block}))


def get_field(name: str, box: Array) -> Array:
    """Return a field of a boxed tile without its halo."""
    return cast("Array", box[0].core_rows(name))


def join_halo(wanted: Region, core: Region, boxes: Sequence[Array]) -> Array:
    """Return a boxed tile with its halo, taken from its neighbours."""
    return _box(join_neighbours(wanted, core, [box[0] for box in boxes]))


@dataclass(frozen=True, eq=False)  # hashable, whatever its fields are
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
    return _box(cut_pieces(spec.gather.inputs, spec.resolve_regions(values or {}), box[0]))


def reduce_boxed_pieces(spec: ReductionSpec, keys: Sequence[str], computed: list[list[Any]]) -> Any:
    """Return a reduction's value from the boxed pieces of all tiles, followed by other values."""
    boxes, *reduced = computed
    values = {key: value for key, (value,) in zip(keys, reduced, strict=True)}
    return reduce_pieces(spec, [box[0] for box in boxes], values)


def finish(sinks: Sequence[Sink], before_naming: BeforeNaming, groups: list[list[Array]]) -> Array:
    """Complete and publish products; each group holds the tiles of one branch of the graph."""
    tiles: list[list[Tile]] = [[box[0] for box in boxes] for boxes in groups]
    return _box(finish_products(sinks, before_naming, tiles))
