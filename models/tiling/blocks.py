"""Tiles as a dask collection.

`calbatch.models.tiling.graphs` builds graphs from these primitives. They do without dask.array,
whose import takes longer than that of any other library, and which only users' arrays need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
import numpy as np
import numpy.typing as npt

# Expression arrays do not fuse these graphs yet; the setting is read when dask.array is imported.
dask.config.set({"array.query-planning": False})

from dask._task_spec import convert_legacy_graph, fuse_linear_task_spec  # noqa: E402
from dask.base import DaskMethodsMixin  # noqa: E402
from dask.blockwise import blockwise, fuse_roots, optimize_blockwise  # noqa: E402
from dask.core import flatten  # noqa: E402
from dask.delayed import Delayed, unpack_collections  # noqa: E402
from dask.highlevelgraph import HighLevelGraph  # noqa: E402
from dask.threaded import get as get_in_threads  # noqa: E402
from dask.utils import ensure_dict  # noqa: E402

if TYPE_CHECKING:
    import dask.array as da

_EMPTY = np.empty(0, dtype=object)


def new_name(label: str) -> str:
    """Return a new name for a layer of a graph, which begins with a label."""
    return f"{label}-{uuid4().hex}"


def optimize(graph: Any, keys: Any, **_: Any) -> Any:
    """Return a graph without unused tasks, in which chains of tasks are one task each.

    Like the optimization of dask arrays, except for slices of slices.
    """
    wanted = list(flatten(keys if isinstance(keys, (list, set)) else [keys]))
    if not isinstance(graph, HighLevelGraph):
        graph = HighLevelGraph.from_collections(str(id(graph)), graph, dependencies=())
    graph = fuse_roots(optimize_blockwise(graph, keys=wanted), keys=wanted).cull(set(wanted))
    if dask.config.get("optimization.fuse.active") is False:
        return graph
    return fuse_linear_task_spec(convert_legacy_graph(ensure_dict(graph)), keys=wanted)


class Blocks(DaskMethodsMixin):
    """A dask collection of boxed tiles, like an array of objects with one tile per chunk.

    Parameters
    ----------
    graph : HighLevelGraph
        The graph.
    name : str
        Name of the layer whose tasks return the boxed tiles.
    count : int
        Number of tiles.
    """

    def __init__(self, graph: Any, name: str, count: int) -> None:
        self.graph, self.name, self.count = graph, name, count

    def __dask_graph__(self) -> Any:
        return self.graph

    def __dask_keys__(self) -> list[Any]:
        return [(self.name, i) for i in range(self.count)]

    def __dask_layers__(self) -> tuple[str]:
        return (self.name,)

    def __dask_tokenize__(self) -> str:
        return self.name

    __dask_optimize__ = staticmethod(optimize)
    __dask_scheduler__: Any = staticmethod(get_in_threads)

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return _join, ()

    def __dask_postpersist__(self) -> tuple[Callable[..., Blocks], tuple[str, int]]:
        return _rebuild, (self.name, self.count)

    def first(self, count: int) -> Blocks:
        """Return the first tiles alone: ``count`` of them, or all."""
        return Blocks(self.graph, self.name, min(count, self.count))

    def to_array(self) -> da.Array:
        """Return the tiles as a dask array of objects."""
        import dask.array as da

        chunks = ((1,) * self.count,)
        return da.Array(self.graph, self.name, chunks=chunks, dtype=object, meta=_EMPTY)


def _join(boxes: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(boxes)


def _rebuild(
    graph: Any, name: str, count: int, *, rename: Mapping[str, str] | None = None
) -> Blocks:
    return Blocks(graph, (rename or {}).get(name, name), count)


def from_array(array: da.Array) -> Blocks:
    """Return the chunks of a dask array of objects as a collection of tiles."""
    return Blocks(array.dask, array.name, array.numblocks[0])


def call_each(name: str, calls: Sequence[Any], dependencies: Sequence[Any]) -> Blocks:
    """Return one block per call, given as a dask task."""
    layer: dict[Any, Any] = {(name, i): task for i, task in enumerate(calls)}
    graph = HighLevelGraph.from_collections(name, layer, dependencies=dependencies)
    return Blocks(graph, name, len(calls))


def delay_call(name: str, function: Callable[..., Any], dependencies: Sequence[Any]) -> Delayed:
    """Return a delayed call of a function with the values of collections."""
    keys = [list(d.__dask_keys__()) for d in dependencies]
    graph = HighLevelGraph.from_collections(name, {name: (function, keys)}, dependencies)
    return Delayed(name, graph)


def map_blocks(
    function: Callable[..., Any], tiles: Blocks, values: Mapping[str, Delayed], label: str
) -> Blocks:
    """Return the blocks that a function makes of each tile.

    Parameters
    ----------
    function : callable
        Takes a boxed tile and, if there are any, the values as its argument ``values``.
    tiles : Blocks
        The tiles.
    values : mapping
        Delayed values by name.
    label : str
        Beginning of the layer's name.
    """
    name = new_name(label)
    arguments: dict[str, Any] = {}
    collections: Sequence[Delayed] = ()
    if values:
        arguments["values"], collections = unpack_collections(dict(values))
    layer = blockwise(
        function, name, (0,), tiles.name, (0,),
        numblocks={tiles.name: (tiles.count,)}, dependencies=collections, **arguments,
    )  # fmt: skip
    dependencies: list[Any] = [tiles, *collections]
    graph = HighLevelGraph.from_collections(name, layer, dependencies=dependencies)
    return Blocks(graph, name, tiles.count)
