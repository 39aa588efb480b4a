"""How a frame is cut into tiles."""

from itertools import pairwise

import dask
import numpy as np

from calbatch.models.storage.memory import require_row
from calbatch.models.tiling.plan import Region, Source

TILE_BYTES = 112 * 2**20
"""Budget of a tile (`calbatch.models.budget`); its height follows from it.

It makes 8 tiles of a full frame with 10 groups. Three times as many take a tenth more processor
time, each its halo and some milliseconds; fewer are no faster.
"""


def edges_of(source: Source, row_bytes: int = 0) -> tuple[int, ...]:
    """Return the row boundaries of a source's tiles, choosing them on first use.

    ``row_bytes`` is what one row costs over the whole chain; ``calbatch.tile-rows`` in dask's
    configuration fixes the height instead.

    Raises
    ------
    ModelError
        If a single row costs more than the memory that there may be.
    """
    if source.edges is None:
        row_bytes = row_bytes or _stored_row_bytes(source)
        require_row(row_bytes)
        rows = source.pixels.frame[0]
        fixed = dask.config.get("calbatch.tile-rows", None)
        budget = dask.config.get("calbatch.tile-bytes", TILE_BYTES)
        height = fixed or max(1, budget // max(row_bytes, 1))
        count = -(-rows // min(height, rows))
        bounds = range(0, rows, height) if fixed else (rows * i // count for i in range(count))
        source.edges = (*bounds, rows)
    return source.edges


def _stored_row_bytes(source: Source) -> int:
    readers = source.pixels.readers.values()
    return sum(
        int(np.prod(r.shape[:-2], dtype=np.int64)) * r.shape[-1] * r.dtype.itemsize for r in readers
    )


def cores_of(source: Source) -> list[Region]:
    """Return the regions of a source's tiles, in order."""
    return [Region(rows, (0, source.pixels.frame[1])) for rows in pairwise(edges_of(source))]
