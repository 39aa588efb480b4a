"""Rows across tiles: joining neighbours, and finding a reduction's value on its regions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from calbatch.models.tiling.plan import Array, Look, Op, Pixels, Reads, Region, Tile, run

Rows = tuple[int, int]
Pieces = list[dict[str, Array] | None]


def overlap(one: Rows, other: Rows) -> Rows | None:
    """Return the rows that two ranges share, or None."""
    rows = max(one[0], other[0]), min(one[1], other[1])
    return rows if rows[0] < rows[1] else None


def joined(wanted: Region, core: Region, neighbours: Sequence[Tile]) -> Tile:
    """Return the tile of ``core`` grown to ``wanted``, its halo taken from its neighbours."""
    tiles = [tile.cropped() for tile in neighbours]
    mine = next(t for t in tiles if t.core == core)
    arrays = {}
    for name in mine.arrays:
        pieces = []
        for tile in tiles:
            rows = cast("Rows", overlap(tile.core.rows, wanted.rows))
            row_slice, _ = Region(rows, core.cols).within(tile.core)
            pieces.append(tile.load(name)[..., row_slice, :])
        arrays[name] = np.concatenate(pieces, axis=-2)
    return replace(mine, region=wanted, arrays=arrays)


def value_on_pixels(
    look: Look, pixels: Pixels, ops: Sequence[Op], values: Mapping[str, Any]
) -> Any:
    """Return a reduction's value, evaluating the chain on just the regions that it looks at."""
    radius = sum(op.radius for op in ops)
    reads = Reads([region.grown(radius, pixels.frame) for region in look.where(values)])

    def tile_of(region: Region) -> Tile:
        return run(ops, pixels.tile(region, radius, reads), values).cropped()

    return look.value(tile_of, values)


def cut(names: Sequence[str], regions: Sequence[Region], tile: Tile) -> Pieces:
    """Return what a tile holds of each region; None where they do not meet."""
    tile = tile.cropped()
    pieces: Pieces = []
    for region in regions:
        rows = overlap(region.rows, tile.core.rows)
        if rows is None:
            pieces.append(None)
            continue
        index = (..., *Region(rows, region.cols).within(tile.core))
        pieces.append({n: tile.load(n)[index] for n in names})
    return pieces


def value_on_pieces(look: Look, by_tile: Sequence[Pieces], values: Mapping[str, Any]) -> Any:
    """Return a reduction's value from what `cut` found in each tile."""
    by_region = dict(zip(look.where(values), zip(*by_tile, strict=True), strict=True))

    def tile_of(region: Region) -> Tile:
        pieces = [p for p in by_region[region] if p is not None]
        names = look.gather.inputs
        arrays = {n: np.concatenate([p[n] for p in pieces], axis=-2) for n in names}
        return Tile(region, region, arrays)

    return look.value(tile_of, values)
