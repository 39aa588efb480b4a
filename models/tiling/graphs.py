"""Dask graphs from plans: the only module that touches dask's graph machinery.

A graph has one dask array of dtype object with one `Tile` a chunk. A run of operations on a tile is
one task, so a chain of steps costs one task a tile; a field assigned as a dask array ends the run,
because its blocks are known to dask only. Reductions are delayed values that evaluate the chain so
far on their own regions, once an exposure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, cast
from uuid import uuid4

import dask
import numpy as np

# Expression arrays do not fuse these graphs yet; the setting is read when dask.array is imported.
dask.config.set({"array.query-planning": False})

import dask.array as da  # noqa: E402
from dask.delayed import Delayed  # noqa: E402
from dask.highlevelgraph import HighLevelGraph  # noqa: E402

from calbatch.models.errors import ModelError  # noqa: E402
from calbatch.models.tiling.bands import cores_of, edges_of  # noqa: E402
from calbatch.models.tiling.plan import (  # noqa: E402
    Array,
    Assign,
    Look,
    Node,
    Op,
    Pixels,
    Reduction,
    Region,
    Source,
    Step,
    Tile,
    run,
)
from calbatch.models.tiling.pruning import needed_for  # noqa: E402
from calbatch.models.tiling.regions import (  # noqa: E402
    cut,
    joined,
    overlap,
    value_on_pieces,
    value_on_pixels,
)

_EMPTY = np.empty(0, dtype=object)
Last = Callable[[], str] | None


class Sink(Protocol):
    """Takes the tiles of one node and makes a product of them."""

    @property
    def node(self) -> Node:
        """The state of the plan that it takes."""

    def write(self, tile: Tile) -> Any:
        """Store one tile's own rows; return a small receipt."""

    def complete(self, receipts: list[Any], counts: Mapping[str, Array]) -> None:
        """Complete the product; ``counts`` holds the frame's row counts."""

    def publish(self) -> Any:
        """Give the complete product its name; return what describes it."""


# -- small pieces of graph ---------------------------------------------------------------------


def _name(label: str) -> str:
    return f"{label}-{uuid4().hex}"


def _boxed(value: Any) -> Array:
    box = np.empty(1, dtype=object)
    box[0] = value
    return box


def _tasks(name: str, tasks: Sequence[Any], dependencies: Sequence[Any]) -> da.Array:
    """Return an object array with one chunk for each given task."""
    layer: dict[Any, Any] = {(name, i): task for i, task in enumerate(tasks)}
    graph = HighLevelGraph.from_collections(name, layer, dependencies=dependencies)
    return da.Array(graph, name, chunks=((1,) * len(tasks),), dtype=object, meta=_EMPTY)


def _single(name: str, function: Callable[..., Any], dependencies: Sequence[Any]) -> Delayed:
    """Return a delayed call of ``function`` with the values of ``dependencies``."""
    keys = [list(d.__dask_keys__()) for d in dependencies]
    graph = HighLevelGraph.from_collections(name, {name: (function, keys)}, dependencies)
    return Delayed(name, graph)


def _map(
    function: Callable[..., Any], tiles: da.Array, values: Mapping[str, Delayed], label: str
) -> da.Array:
    kwargs = {"values": dict(values)} if values else {}
    return da.blockwise(
        function, (0,), tiles, (0,), dtype=object, meta=_EMPTY, name=_name(label), **kwargs
    )


# -- operations that only a graph has ----------------------------------------------------------


class _Tee:
    """Hand a passing tile to a sink."""

    label, radius = "write", 0

    def __init__(self, index: int, sink: Sink) -> None:
        self.index, self.write = index, sink.write

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        receipt = (self.index, self.write(tile))
        return replace(tile, receipts=(*tile.receipts, receipt))


class _Strip:
    """Let go of a tile's arrays: only its receipts and counts travel on."""

    label, radius = "write", 0

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        return replace(tile, arrays={})


class _Core:
    """A region in a graph, opaque to dask (a bare tuple would be taken for a task)."""

    def __init__(self, region: Region) -> None:
        self.region = region


def _run_from(
    pixels: Pixels, halo: int, ops: Sequence[Op], keys: Sequence[str], core: _Core, found: list[Any]
) -> Array:
    values = dict(zip(keys, found, strict=True))
    return _boxed(run(ops, pixels.tile(core.region, halo), values))


def _run_on(ops: Sequence[Op], box: Array, values: Mapping[str, Any] | None = None) -> Array:
    return _boxed(run(ops, box[0], values or {}))


def _set_field(name: str, box: Array, block: Array) -> Array:
    tile = box[0].cropped()
    return _boxed(replace(tile, arrays={**tile.arrays, name: block}))


def _get_field(name: str, box: Array) -> Array:
    return cast("Array", box[0].own(name))


# -- graphs of plans ---------------------------------------------------------------------------


