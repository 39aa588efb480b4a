"""Halos of tiles: the rows of neighbouring tiles, joined into one array per field."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from calbatch.models.tiling.tile import Region, Tile

Rows = tuple[int, int]
"""Half-open range of file rows."""


def overlap(one: Rows, other: Rows) -> Rows | None:
    """Return the rows that two ranges share, or None."""
    rows = max(one[0], other[0]), min(one[1], other[1])
    return rows if rows[0] < rows[1] else None


def join_neighbours(wanted: Region, core: Region, neighbours: Sequence[Tile]) -> Tile:
    """Return a tile with its halo.

    Parameters
    ----------
    wanted : Region
        The tile's region with its halo.
    core : Region
        The tile's region without its halo.
    neighbours : sequence of Tile
        The tiles that overlap ``wanted``, in order, including the tile itself.
    """
    tiles = [tile.crop() for tile in neighbours]
    itself = next(tile for tile in tiles if tile.core == core)
    arrays = {}
    for name in itself.arrays:
        pieces = []
        for tile in tiles:
            rows = cast("Rows", overlap(tile.core.rows, wanted.rows))
            row_slice, _ = Region(rows, core.cols).within(tile.core)
            pieces.append(tile.load(name)[..., row_slice, :])
        arrays[name] = np.concatenate(pieces, axis=-2)
    return replace(itself, region=wanted, arrays=arrays)
