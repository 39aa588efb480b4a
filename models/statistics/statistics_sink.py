"""A sink that gathers the statistics of a model from its tiles, beside the one that writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from calbatch.models.arrays import GridField, LazyArrays
from calbatch.models.statistics.product_statistics import ProductStatistics
from calbatch.models.statistics.row_samples import TileSampler
from calbatch.models.statistics.tile_summary import summarize_tiles
from calbatch.models.storage.location import Location, location
from calbatch.models.tiling.plan import PlanNode
from calbatch.models.tiling.tile import Array

_FLAGS = ("dq", "pixeldq", "groupdq")
"""Fields whose flags are counted."""


class StatisticsSink:
    """Gathers the statistics of a model.

    Parameters
    ----------
    model : LazyArrays
        The model, which has tiles.
    path : Path or Url
        The file to which another sink writes it.
    """

    label = "statistics"

    def __init__(self, model: LazyArrays, path: Location) -> None:
        content = model._content
        assert content.node is not None
        self.node: PlanNode = content.node
        self.path = str(location(path).absolute())
        self.deferred = content.deferred
        self.statistics = ProductStatistics()
        grid = content.on_grid
        flags = {name: grid[name] for name in _FLAGS if _has_kind(grid.get(name), "iu")}
        self.values = {name: math.prod(placed.shape) for name, placed in flags.items()}
        self.write = TileSampler(
            frame=model.frame,
            flags={name: placed.key for name, placed in flags.items()},
            data=_key(grid, model.primary, "fiu"),
            errors=_key(grid, "err", "f"),
            quality=_key(grid, "dq", "iu") or _key(grid, "pixeldq", "iu"),
        )

    def __getstate__(self) -> dict[str, Any]:
        # Workers do not need the plan, which the graph contains.
        return {**self.__dict__, "node": None}

    def complete(self, receipts: list[Any], counts: Mapping[str, Array]) -> None:
        """Make the statistics; ``counts`` decide the metadata that are counted over the frame."""
        metadata: dict[str, Any] = {}
        for deferred in self.deferred:
            values = deferred.function(counts)
            metadata |= {path: values.get(path) for path in deferred.paths}
        self.statistics = summarize_tiles(receipts, self.values, metadata)

    def publish(self) -> tuple[str, ProductStatistics]:
        """Return the path of the file and its statistics."""
        return self.path, self.statistics


def _has_kind(placed: GridField | None, kinds: str) -> bool:
    """Return whether a field is there, and its type is of one of some kinds."""
    return placed is not None and placed.dtype.kind in kinds


def _key(grid: Mapping[str, GridField], name: str, kinds: str) -> str:
    """Return the name of a field in the tiles; "" if it is not there, or of another kind."""
    return grid[name].key if _has_kind(grid.get(name), kinds) else ""