class _Build:
    """One graph under construction: how much halo each node needs, and who uses it."""

    def __init__(self, tips: Iterable[Node], sinks: Sequence[Sink] = ()) -> None:
        self.sinks = list(enumerate(sinks))
        self.tapped: set[int] = set()
        self.built: dict[Node, da.Array] = {}
        self.halo: dict[Node, int] = {}
        self.users: dict[Node, int] = {}
        for node in _topological(tips):
            self.halo.setdefault(node, 0)
            if node.parent is not None:
                wanted = self.halo[node] + node.op.radius if isinstance(node, Step) else 0
                self.halo[node.parent] = max(self.halo.get(node.parent, 0), wanted)
                self.users[node.parent] = self.users.get(node.parent, 0) + 1

    def blocks(self, node: Node) -> da.Array:
        """Return the tiles of a node as a dask array of objects."""
        if node not in self.built:
            known = self._known(node)
            self.built[node] = self._new(node) if known is None else known
        return self.built[node]

    def _known(self, node: Node) -> da.Array | None:
        tapped = any(s.node is node for _, s in self.sinks)
        return None if tapped else node.blocks.get(self.halo[node])

    def _new(self, node: Node) -> da.Array:
        built = self._assigned(node) if isinstance(node, Assign) else self._run(node)
        if not self.sinks:  # what writes files must not be shared
            node.blocks[self.halo[node]] = built
        return built

    def _taps(self, node: Node) -> list[Op]:
        taps: list[Op] = [_Tee(i, s) for i, s in self.sinks if s.node is node]
        self.tapped.update(i for i, s in self.sinks if s.node is node)
        return [*taps, _Strip()] if taps and not self.users.get(node) else taps

    def _run(self, tip: Node) -> da.Array:
        """Fuse the operations back to the source, or to a node that has its own blocks."""
        ops = self._taps(tip)
        reductions: list[Reduction] = []
        node = tip
        while isinstance(node, Step):
            ops.insert(0, node.op)
            reductions.extend(node.reductions)
            node = cast("Node", node.parent)
            if not isinstance(node, Source) and self._stands_alone(node):
                break
            ops[:0] = self._taps(node)
        values = {r.key: delayed_value(r) for r in dict.fromkeys(reductions)}
        label = next((op.label for op in reversed(ops) if op.label != "write"), "read")
        if isinstance(node, Source):
            return self._from_source(node, ops, values, label)
        return _map(partial(_run_on, ops), self._with_halo(node), values, label)

    def _stands_alone(self, node: Node) -> bool:
        return isinstance(node, Assign) or self.users[node] > 1 or self._known(node) is not None

    def _from_source(
        self, source: Source, ops: Sequence[Op], values: Mapping[str, Delayed], label: str
    ) -> da.Array:
        function = partial(_run_from, source.pixels, self.halo[source], ops, tuple(values))
        found = [delayed.key for delayed in values.values()]
        tasks = [(function, _Core(core), found) for core in cores_of(source)]
        return _tasks(_name(label), tasks, list(values.values()))

    def _with_halo(self, node: Node) -> da.Array:
        blocks, halo = self.blocks(node), self.halo[node]
        return _exchanged(blocks, node.source, halo) if isinstance(node, Assign) else blocks

    def _assigned(self, node: Assign) -> da.Array:
        tiles = self.blocks(cast("Node", node.parent))
        array, row_axis = node.array, node.array.ndim - 2
        blocks = da.blockwise(
            partial(_set_field, node.name), (row_axis,),
            tiles, (row_axis,), array, tuple(range(array.ndim)),
            dtype=object, concatenate=True, align_arrays=False, meta=_EMPTY, name=_name("assign"),
        )  # fmt: skip
        taps = self._taps(node)
        return _map(partial(_run_on, taps), blocks, {}, "write") if taps else blocks


def _topological(tips: Iterable[Node]) -> list[Node]:
    """Return every node of the plans, each before its parent."""
    order: list[Node] = []
    seen: set[Node] = set()
    for tip in tips:
        fresh = []
        for node in tip.ancestry():
            if node in seen:
                break
            fresh.append(node)
        seen.update(fresh)
        order = fresh + order  # what an earlier tip shares with this one lies behind it
    return order


def _exchanged(blocks: da.Array, source: Source, halo: int) -> da.Array:
    """Give tiles without halo the rows of their neighbours."""
    if halo == 0:
        return blocks
    cores, frame = cores_of(source), source.pixels.frame
    keys = blocks.__dask_keys__()
    tasks = []
    for core in cores:
        wanted = core.grown(halo, frame)
        near = [i for i, c in enumerate(cores) if overlap(c.rows, wanted.rows)]
        tasks.append((partial(_join, wanted, core), [keys[i] for i in near]))
    return _tasks(_name("exchange"), tasks, [blocks])


def _join(wanted: Region, core: Region, boxes: Sequence[Array]) -> Array:
    return _boxed(joined(wanted, core, [box[0] for box in boxes]))


# -- reductions --------------------------------------------------------------------------------


def delayed_value(reduction: Reduction) -> Delayed:
    """Return a reduction as a delayed value, the same one each time it is asked for."""
    if reduction.delayed is None:
        nodes = list(reduction.parent.ancestry())
        local = not any(isinstance(n, Assign) for n in nodes)
        reduction.delayed = (_look_at_pixels if local else _look_at_tiles)(reduction)
    return reduction.delayed


