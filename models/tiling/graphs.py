"""Dask graphs of plans: the only module that touches dask's graph machinery.

A graph has one dask array of dtype object with one `Tile` per chunk. Consecutive operations on a
tile are one task, so a chain of steps takes one task per tile. A field assigned as a dask array
ends the chain, because only dask knows its blocks. Reductions are delayed values that evaluate the
preceding chain on their own regions, once per exposure. Decisions are delayed values computed
from the tiles themselves, which are kept meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import dask
import numpy as np

from calbatch.models.errors import ModelError
from calbatch.models.tiling import tasks
from calbatch.models.tiling.blocks import (
    Blocks,
    call_each,
    delay_call,
    from_array,
    map_blocks,
    new_name,
)
from calbatch.models.tiling.branches import depends_on_decision, find_branches
from calbatch.models.tiling.halos import overlap
from calbatch.models.tiling.plan import (
    AssignNode,
    Operation,
    OperationNode,
    PlanNode,
    Reduction,
    SourceNode,
)
from calbatch.models.tiling.pruning import required_operations
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
        values: dict[Reduction, Delayed] | None = None,
        reductions: Sequence[Reduction] = (),
    ) -> None:
        self.sinks = list(enumerate(sinks))
        self.branches = find_branches(tips, reductions)
        self.kept_rows = kept_rows or {}
        self.built: dict[PlanNode, Blocks] = {}
        self.values: dict[Reduction, Delayed] = {} if values is None else values
        self.tapped: set[int] = set()

    def blocks(self, node: PlanNode) -> Blocks:
        """Return the tiles of a node."""
        if node not in self.built:
            existing = self._existing_blocks(node)
            self.built[node] = self._build_blocks(node) if existing is None else existing
        return self.built[node]

    def _existing_blocks(self, node: PlanNode) -> Blocks | None:
        tapped = any(s.node is node for _, s in self.sinks)
        return None if tapped else node.blocks.get(self.branches.halo[node])

    def _build_blocks(self, node: PlanNode) -> Blocks:
        if isinstance(node, AssignNode):
            blocks = self._build_assigned(node)
        else:
            blocks = self._build_chain(node)
        if not self.sinks:  # tasks that write files must not be shared
            node.blocks[self.branches.halo[node]] = blocks
        return blocks

    def _taps(self, node: PlanNode) -> list[Operation]:
        """Return the operations that write a node's tiles in passing."""
        taps: list[Operation] = [WriteTile(i, s) for i, s in self.sinks if s.node is node]
        self.tapped.update(i for i, s in self.sinks if s.node is node)
        return [*taps, DropArrays()] if taps and not self.branches.users.get(node) else taps

    def _build_chain(self, tip: PlanNode) -> Blocks:
        """Fuse the operations back to the source, or to a node that has its own blocks."""
        operations = self._taps(tip)
        reductions: list[Reduction] = []
        node = tip
        while isinstance(node, OperationNode):
            operations.insert(0, node.op)
            reductions.extend(node.reductions)
            node = cast("PlanNode", node.parent)
            if not isinstance(node, SourceNode) and self._has_own_blocks(node):
                break
            operations[:0] = self._taps(node)
        values = self.values_of(reductions)
        passing = (WriteTile, DropArrays)
        labels = (op.label for op in reversed(operations) if not isinstance(op, passing))
        label = next(labels, "read")
        if isinstance(node, SourceNode):
            run = tasks.RunFromSource(node.pixels, self.branches.halo[node], operations)
            cores = [tasks.Core(core) for core in tile_cores(node)]
            return self._tiles(tip, run, cores, values=values, label=label)
        blocks = self._with_halo(node)
        if tip in self.branches.waiting:
            run_on = tasks.RunOnTile(operations)
            keys = blocks.__dask_keys__()
            return self._tiles(tip, run_on, keys, values=values, label=label, blocks=[blocks])
        return map_blocks(partial(tasks.run_on_tile, operations), blocks, values, label)

    def _tiles(
        self,
        node: PlanNode,
        run: tasks.RunFromSource | tasks.RunOnTile,
        starts: Sequence[Any],
        *,
        values: Mapping[str, Delayed],
        label: str,
        blocks: Sequence[Blocks] = (),
    ) -> Blocks:
        """Return one block per tile, pending where a tile is not kept for a decision."""
        run = replace(run, keys=tuple(values))
        value_keys = [delayed.key for delayed in values.values()]
        calls = [
            (run if is_kept else replace(run, is_kept=False), start, value_keys)
            for start, is_kept in zip(starts, self._kept_tiles(node), strict=True)
        ]
        return call_each(new_name(label), calls, [*blocks, *values.values()])

    def _kept_tiles(self, node: PlanNode) -> list[bool]:
        """Return a flag for each tile of a node: True if it is kept."""
        if node not in self.branches.waiting or node not in self.kept_rows:
            return [True] * len(tile_cores(node.source))
        return choose_kept_tiles(node.source, self.branches.halo[node], self.kept_rows[node])

    def _has_own_blocks(self, node: PlanNode) -> bool:
        return (
            isinstance(node, AssignNode)
            or self.branches.users[node] > 1
            or self._existing_blocks(node) is not None
        )

    def _with_halo(self, node: PlanNode) -> Blocks:
        blocks, halo = self.blocks(node), self.branches.halo[node]
        is_assigned = isinstance(node, AssignNode)
        return _exchange_halos(blocks, node.source, halo) if is_assigned else blocks

    def _build_assigned(self, node: AssignNode) -> Blocks:
        import dask.array as da  # slow to import; the user has done so

        tiles = self.blocks(cast("PlanNode", node.parent))
        array, row_axis = node.array, node.array.ndim - 2
        operands = (tiles.to_array(), (row_axis,), array, tuple(range(array.ndim)))
        assigned = da.blockwise(
            partial(tasks.set_field, node.name), (row_axis,), *operands,
            dtype=object, concatenate=True, align_arrays=False, meta=np.empty(0, dtype=object),
            name=new_name("assign"),
        )  # fmt: skip
        blocks = from_array(assigned)
        taps = self._taps(node)
        return map_blocks(partial(tasks.run_on_tile, taps), blocks, {}, "write") if taps else blocks

    # -- values of reductions

    def values_of(self, reductions: Iterable[Reduction]) -> dict[str, Delayed]:
        """Return the delayed values of reductions by key."""
        return {r.key: self.value(r) for r in dict.fromkeys(reductions)}

    def value(self, reduction: Reduction) -> Delayed:
        """Return a reduction as a delayed value, which all graphs share if it needs no decision."""
        if reduction not in self.values:
            known = reduction.delayed
            if known is None or depends_on_decision(reduction):
                known = self._delay(reduction)
            self.values[reduction] = known
        return self.values[reduction]

    def _delay(self, reduction: Reduction) -> Delayed:
        if reduction.spec.is_decision:
            return self._decide(reduction)
        nodes = list(reduction.parent.ancestry())
        is_local = not any(isinstance(n, AssignNode) for n in nodes)
        value = (self._delay_on_pixels if is_local else self._delay_on_tiles)(reduction)
        if not depends_on_decision(reduction):
            reduction.delayed = value
        return value

    def _delay_on_pixels(self, reduction: Reduction) -> Delayed:
        """Evaluate the chain on the reduction's own regions, straight from the source."""
        spec, pixels = reduction.spec, reduction.parent.source.pixels
        required = required_operations(spec.gather.inputs, reduction.parent)
        values = self.values_of([*(r for n in required for r in n.reductions),
                                 *reduction.reductions])  # fmt: skip
        task = tasks.ReducePixels(spec, pixels, [n.op for n in required], tuple(values))
        return delay_call(new_name(spec.gather.label), task, list(values.values()))

    def _delay_on_tiles(self, reduction: Reduction) -> Delayed:
        """Cut the reduction's regions out of the tiles of a chain that has assigned arrays."""
        spec = reduction.spec
        tiles = _GraphBuilder([reduction.parent], values=self.values).blocks(reduction.parent)
        values = self.values_of(reduction.reductions)
        pieces = map_blocks(partial(tasks.cut_boxed_pieces, spec), tiles, values, "cut")
        task = partial(tasks.reduce_boxed_pieces, spec, tuple(values))
        return delay_call(new_name(spec.gather.label), task, [pieces, *values.values()])

    def _decide(self, reduction: Reduction) -> Delayed:
        """Gather a decision from the tiles on which later operations continue."""
        spec, tiles = reduction.spec, self.blocks(reduction.parent)
        if dask.config.get(TRIAL, False):
            tiles = tiles.first(2)
        values = self.values_of(reduction.reductions)
        gathered = map_blocks(partial(tasks.gather_boxed, spec), tiles, values, spec.gather.label)
        return delay_call(
            new_name(spec.gather.label), partial(tasks.combine_boxed, spec), [gathered]
        )


