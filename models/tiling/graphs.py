"""Graphs of plans: the tasks that make products, values of the frame and views of plans.

A graph is made of layers, which have one boxed `Tile` for each task. Consecutive operations on a
tile are one task, so a chain of steps takes one task per tile. A field assigned as a dask array
ends the chain, because only dask knows its blocks. Reductions are tasks that evaluate the
preceding chain on their own regions, once per exposure. Decisions are computed from the tiles
themselves, which are kept meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import dask
import numpy as np

from calbatch.models.errors import ModelError
from calbatch.models.tiling import tasks
from calbatch.models.tiling.blocks import Blocks, from_array, to_delayed
from calbatch.models.tiling.branches import depends_on_decision, find_branches
from calbatch.models.tiling.halos import overlap
from calbatch.models.tiling.layers import Layer, ResultOf, Task
from calbatch.models.tiling.plan import (
    AssignNode,
    Operation,
    OperationNode,
    PlanNode,
    Reduction,
    SourceNode,
)
from calbatch.models.tiling.pruning import required_operations
from calbatch.models.tiling.reductions import reduce_pixels
from calbatch.models.tiling.sinks import BeforeNaming, DropArrays, Sink, WriteTile
from calbatch.models.tiling.tile_edges import (
    choose_kept_tiles,
    tile_cores,
    tile_edges,
)

if TYPE_CHECKING:
    import dask.array as da
    from dask.delayed import Delayed

TRIAL = "calbatch.trial"
"""Setting in dask's configuration for trials, whose results are thrown away: if true, decisions are
gathered from two tiles, the first and the one with its halo, so that the first can be computed
without the whole frame."""

# -- graphs of plans ---------------------------------------------------------------------------


class _GraphBuilder:
    """A graph under construction.

    Attributes
    ----------
    branches : Branches
        The nodes, the halos that their tiles need, and their users.
    kept_rows : mapping
        Memory of a row of the tiles that wait at a node; without it, all are kept.
    built : dict
        The tiles of each node built so far.
    values : dict
        The value of each reduction so far.
    tapped : set of int
        The sinks whose tiles are written in passing: further operations follow them.
    """

    def __init__(
        self,
        tips: Iterable[PlanNode],
        sinks: Sequence[Sink] = (),
        kept_rows: Mapping[PlanNode, int] | None = None,
        values: dict[Reduction, Layer] | None = None,
        reductions: Sequence[Reduction] = (),
    ) -> None:
        self.sinks = list(enumerate(sinks))
        self.branches = find_branches(tips, reductions)
        self.kept_rows = kept_rows or {}
        self.built: dict[PlanNode, Layer] = {}
        self.values: dict[Reduction, Layer] = {} if values is None else values
        self.tapped: set[int] = set()

    def tiles(self, node: PlanNode) -> Layer:
        """Return the layer of a node's tiles."""
        if node not in self.built:
            existing = self._existing_tiles(node)
            self.built[node] = self._build_tiles(node) if existing is None else existing
        return self.built[node]

    def _existing_tiles(self, node: PlanNode) -> Layer | None:
        tapped = any(s.node is node for _, s in self.sinks)
        return None if tapped else node.layers.get(self.branches.halo[node])

    def _build_tiles(self, node: PlanNode) -> Layer:
        if isinstance(node, AssignNode):
            layer = self._build_assigned(node)
        else:
            layer = self._build_chain(node)
        if not self.sinks:  # tasks that write files must not be shared
            node.layers[self.branches.halo[node]] = layer
        return layer

    def _taps(self, node: PlanNode) -> list[Operation]:
        """Return the operations that write a node's tiles in passing."""
        taps: list[Operation] = [WriteTile(i, s) for i, s in self.sinks if s.node is node]
        self.tapped.update(i for i, s in self.sinks if s.node is node)
        return [*taps, DropArrays()] if taps and not self.branches.users.get(node) else taps

    def _build_chain(self, tip: PlanNode) -> Layer:
        """Fuse the operations back to the source, or to a node that has its own tiles."""
        operations = self._taps(tip)
        reductions: list[Reduction] = []
        node = tip
        while isinstance(node, OperationNode):
            operations.insert(0, node.op)
            reductions.extend(node.reductions)
            node = cast("PlanNode", node.parent)
            if not isinstance(node, SourceNode) and self._has_own_tiles(node):
                break
            operations[:0] = self._taps(node)
        values = self.values_of(reductions)
        passing = (WriteTile, DropArrays)
        labels = (op.label for op in reversed(operations) if not isinstance(op, passing))
        calls = self._run_operations(node, operations, self._kept_tiles(tip))
        return Layer(next(labels, "read"), calls, values)

    def _run_operations(
        self, node: PlanNode, operations: Sequence[Operation], kept: Sequence[bool]
    ) -> list[Task]:
        """Return a task for each tile of a node; tiles that are not kept become pending."""
        if isinstance(node, SourceNode):
            read = tasks.RunFromSource(node.pixels, self.branches.halo[node], operations)
            cores = tile_cores(node)
            return [
                Task(partial(replace(read, is_kept=is_kept), core))
                for core, is_kept in zip(cores, kept, strict=True)
            ]
        run, tiles = tasks.RunOnTile(operations), self._with_halo(node).results()
        return [
            Task(replace(run, is_kept=is_kept), (tile,))
            for tile, is_kept in zip(tiles, kept, strict=True)
        ]

    def _kept_tiles(self, node: PlanNode) -> list[bool]:
        """Return a flag for each tile of a node: False if it waits and is not kept meanwhile."""
        if node not in self.branches.waiting or node not in self.kept_rows:
            return [True] * len(tile_cores(node.source))
        return choose_kept_tiles(node.source, self.branches.halo[node], self.kept_rows[node])

    def _has_own_tiles(self, node: PlanNode) -> bool:
        return self.branches.is_shared(node) or self._existing_tiles(node) is not None

    def _with_halo(self, node: PlanNode) -> Layer:
        layer, halo = self.tiles(node), self.branches.halo[node]
        is_assigned = isinstance(node, AssignNode)
        return _exchange_halos(layer, node.source, halo) if is_assigned else layer

    def _build_assigned(self, node: AssignNode) -> Layer:
        import dask.array as da  # slow to import; the user has done so

        tiles = Blocks(self.tiles(cast("PlanNode", node.parent)))
        array, row_axis = node.array, node.array.ndim - 2
        operands = (tiles.to_array(), (row_axis,), array, tuple(range(array.ndim)))
        assigned = da.blockwise(
            partial(tasks.set_field, node.name), (row_axis,), *operands,
            dtype=object, concatenate=True, align_arrays=False, meta=np.empty(0, dtype=object),
            name=f"assign-{uuid4().hex}",
        )  # fmt: skip
        layer = from_array(assigned)
        taps = self._taps(node)
        return layer.map("write", tasks.RunOnTile(taps)) if taps else layer

    # -- values of reductions

    def values_of(self, reductions: Iterable[Reduction]) -> dict[str, Layer]:
        """Return the layers of reductions by key."""
        return {r.key: self.value(r) for r in dict.fromkeys(reductions)}

    def value(self, reduction: Reduction) -> Layer:
        """Return the layer of a reduction, which all graphs share if it needs no decision."""
        if reduction not in self.values:
            known = reduction.layer
            if known is None or depends_on_decision(reduction):
                known = self._build_value(reduction)
            self.values[reduction] = known
        return self.values[reduction]

    def _build_value(self, reduction: Reduction) -> Layer:
        if reduction.spec.is_decision:
            return self._decide(reduction)
        nodes = list(reduction.parent.ancestry())
        is_local = not any(isinstance(n, AssignNode) for n in nodes)
        value = (self._reduce_pixels if is_local else self._reduce_tiles)(reduction)
        if not depends_on_decision(reduction):
            reduction.layer = value
        return value

    def _reduce_pixels(self, reduction: Reduction) -> Layer:
        """Evaluate the chain on the reduction's own regions, straight from the source."""
        spec, pixels = reduction.spec, reduction.parent.source.pixels
        required = required_operations(spec.gather.inputs, reduction.parent)
        taken = (r for n in required for r in n.reductions)
        values = self.values_of([*taken, *reduction.reductions])
        reduce = partial(reduce_pixels, spec, pixels, [n.op for n in required])
        return Layer(spec.gather.label, [Task(reduce)], values)

    def _reduce_tiles(self, reduction: Reduction) -> Layer:
        """Cut the reduction's regions out of the tiles of a chain that has assigned arrays."""
        spec = reduction.spec
        tiles = _GraphBuilder([reduction.parent], values=self.values).tiles(reduction.parent)
        values = self.values_of(reduction.reductions)
        pieces = tiles.map("cut", partial(tasks.cut_boxed_pieces, spec), values=values)
        reduce = partial(tasks.reduce_boxed_pieces, spec)
        return Layer(spec.gather.label, [Task(reduce, tuple(pieces.results()))], values)

    def _decide(self, reduction: Reduction) -> Layer:
        """Gather a decision from the tiles on which later operations continue."""
        spec, tiles = reduction.spec, self.tiles(reduction.parent).results()
        if dask.config.get(TRIAL, False):
            tiles = tiles[:2]
        values = self.values_of(reduction.reductions)
        gather = partial(tasks.gather_boxed, spec)
        gathered = Layer(spec.gather.label, [Task(gather, (tile,)) for tile in tiles], values)
        combine = partial(tasks.combine_boxed, spec)
        return Layer(spec.gather.label, [Task(combine, tuple(gathered.results()))])


