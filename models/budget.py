"""What calibrating a tile costs in memory, told from the plan before anything is read.

The budget of a tile is what its rows take of the fields that are alive at the dearest moment, and
of all references. These are read one after the other, but the gaps that they leave in a process's
memory are mostly too small for the fields that are made next.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from calbatch.models.arrays import LazyArrays
from calbatch.models.fits.readers import ConstantReader, Reader
from calbatch.models.tiling.plan import (
    AssignNode,
    KernelCall,
    OperationNode,
    PlanNode,
    ReplaceField,
    SourceNode,
)
from calbatch.models.tiling.tile_edges import tile_edges


@dataclass(frozen=True)
class RowBytes:
    """What one row of an exposure's frame costs, in bytes.

    Attributes
    ----------
    inputs : int
        Its pixels in the input, as they are held in memory.
    references : int
        Its pixels in all references.
    scratch : int
        What is alive besides input and products at the dearest moment: fields that exist on the
        way only, and the second copy while a step replaces some.
    outputs : int
        Its pixels in the products.
    """

    inputs: int = 0
    references: int = 0
    scratch: int = 0
    outputs: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.inputs + self.references + self.scratch + self.outputs


@dataclass(frozen=True)
class TileBudget:
    """What a tile of some models costs.

    Attributes
    ----------
    row : RowBytes
        One row.
    rows, halo : int
        The height of the highest tile, and its neighbours' rows that are read on either side;
        none where there is a single tile.
    tiles : int
        How many there are.
    """

    row: RowBytes
    rows: int
    halo: int
    tiles: int

    @property
    def bytes(self) -> int:
        """The budget of the highest tile."""
        return self.row.total * (self.rows + 2 * self.halo)


def tile_budget(models: Sequence[LazyArrays]) -> TileBudget:
    """Return what a tile costs when models that share a plan are saved together.

    It fixes how their frame is cut into tiles, as saving them would.
    """
    row = row_bytes(models)
    sources = {node.source for model in models if (node := model._content.node) is not None}
    heights = [b - a for s in sources for a, b in pairwise(tile_edges(s, row.total))]
    halo = _halo(models) if len(heights) > 1 else 0
    return TileBudget(row, max(heights, default=0), halo, len(heights))


def row_bytes(models: Sequence[LazyArrays]) -> RowBytes:
    """Return what a row costs when models that share a plan are saved together.

    Their arrays must be on one frame; where they are not, the widest counts.
    """
    walk = _PlanWalk()
    for model in models:
        for placed in model._content.on_grid.values():
            walk.shapes.setdefault(placed.key, placed.shape)
    for node in _in_order(models):
        walk.visit(node)
    for product, model in enumerate(models):
        walk.give(product, model)
    return walk.row()


def _in_order(models: Sequence[LazyArrays]) -> list[PlanNode]:
    """Return every node of the models' plans once, each after its parent."""
    order: dict[PlanNode, None] = {}
    for model in models:
        if model._content.node is not None:
            order.update(dict.fromkeys(reversed(list(model._content.node.ancestry()))))
    return list(order)


def _halo(models: Sequence[LazyArrays]) -> int:
    """Return the largest sum of radii between a source, or an assigned array, and a product."""
    deepest, halo = 0, dict[PlanNode, int]()
    for node in _in_order(models):
        above = halo.get(node.parent, 0) if node.parent is not None else 0
        halo[node] = above + node.op.radius if isinstance(node, OperationNode) else 0
        deepest = max(deepest, halo[node])
    return deepest


@dataclass
class _PlanWalk:
    """Follows plans from their source, adding up the fields that they touch and that are alive."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    columns: int = 0
    states: dict[PlanNode, "_LiveFields"] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    products: dict[tuple[int, str], int] = field(default_factory=dict)
    references: int = 0
    peak: int = 0

    def visit(self, node: PlanNode) -> None:
        """Take in what a node reads and makes."""
        state = _LiveFields() if node.parent is None else self.states[node.parent].copy()
        self.states[node] = state
        if isinstance(node, SourceNode):
            self.columns = max(self.columns, node.pixels.frame[1])
            state.readers.update(node.pixels.readers)
        elif isinstance(node, AssignNode):
            state.alive[node.name] = _row(node.array.shape, node.array.dtype)
        elif isinstance(node, OperationNode) and isinstance(node.op, ReplaceField):
            state.alive.pop(node.op.name, None)
            state.readers[node.op.name] = node.op.reader
        elif isinstance(node, OperationNode) and isinstance(node.op, KernelCall):
            self._call(node.op, state)

    def _call(self, call: KernelCall, state: "_LiveFields") -> None:
        for name in call.inputs:
            self._load(name, state)
        readers = [v for v in call.arguments.values() if isinstance(v, Reader)]
        self.references += sum(_of_frame(r, self.columns) for r in readers)
        made = {n: self._made(n, dtype) for n, dtype in call.outputs.items()}
        self._reach(state, sum(made.values()))
        if not call.keep:
            state.alive.clear()
            state.readers.clear()
        for name, size in made.items():
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

    def _made(self, name: str, dtype: np.dtype[np.generic]) -> int:
        return _row(self.shapes.get(name, (1, self.columns)), dtype)

    def _reach(self, state: "_LiveFields", more: int = 0) -> None:
        self.peak = max(self.peak, sum(state.alive.values()) + more)

    def give(self, product: int, model: LazyArrays) -> None:
        """Take in that a model's fields are written to a product."""
        node = model._content.node
        if node is None:
            return
        state = self.states[node]
        for placed in model._content.on_grid.values():
            self._load(placed.key, state)
            self.products[product, placed.key] = state.alive[placed.key]
        self._reach(state)

    def row(self) -> RowBytes:
        """Return the sums."""
        inputs, outputs = sum(self.inputs.values()), sum(self.products.values())
        return RowBytes(inputs, self.references, max(0, self.peak - inputs - outputs), outputs)


@dataclass
class _LiveFields:
    """What of a plan's fields is in memory after a node, and what is still to be read."""

    alive: dict[str, int] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)

    def copy(self) -> "_LiveFields":
        return _LiveFields(dict(self.alive), dict(self.readers))


def _row(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    return math.prod(shape[:-2]) * shape[-1] * np.dtype(dtype).itemsize


def _of_frame(reader: Reader, columns: int) -> int:
    return math.prod(reader.shape[:-2]) * columns * reader.dtype.itemsize