def _exchange_halos(blocks: Blocks, source: SourceNode, halo: int) -> Blocks:
    """Return tiles with halos, taken from the rows of their neighbours."""
    if halo == 0:
        return blocks
    cores, frame = tile_cores(source), source.pixels.frame
    keys = blocks.__dask_keys__()
    calls = []
    for core in cores:
        wanted = core.grow(halo, frame)
        near = [i for i, c in enumerate(cores) if overlap(c.rows, wanted.rows)]
        calls.append((partial(tasks.join_halo, wanted, core), [keys[i] for i in near]))
    return call_each(new_name("exchange"), calls, [blocks])


# -- graphs that models build ------------------------------------------------------------------


def delayed_value(reduction: Reduction) -> Delayed:
    """Return a reduction as a delayed value, the same one on every call."""
    if reduction.delayed is None:
        builder = _GraphBuilder([reduction.parent], reductions=[reduction])
        reduction.delayed = builder.value(reduction)
    return cast("Delayed", reduction.delayed)


def view(node: PlanNode, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> da.Array:
    """Return one field of a node as an ordinary dask array, without halo."""
    import dask.array as da  # slow to import

    tiles = _GraphBuilder([node]).blocks(node).to_array()
    axes = tuple(range(len(shape)))
    row_axis = len(shape) - 2
    heights = tuple(b - a for a, b in pairwise(tile_edges(node.source)))
    return da.blockwise(
        partial(tasks.get_field, name), axes, tiles, (row_axis,),
        new_axes={a: shape[a] for a in axes if a != row_axis},
        adjust_chunks={row_axis: heights},
        dtype=dtype, meta=np.empty((0,) * len(shape), dtype=dtype), name=new_name(name),
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
    """Return a dask collection that writes every sink's product, running each kernel once per tile.

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
    results = []
    for i, sink in sorted(enumerate(sinks), key=lambda item: _depth(item[1].node), reverse=True):
        if i not in builder.tapped:
            blocks = builder.blocks(sink.node)
            is_leaf = not builder.branches.users.get(sink.node)
            drop = partial(tasks.run_on_tile, [DropArrays()])
            results.append(blocks if is_leaf else map_blocks(drop, blocks, {}, "cut"))
    keys = [list(r.__dask_keys__()) for r in results]
    task = (partial(tasks.finish, list(sinks), before_naming), keys)
    return call_each(new_name("finish"), [task], results)


def _depth(node: PlanNode) -> int:
    return sum(1 for _ in node.ancestry())