def _values_of(reductions: Iterable[Reduction]) -> dict[str, Delayed]:
    return {r.key: delayed_value(r) for r in dict.fromkeys(reductions)}


def _look_at_pixels(reduction: Reduction) -> Delayed:
    """Evaluate the chain on the reduction's own regions, straight from the source."""
    look, pixels = reduction.look, reduction.parent.source.pixels
    needed = needed_for(look.gather.inputs, reduction.parent)
    values = _values_of([*(r for n in needed for r in n.reductions), *reduction.reductions])
    function = partial(_evaluate, look, pixels, [n.op for n in needed], tuple(values))
    return _single(_name(look.gather.label), function, list(values.values()))


def _evaluate(
    look: Look, pixels: Pixels, ops: Sequence[Op], keys: Sequence[str], found: list[list[Any]]
) -> Any:
    return value_on_pixels(look, pixels, ops, dict(zip(keys, (f[0] for f in found), strict=True)))


def _look_at_tiles(reduction: Reduction) -> Delayed:
    """Cut the reduction's regions out of the tiles, where the chain has assigned arrays."""
    look = reduction.look
    tiles = _Build([reduction.parent]).blocks(reduction.parent)
    values = _values_of(reduction.reductions)
    pieces = _map(partial(_cut, look), tiles, values, "cut")
    function = partial(_piece, look, tuple(values))
    return _single(_name(look.gather.label), function, [pieces, *values.values()])


def _cut(look: Look, box: Array, values: Mapping[str, Any] | None = None) -> Array:
    return _boxed(cut(look.gather.inputs, look.where(values or {}), box[0]))


def _piece(look: Look, keys: Sequence[str], found: list[list[Any]]) -> Any:
    boxes, *rest = found
    values = {key: value for key, (value,) in zip(keys, rest, strict=True)}
    return value_on_pieces(look, [box[0] for box in boxes], values)


# -- what models ask for -----------------------------------------------------------------------


def view(node: Node, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> da.Array:
    """Return one field of a node as an ordinary dask array, without halo."""
    tiles = _Build([node]).blocks(node)
    axes = tuple(range(len(shape)))
    row_axis = len(shape) - 2
    heights = tuple(b - a for a, b in pairwise(edges_of(node.source)))
    return da.blockwise(
        partial(_get_field, name), axes, tiles, (row_axis,),
        new_axes={a: shape[a] for a in axes if a != row_axis},
        adjust_chunks={row_axis: heights},
        dtype=dtype, meta=np.empty((0,) * len(shape), dtype=dtype), name=_name(name),
    )  # fmt: skip


def aligned(array: da.Array, source: Source, what: str) -> da.Array:
    """Return ``array`` with the chunks of a source's tiles.

    Raises
    ------
    ModelError
        When its last two dimensions are not the frame's.
    """
    if array.shape[-2:] != source.pixels.frame:
        raise ModelError(f"{what}: shape {array.shape} does not end in {source.pixels.frame}")
    heights = tuple(b - a for a, b in pairwise(edges_of(source)))
    whole = tuple((n,) for n in array.shape)
    return array.rechunk((*whole[:-2], heights, whole[-1]))


def products(sinks: Sequence[Sink], row_bytes: int = 0, last: Last = None) -> da.Array:
    """Return one dask value that writes every sink's product, each kernel running once a tile.

    It computes to one `Written`. When all tiles are done, before products get names, ``last`` runs.
    """
    for sink in sinks:
        edges_of(sink.node.source, row_bytes)
    build = _Build([s.node for s in sinks], sinks)
    results = []
    for i, sink in sorted(enumerate(sinks), key=lambda item: _depth(item[1].node), reverse=True):
        if i not in build.tapped:
            blocks = build.blocks(sink.node)
            leaf = not build.users.get(sink.node)
            strip = partial(_run_on, [_Strip()])
            results.append(blocks if leaf else _map(strip, blocks, {}, "cut"))
    keys = [list(r.__dask_keys__()) for r in results]
    task = (partial(_finished, list(sinks), last), keys)
    return _tasks(_name("finish"), [task], results)


def _depth(node: Node) -> int:
    return sum(1 for _ in node.ancestry())


def _finished(sinks: Sequence[Sink], last: Last, groups: list[list[Array]]) -> Array:
    seconds: dict[str, float] = {}
    told = last() if last else ""
    for boxes in groups:
        tiles: list[Tile] = [box[0] for box in boxes]
        for tile in tiles:
            for label, spent in tile.seconds.items():
                seconds[label] = seconds.get(label, 0.0) + spent
        names = tiles[0].counts
        counts = {n: np.concatenate([t.counts[n] for t in tiles]) for n in names}
        for i in {index for index, _ in tiles[0].receipts}:
            receipts = [r for t in tiles for index, r in t.receipts if index == i]
            sinks[i].complete(receipts, counts)
    return _boxed(([sink.publish() for sink in sinks], seconds, told))