def _exchange_halos(layer: Layer, source: SourceNode, halo: int) -> Layer:
    """Return tiles with halos, taken from the rows of their neighbours."""
    if halo == 0:
        return layer
    cores, frame, tiles = tile_cores(source), source.pixels.frame, layer.results()
    calls = []
    for core in cores:
        wanted = core.grow(halo, frame)
        near = [tile for tile, c in zip(tiles, cores, strict=True) if overlap(c.rows, wanted.rows)]
        calls.append(Task(partial(tasks.join_halo, wanted, core), tuple(near)))
    return Layer("exchange", calls)


# -- graphs that models build ------------------------------------------------------------------


def delayed_value(reduction: Reduction) -> Delayed:
    """Return a reduction as a delayed value, which has the same key on every call."""
    if reduction.layer is None:
        builder = _GraphBuilder([reduction.parent], reductions=[reduction])
        reduction.layer = builder.value(reduction)
    return to_delayed(reduction.layer)


def view(node: PlanNode, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> da.Array:
    """Return one field of a node as an ordinary dask array, without halo."""
    import dask.array as da  # slow to import

    tiles = Blocks(_GraphBuilder([node]).tiles(node)).to_array()
    axes = tuple(range(len(shape)))
    row_axis = len(shape) - 2
    heights = tuple(b - a for a, b in pairwise(tile_edges(node.source)))
    return da.blockwise(
        partial(tasks.get_field, name), axes, tiles, (row_axis,),
        new_axes={a: shape[a] for a in axes if a != row_axis},
        adjust_chunks={row_axis: heights},
        dtype=dtype, meta=np.empty((0,) * len(shape), dtype=dtype), name=f"{name}-{uuid4().hex}",
    )  # fmt: skip


def align_chunks(array: da.Array, source: SourceNode, what: str) -> da.Array:
    """Return ``array`` rechunked to a source's tiles.

    Raises
    ------
    ModelError
        If its last two dimensions are not the frame's.
    """
    if array.shape[-2:] != source.pixels.frame:
        raise ModelError(f"{what}: shape {array.shape} does not end in {source.pixels.frame}")
    heights = tuple(b - a for a, b in pairwise(tile_edges(source)))
    whole = tuple((n,) for n in array.shape)
    return array.rechunk((*whole[:-2], heights, whole[-1]))


def build_product_graph(
    sinks: Sequence[Sink],
    row_bytes: int = 0,
    before_naming: BeforeNaming = None,
    kept_rows: Mapping[PlanNode, int] | None = None,
) -> Blocks:
    """Return a collection that writes every sink's product, running each kernel once per tile.

    Parameters
    ----------
    sinks : sequence of Sink
        The products.
    row_bytes : int
        Memory that one row takes; see `calbatch.models.tiling.tile_edges.tile_edges`.
    before_naming : callable, optional
        Called when all tiles are written, before products get their names.
    kept_rows : mapping, optional
        For each node whose tiles wait for a decision, the memory that a row of them takes. By
        default, all are kept.

    Returns
    -------
    Blocks
        Its single element computes to a `GraphResult`.
    """
    for sink in sinks:
        tile_edges(sink.node.source, row_bytes)
    builder = _GraphBuilder([s.node for s in sinks], sinks, kept_rows)
    branches: list[list[ResultOf]] = []
    for i, sink in sorted(enumerate(sinks), key=lambda item: _depth(item[1].node), reverse=True):
        if i not in builder.tapped:
            layer = builder.tiles(sink.node)
            is_leaf = not builder.branches.users.get(sink.node)
            drop = tasks.RunOnTile([DropArrays()])
            branches.append((layer if is_leaf else layer.map("cut", drop)).results())
    # Tiles of the same rows come together, so that what they share can be dropped.
    rounds = zip_longest(*branches)
    parts = [(i, each) for tiles in rounds for i, each in enumerate(tiles) if each is not None]
    task = partial(tasks.finish, list(sinks), before_naming, [i for i, _ in parts])
    return Blocks(Layer("finish", [Task(task, tuple(each for _, each in parts))]))


def _depth(node: PlanNode) -> int:
    return sum(1 for _ in node.ancestry())
