"""The row boundaries of a frame's tiles."""

from itertools import accumulate, pairwise

import dask
import numpy as np

from calbatch.models.storage.memory import memory_limit, require_row
from calbatch.models.tiling.plan import SourceNode
from calbatch.models.tiling.tile import Region

TILE_BYTES = 112 * 2**20
"""Default memory budget of a tile (see `calbatch.models.budget`), which determines its height.

A full frame with 10 groups makes 8 tiles. Three times as many tiles take a tenth more processor
time, because each has a halo and some milliseconds of overhead; fewer tiles are no faster.
"""

SMALL_TILE_BYTES = 56 * 2**20
"""Such a budget for processes that calibrate few exposures, or several tiles at the same time.

Memory that a process uses for the first time takes longer than the overhead of more tiles: on
virtual machines up to 10 ms for each MB.
"""

DEFAULT_BYTES = "calbatch.default-tile-bytes"
"""Setting in dask's configuration: the budget instead of `TILE_BYTES`."""

MIN_ROWS = 8
"""Height of a tile of very large rows, such as those of long time series, if memory suffices.

Each tile computes the rows of its halo again, which are four in `detector1`. In tiles of one row,
everything would be computed five times.
"""

ROWS_SHARE = 8
"""Such a tile may take one part in `ROWS_SHARE` of a process's memory."""

KEPT = "calbatch.kept-bytes"
"""Setting in dask's configuration: memory for tiles that wait for a decision, in bytes."""

KEPT_BYTES = 2**30
"""Default of `KEPT`; a process keeps at most a quarter of its memory."""


def tile_edges(source: SourceNode, row_bytes: int = 0) -> tuple[int, ...]:
    """Return the row boundaries of a source's tiles, choosing them on first use.

    Parameters
    ----------
    source : SourceNode
        The source.
    row_bytes : int
        Memory that one row takes over the whole chain; by default, that of its stored pixels. In
        dask's configuration, ``calbatch.tile-bytes`` sets the budget, and ``calbatch.tile-rows``
        fixes the height instead.

    Raises
    ------
    ModelError
        If a single row takes more memory than the process may use.
    """
    if source.edges is None:
        row_bytes = row_bytes or _stored_row_bytes(source)
        require_row(row_bytes)
        rows = source.pixels.frame[0]
        fixed = dask.config.get("calbatch.tile-rows", None)
        height = fixed or max(1, _tile_budget(row_bytes) // max(row_bytes, 1))
        count = -(-rows // min(height, rows))
        bounds = range(0, rows, height) if fixed else (rows * i // count for i in range(count))
        source.edges = (*bounds, rows)
    return source.edges


def _tile_budget(row_bytes: int) -> int:
    """Return the memory budget of a tile without its halo, in bytes."""
    chosen: int | None = dask.config.get("calbatch.tile-bytes", None)
    if chosen is not None:
        return chosen
    usual: int = dask.config.get(DEFAULT_BYTES, None) or TILE_BYTES
    return max(usual, min(MIN_ROWS * row_bytes, memory_limit() // ROWS_SHARE))


def _stored_row_bytes(source: SourceNode) -> int:
    readers = source.pixels.readers.values()
    return sum(
        int(np.prod(r.shape[:-2], dtype=np.int64)) * r.shape[-1] * r.dtype.itemsize for r in readers
    )


def tile_cores(source: SourceNode) -> list[Region]:
    """Return the regions of a source's tiles without halos, in order."""
    return [Region(rows, (0, source.pixels.frame[1])) for rows in pairwise(tile_edges(source))]


def choose_kept_tiles(source: SourceNode, halo: int, row_bytes: int) -> list[bool]:
    """Return a flag for each tile: True if it is kept until a decision has been made.

    Parameters
    ----------
    source : SourceNode
        The source of the tiles.
    halo : int
        Number of rows of the neighbours that are kept with each tile on either side.
    row_bytes : int
        Memory that the fields of one row take.
    """
    limit = dask.config.get(KEPT, None)
    limit = min(KEPT_BYTES, memory_limit() // 4) if limit is None else limit
    frame = source.pixels.frame
    rows = [core.grow(halo, frame).shape[0] for core in tile_cores(source)]
    return [row_bytes * total <= limit for total in accumulate(rows)]
