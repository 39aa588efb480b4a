"""What calibrating a tile costs in memory, told from the plan before anything is read.

The budget of a tile is what its rows take of everything the plan touches: the input's fields, the
references, the fields that are made on the way, and the products. Not all of it is alive at once,
which leaves room for what kernels need besides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from calbatch.models.arrays import LazyArrays
from calbatch.models.plan import Assign, Call, Node, Put, Source, Step
from calbatch.models.rows import Constant, Reader
from calbatch.models.tiling import edges_of


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
        Fields that exist on the way only, and the second copy while a step replaces some.
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
        The height of the highest tile, and its neighbours' rows that are read on either side.
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
    heights = [b - a for s in sources for a, b in pairwise(edges_of(s, row.total))]
    return TileBudget(row, max(heights, default=0), _halo(models), len(heights))


def row_bytes(models: Sequence[LazyArrays]) -> RowBytes:
    """Return what a row costs when models that share a plan are saved together.

    Their arrays must be on one frame; where they are not, the widest counts.
    """
    walk = _Walk()
    for model in models:
        for placed in model._content.placed.values():
            walk.shapes.setdefault(placed.key, placed.shape)
    for node in _in_order(models):
        walk.visit(node)
    for model in models:
        for placed in model._content.placed.values():
            walk.give(placed.key)
    return walk.row()


def _in_order(models: Sequence[LazyArrays]) -> list[Node]:
    """Return every node of the models' plans once, each after its parent."""
    order: dict[Node, None] = {}
    for model in models:
        if model._content.node is not None:
            order.update(dict.fromkeys(reversed(list(model._content.node.ancestry()))))
    return list(order)


def _halo(models: Sequence[LazyArrays]) -> int:
    """Return the largest sum of radii between a source, or an assigned array, and a product."""
    deepest, halo = 0, dict[Node, int]()
    for node in _in_order(models):
        above = halo.get(node.parent, 0) if node.parent is not None else 0
        halo[node] = above + node.op.radius if isinstance(node, Step) else 0
        deepest = max(deepest, halo[node])
    return deepest


@dataclass
class _Walk:
    """Follows a plan from its source, adding up the fields that it touches."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    columns: int = 0
    readers: dict[str, Reader] = field(default_factory=dict)  # not loaded yet
    made: dict[str, int] = field(default_factory=dict)
    products: dict[str, int] = field(default_factory=dict)
    inputs: int = 0
    references: int = 0
    copies: int = 0

    def visit(self, node: Node) -> None:
        """Take in what a node reads and makes."""
        if isinstance(node, Source):
            self.columns = max(self.columns, node.pixels.frame[1])
            self.readers.update(node.pixels.readers)
        elif isinstance(node, Assign):
            self.made[node.name] = _row(node.array.shape, node.array.dtype)
        elif isinstance(node, Step) and isinstance(node.op, Put):
            self.readers[node.op.name] = node.op.reader
        elif isinstance(node, Step) and isinstance(node.op, Call):
            self._call(node.op)

    def _call(self, call: Call) -> None:
        for name in call.inputs:
            self._load(name)
        readers = [v for v in call.arguments.values() if isinstance(v, Reader)]
        self.references += sum(_of_frame(r, self.columns) for r in readers)
        outputs = {n: self._made(n, dtype) for n, dtype in call.outputs.items()}
        self.copies = max(self.copies, sum(outputs.values()))
        for name, size in outputs.items():
            self.readers.pop(name, None)
            self.made[name] = max(size, self.made.get(name, 0))

    def _load(self, name: str) -> None:
        reader = self.readers.pop(name, None)
        if reader is None:
            return
        self.shapes[name] = reader.shape
        if isinstance(reader, Constant):
            self.made[name] = _of_frame(reader, self.columns)
        else:
            self.inputs += _of_frame(reader, self.columns)

    def _made(self, name: str, dtype: np.dtype[np.generic]) -> int:
        return _row(self.shapes.get(name, (1, self.columns)), dtype)

    def give(self, name: str) -> None:
        """Take in that a field is written to a product."""
        self._load(name)
        if name in self.made:
            self.products[name] = self.made[name]

    def row(self) -> RowBytes:
        """Return the sums."""
        made = self.made.items()
        on_the_way = sum(size for name, size in made if name not in self.products)
        scratch = on_the_way + self.copies
        return RowBytes(self.inputs, self.references, scratch, sum(self.products.values()))


def _row(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    return math.prod(shape[:-2]) * shape[-1] * np.dtype(dtype).itemsize


def _of_frame(reader: Reader, columns: int) -> int:
    return math.prod(reader.shape[:-2]) * columns * reader.dtype.itemsize
