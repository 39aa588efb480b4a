"""Layers of tasks as dask collections.

They do without dask.array, whose import takes longer than that of any other library, and which only
users' arrays need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import dask
import numpy as np
import numpy.typing as npt

from calbatch.models.tiling.layers import Layer, call_function, run_tasks

# Expression arrays do not fuse these graphs yet; the setting is read when dask.array is imported.
dask.config.set({"array.query-planning": False})

from dask._task_spec import convert_legacy_graph, fuse_linear_task_spec  # noqa: E402
from dask.base import DaskMethodsMixin, compute  # noqa: E402
from dask.blockwise import fuse_roots, optimize_blockwise  # noqa: E402
from dask.core import flatten  # noqa: E402
from dask.delayed import Delayed  # noqa: E402
from dask.highlevelgraph import HighLevelGraph  # noqa: E402
from dask.local import get_sync  # noqa: E402
from dask.threaded import get as get_in_threads  # noqa: E402
from dask.utils import ensure_dict  # noqa: E402

if TYPE_CHECKING:
    import dask.array as da

_EMPTY = np.empty(0, dtype=object)


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
    layer : Layer
        The layer whose tasks return the boxed tiles.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __dask_graph__(self) -> Any:
        return to_graph(self.layer)

    def __dask_keys__(self) -> list[Any]:
        return [(self.layer.name, i) for i in range(self.layer.count)]

    def __dask_layers__(self) -> tuple[str]:
        return (self.layer.name,)

    def __dask_tokenize__(self) -> str:
        return self.layer.name

    __dask_optimize__ = staticmethod(optimize)
    __dask_scheduler__: Any = staticmethod(get_in_threads)

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return _join, ()

    def __dask_postpersist__(self) -> tuple[Callable[..., Blocks], tuple[str, int]]:
        return _rebuild, (self.layer.name, self.layer.count)

    def run(self) -> npt.NDArray[Any]:
        """Return the tiles, computed in this thread: by dask only if it alone knows the tasks."""
        if self.layer.requires_dask:
            # Given by name, dask would import distributed to see whether a client is connected.
            (boxes,) = compute(self, scheduler=get_sync)
            return cast("npt.NDArray[Any]", boxes)
        return _join(run_tasks(self.layer.results()))

    def to_array(self) -> da.Array:
        """Return the tiles as a dask array of objects."""
        import dask.array as da

        chunks = ((1,) * self.layer.count,)
        graph = to_graph(self.layer)
        return da.Array(graph, self.layer.name, chunks=chunks, dtype=object, meta=_EMPTY)


def _join(boxes: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(boxes)


def _rebuild(
    graph: Any, name: str, count: int, *, rename: Mapping[str, str] | None = None
) -> Blocks:
    return Blocks(Layer.of_dask((rename or {}).get(name, name), count, graph))


def to_graph(layer: Layer) -> HighLevelGraph:
    """Return the graph of a layer and of those before it."""
    if layer.graph is None:
        values = [(value.name, 0) for value in layer.values.values()]
        tasks: dict[Any, Any] = {}
        for i, task in enumerate(layer.tasks):
            call = partial(call_function, task.function, tuple(layer.values))
            tasks[layer.name, i] = (call, [(r.layer.name, r.position) for r in task.inputs], values)
        dependencies = [Blocks(each) for each in layer.dependencies()]
        layer.graph = HighLevelGraph.from_collections(layer.name, tasks, dependencies)
    return layer.graph


def from_array(array: da.Array) -> Layer:
    """Return the chunks of a dask array of objects as a layer."""
    return Layer.of_dask(array.name, array.numblocks[0], array.dask)


def to_delayed(layer: Layer) -> Delayed:
    """Return the result of a layer's only task as a delayed value."""
    return Delayed((layer.name, 0), to_graph(layer), layer=layer.name)
