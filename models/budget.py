"""Memory needed to calibrate a tile, computed from the plan before anything is read.

The budget of a tile is the size of its rows in the fields that are alive at the peak, and in all
references. References are read one after the other, but the gaps that they leave in a process's
memory are mostly too small for later fields. Tiles that wait for a decision take additional memory,
and so do values of the whole frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import dask
import numpy as np

from calbatch.models.arrays import LazyArrays
from calbatch.models.fits.readers import ConstantReader, Reader
from calbatch.models.tiling import reference_cache
from calbatch.models.tiling.branches import Branches, find_branches, find_decisions, find_reductions
from calbatch.models.tiling.plan import (
    AssignNode,
    KernelCall,
    OperationNode,
    PlanNode,
    Reduction,
    ReplaceField,
    SourceNode,
)
from calbatch.models.tiling.tile_edges import choose_kept_tiles, tile_cores, tile_edges

BESIDE_REFERENCES = 192 * 2**20
"""Memory in bytes that tiles which wait for a decision take beside the cached references.

More of them leave less memory for references. Reading these again takes little of the time of an
exposure that is so large.
"""


@dataclass(frozen=True)
class RowBytes:
    """Memory of one row of an exposure's frame, in bytes.

    Attributes
    ----------
    inputs : int
        The row's pixels in the input, as held in memory.
    references : int
        The row's pixels in all references.
    scratch : int
        Fields alive at the peak besides inputs and products: intermediate fields, and the second
        copy while a step replaces a field.
    outputs : int
        The row's pixels in the products.
    """

    inputs: int = 0
    references: int = 0
    scratch: int = 0
    outputs: int = 0

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.inputs + self.references + self.scratch + self.outputs


@dataclass(frozen=True)
class TileBudget:
    """Memory of a tile of some models.

    Attributes
    ----------
    row : RowBytes
        Memory of one row.
    rows, halo : int
        Height of the tallest tile, and number of rows of its neighbours that are read on either
        side, which is 0 with a single tile.
    tiles : int
        Number of tiles.
    kept : int
        Memory of the tiles that a process keeps until a decision has been made, in bytes.
    decisions : int
        Memory of the contributions to decisions, and of combining them. Arrays of kept tiles that
        contributions hold are not counted again.
    reductions : int
        Memory that other reductions declare for gathering, combining and returning values.
    is_held : bool
        True if contributions to a decision hold arrays of the tiles.
    """

    row: RowBytes
    rows: int
    halo: int
    tiles: int
    kept: int = 0
    decisions: int = 0
    reductions: int = 0
    is_held: bool = False

    @property
    def bytes(self) -> int:
        """Memory of the tallest tile."""
        return self.row.total * (self.rows + 2 * self.halo)

    @property
    def waiting(self) -> int:
        """Memory of tiles and contributions until decisions have been made."""
        return self.kept + self.decisions

    def limit_references(self, limit: int) -> int:
        """Return how many of ``limit`` bytes cached references may take beside everything else.

        Values of the frame take what they need beyond a tile, none of which is in memory until they
        are known. Arrays that a decision holds are used all the time, so that they take all of
        their memory from the references.
        """
        beside = 0 if self.is_held else BESIDE_REFERENCES
        values = max(0, self.reductions - self.bytes)
        return max(0, limit - values - max(0, self.waiting - beside))


def tile_budget(models: Sequence[LazyArrays]) -> TileBudget:
    """Return the memory of a tile when models that share a plan are saved together.

    As in saving, this determines the tile edges of their frame.
    """
    row = row_bytes(models)
    sources = {node.source for model in models if (node := model._content.node) is not None}
    heights = [b - a for s in sources for a, b in pairwise(tile_edges(s, row.total))]
    tips = _tips(models)
    branches = find_branches(tips)
    halo = max(branches.halo.values(), default=0) if len(heights) > 1 else 0
    reductions = find_reductions(tips)
    kept = [_kept_bytes(n, branches, size) for n, size in kept_rows(models).items()]
    decisions = [reduction for reduction in reductions if reduction.spec.is_decision]
    return TileBudget(
        row,
        max(heights, default=0),
        halo,
        len(heights),
        kept=max(kept, default=0),  # these tiles are released while the next decision's are made
        decisions=sum(r.spec.frame_bytes for r in decisions) + _held_bytes(decisions, models),
        reductions=sum(r.spec.frame_bytes for r in reductions if not r.spec.is_decision),
        is_held=any(decision.spec.holds for decision in decisions),
    )


def _kept_bytes(node: PlanNode, branches: Branches, row: int) -> int:
    halo, frame = branches.halo[node], node.source.pixels.frame
    kept = choose_kept_tiles(node.source, halo, row)
    cores = zip(tile_cores(node.source), kept, strict=True)
    return row * sum(core.grow(halo, frame).shape[0] for core, is_kept in cores if is_kept)


def _held_bytes(decisions: Sequence[Reduction], models: Sequence[LazyArrays]) -> int:
    """Return the memory of the fields that contributions hold of tiles that are not kept."""
    decisions = [decision for decision in decisions if decision.spec.holds]
    if not decisions:
        return 0
    walk = _walk(models)
    total = 0
    for decision in decisions:
        node, alive = decision.parent, walk.states[decision.parent].alive
        cores = tile_cores(node.source)
        kept = [False] * len(cores)
        if node in walk.branches.waiting:
            kept = choose_kept_tiles(node.source, walk.branches.halo[node], sum(alive.values()))
        rows = sum(core.shape[0] for core, is_kept in zip(cores, kept, strict=True) if not is_kept)
        total += rows * sum(alive[name] for name in decision.spec.holds)
    return total


def limit_reference_cache(models: Sequence[LazyArrays]) -> dict[str, int]:
    """Return the limit of cached references while models are saved, as dask's configuration.

    See `TileBudget.limit_references`. Empty if the limit stays.
    """
    limit = dask.config.get(reference_cache.SETTING, None)
    if not limit or not find_reductions(_tips(models)):
        return {}
    left = tile_budget(models).limit_references(limit)
    return {} if left == limit else {reference_cache.SETTING: left}


def row_bytes(models: Sequence[LazyArrays]) -> RowBytes:
    """Return the memory of a row when models that share a plan are saved together.

    If the models' frames differ, the widest frame determines the result.
    """
    walk = _walk(models)
    for product, model in enumerate(models):
        walk.add_product(product, model)
    return walk.row()


def kept_rows(models: Sequence[LazyArrays]) -> dict[PlanNode, int]:
    """Return the memory that a row takes while its tile waits for a decision, by node."""
    walk = _walk(models)
    return {node: sum(walk.states[node].alive.values()) for node in walk.branches.waiting}


def _walk(models: Sequence[LazyArrays]) -> "_PlanWalk":
    tips = _tips(models)
    branches = find_branches(tips)
    walk = _PlanWalk(branches, set(tips))
    for model in models:
        for placed in model._content.on_grid.values():
            walk.shapes.setdefault(placed.key, placed.shape)
    gathered: dict[PlanNode, list[str]] = {}
    for decision in find_decisions(tips):
        gathered.setdefault(decision.parent, []).extend(decision.spec.gather.inputs)
    for node in reversed(branches.order):
        walk.visit(node)
        walk.load(gathered.get(node, []), node)
    return walk


def _tips(models: Sequence[LazyArrays]) -> list[PlanNode]:
    return [model._content.node for model in models if model._content.node is not None]


@dataclass
class _PlanWalk:
    """Visits the nodes of plans in order, summing up the fields that are read and alive.

    Attributes
    ----------
    branches : Branches
        The nodes, and the uses of their tiles.
    written : set of PlanNode
        The nodes whose tiles are written. The operation after one of them overwrites nothing.
    """

    branches: Branches
    written: set[PlanNode]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    columns: int = 0
    states: dict[PlanNode, "_LiveFields"] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    products: dict[tuple[int, str], int] = field(default_factory=dict)
    references: int = 0
    peak: int = 0

    def visit(self, node: PlanNode) -> None:
        """Account for the fields that a node reads and makes."""
        state = _LiveFields() if node.parent is None else self.states[node.parent].copy()
        self.states[node] = state
        if isinstance(node, SourceNode):
            self.columns = max(self.columns, node.pixels.frame[1])
            state.readers.update(node.pixels.readers)
        elif isinstance(node, AssignNode):
            state.alive[node.name] = _row(node.array.shape, node.array.dtype)
        elif isinstance(node, OperationNode) and isinstance(node.op, ReplaceField):
            state.alive.pop(node.op.name, None)
            state.held.discard(node.op.name)
            state.readers[node.op.name] = node.op.reader
        elif isinstance(node, OperationNode) and isinstance(node.op, KernelCall):
            self._call(node.op, state, node.parent)
        if not isinstance(node, SourceNode) and (self.branches.is_shared(node) or node.layers):
            state.held = state.alive.keys() | state.readers.keys()

    def _is_overwritten(
        self, call: KernelCall, state: "_LiveFields", before: PlanNode | None
    ) -> bool:
        is_own = isinstance(before, OperationNode) and before not in self.written
        return call.overwrites and is_own and call.inputs[0] not in state.held

    def load(self, names: Sequence[str], node: PlanNode) -> None:
        """Account for fields that a decision reads from a node's tiles."""
        for name in names:
            self._load(name, self.states[node])
        self._reach(self.states[node])

    def _call(self, call: KernelCall, state: "_LiveFields", before: PlanNode | None) -> None:
        for name in call.inputs:
            self._load(name, state)
        readers = [v for v in call.arguments.values() if isinstance(v, Reader)]
        self.references += sum(_of_frame(r, self.columns) for r in readers)
        outputs = {n: self._output_size(n, dtype) for n, dtype in call.outputs.items()}
        over = outputs[call.inputs[0]] if self._is_overwritten(call, state, before) else 0
        self._reach(state, sum(outputs.values()) - over)
        if not call.keep:
            state.alive.clear()
            state.readers.clear()
        state.held -= outputs.keys()
        for name, size in outputs.items():
            state.readers.pop(name, None)
            state.alive[name] = size

    def _load(self, name: str, state: "_LiveFields") -> None:
        reader = state.readers.pop(name, None)
        if reader is None:
            return
        self.shapes[name] = reader.shape
        state.alive[name] = size = _of_frame(reader, self.columns)
        if not isinstance(reader, ConstantReader):
            self.inputs[name] = size

    def _output_size(self, name: str, dtype: np.dtype[np.generic]) -> int:
        return _row(self.shapes.get(name, (1, self.columns)), dtype)

    def _reach(self, state: "_LiveFields", more: int = 0) -> None:
        self.peak = max(self.peak, sum(state.alive.values()) + more)

    def add_product(self, product: int, model: LazyArrays) -> None:
        """Account for the fields of a model that are written to a product."""
        node = model._content.node
        if node is None:
            return
        state = self.states[node]
        for placed in model._content.on_grid.values():
            self._load(placed.key, state)
            self.products[product, placed.key] = state.alive[placed.key]
        self._reach(state)

    def row(self) -> RowBytes:
        """Return the memory of a row."""
        inputs, outputs = sum(self.inputs.values()), sum(self.products.values())
        return RowBytes(inputs, self.references, max(0, self.peak - inputs - outputs), outputs)


@dataclass
class _LiveFields:
    """The fields in memory after a node of a plan, and the readers of fields not yet read.

    Attributes
    ----------
    alive : dict
        The bytes of a row of each field in memory.
    readers : dict
        The readers.
    held : set of str
        The fields whose arrays an earlier node's tiles have, or will have when one of its branches
        reads them. They are not overwritten.
    """

    alive: dict[str, int] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)

    def copy(self) -> "_LiveFields":
        return _LiveFields(dict(self.alive), dict(self.readers), set(self.held))


def _row(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    return math.prod(shape[:-2]) * shape[-1] * np.dtype(dtype).itemsize


def _of_frame(reader: Reader, columns: int) -> int:
    return math.prod(reader.shape[:-2]) * columns * reader.dtype.itemsize
