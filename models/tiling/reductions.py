"""Values of reductions, evaluated on their own regions or gathered from tiles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from calbatch.models.tiling.halos import overlap
from calbatch.models.tiling.plan import Operation, ReductionSpec, SourcePixels, apply_operations
from calbatch.models.tiling.tile import Array, Region, RegionReads, Tile

Pieces = list[dict[str, Array] | None]
"""The fields of one tile on each region of a reduction; None where they do not overlap."""


def reduce_pixels(
    spec: ReductionSpec,
    pixels: SourcePixels,
    operations: Sequence[Operation],
    values: Mapping[str, Any] | None = None,
) -> Any:
    """Return a reduction's value, running the operations on just the regions that it needs."""
    values = values or {}
    radius = sum(op.radius for op in operations)
    regions = spec.resolve_regions(values)
    reads = RegionReads([region.grow(radius, pixels.frame) for region in regions])

    def tile_of(region: Region) -> Tile:
        return apply_operations(operations, pixels.tile(region, radius, reads), values).crop()

    return spec.compute(tile_of, values)


def cut_pieces(names: Sequence[str], regions: Sequence[Region], tile: Tile) -> Pieces:
    """Return the parts of each region that lie in a tile; None where they do not overlap."""
    tile = tile.crop()
    pieces: Pieces = []
    for region in regions:
        rows = overlap(region.rows, tile.core.rows)
        if rows is None:
            pieces.append(None)
            continue
        index = (..., *Region(rows, region.cols).within(tile.core))
        pieces.append({n: tile.load(n)[index] for n in names})
    return pieces


def reduce_pieces(spec: ReductionSpec, by_tile: Sequence[Pieces], values: Mapping[str, Any]) -> Any:
    """Return a reduction's value from the pieces that `cut_pieces` returned for each tile."""
    regions = spec.resolve_regions(values)
    by_region = dict(zip(regions, zip(*by_tile, strict=True), strict=True))

    def tile_of(region: Region) -> Tile:
        pieces = [p for p in by_region[region] if p is not None]
        names = spec.gather.inputs
        arrays = {n: np.concatenate([p[n] for p in pieces], axis=-2) for n in names}
        return Tile(region, region, arrays)

    return spec.compute(tile_of, values)
