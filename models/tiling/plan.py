"""Plans: what is to be done to an exposure's tiles, as plain objects without dask.

A model holds the tip of a plan: a chain of nodes that ends at a source of pixels. Nothing is read
until `calbatch.models.tiling.graphs` builds a graph from the tip. Because every operation is local
up to a declared radius, a plan can be evaluated on any region of the frame: on each tile, with as
many halo rows as the chain adds up to, or on just the reference pixels for a reduction.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import Bounds, Reader
from calbatch.models.tiling.portable import portable
from calbatch.models.tiling.reference_cache import shared_beside

Array = npt.NDArray[Any]


class Region(NamedTuple):
    """A rectangle of the frame: half-open ranges of file rows and columns."""

    rows: tuple[int, int]
    cols: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Return (rows, columns)."""
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]

    def grown(self, radius: int, frame: tuple[int, int]) -> "Region":
        """Return the region with ``radius`` more pixels on every side, cut at the frame's edges."""
        (top, bottom), (left, right) = self
        return Region(
            (max(0, top - radius), min(frame[0], bottom + radius)),
            (max(0, left - radius), min(frame[1], right + radius)),
        )

    def within(self, outer: "Region") -> tuple[slice, slice]:
        """Return the slices that cut this region out of an array that covers ``outer``."""
        (top, bottom), (left, right) = self
        row0, col0 = outer.rows[0], outer.cols[0]
        return slice(top - row0, bottom - row0), slice(left - col0, right - col0)


class _Here:
    """The type of `REGION`."""

    def __reduce__(self) -> str:
        return "REGION"


REGION = _Here()
"""As a kernel's argument: the kernel receives the `Region` that its arrays cover."""


class Reads:
    """How the tiles of some regions get what they read: regions of the same rows in one pass.

    Rows lie in files as a whole, so that columns at both edges cost as much as everything between.

    Parameters
    ----------
    regions : sequence of Region
        Those that will be read, one after the other; by default none is known.
    """

    def __init__(self, regions: "Sequence[Region]" = ()) -> None:
        beside: dict[Bounds, dict[Bounds, None]] = {}
        for rows, cols in regions:
            beside.setdefault(rows, {})[cols] = None
        self._beside = {rows: list(cols) for rows, cols in beside.items() if len(cols) > 1}
        self._waiting: dict[tuple[Any, Reader, Region], Array] = {}

    def own(self, reader: Reader, region: Region) -> Array:
        """Return a region of a reader; nobody else has the array."""
        return self._read(Reader.read_beside, reader, region)

    def shared(self, reader: Reader, region: Region) -> Array:
        """Return a region of a reader, read-only; see `calbatch.models.tiling.reference_cache`."""
        return self._read(shared_beside, reader, region)

    def _read(
        self,
        read: Callable[[Reader, Bounds, Sequence[Bounds]], list[Array]],
        reader: Reader,
        region: Region,
    ) -> Array:
        rows, cols = region
        together = self._beside.get(rows, ())
        if cols not in together:
            (array,) = read(reader, rows, [cols])
            return array
        if (read, reader, region) not in self._waiting:
            arrays = read(reader, rows, together)
            for each, array in zip(together, arrays, strict=True):
                self._waiting[read, reader, Region(rows, each)] = array
        return self._waiting.pop((read, reader, region))


_ALONE = Reads()
"""For tiles: no other region has their rows."""


@dataclass(frozen=True)
class Tile:
    """One region of an exposure, with its arrays, its own rows (``core``) and what it counted."""

    region: Region
    core: Region
    arrays: Mapping[str, Array | Reader]
    counts: Mapping[str, Array] = field(default_factory=dict)
    receipts: tuple[Any, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    reads: Reads = _ALONE

    def load(self, name: str) -> Array:
        """Return a field over the whole region, reading it on first use."""
        value = self.arrays[name]
        if isinstance(value, np.ndarray):
            return value
        loaded = self.reads.own(value, self.region)
        self.arrays[name] = loaded  # type: ignore[index]  # a cache: each tile owns its dict
        return loaded

    def own(self, name: str) -> Array:
        """Return a field's own rows: a view without the halo."""
        rows, cols = self.core.within(self.region)
        return self.load(name)[..., rows, cols]

    def cropped(self) -> "Tile":
        """Return the tile without its halo."""
        if self.region == self.core:
            return self
        return replace(self, region=self.core, arrays={n: self.own(n) for n in self.arrays})


class Op(Protocol):
    """One thing done to a tile."""

    @property
    def label(self) -> str:
        """What timings and the dashboard call it."""
        ...

    @property
    def radius(self) -> int:
        """How many rows and columns away it looks."""
        ...

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        """Return the tile after it; ``values`` holds the reductions' results by key."""
        ...


@dataclass(frozen=True)
class Slot:
    """Stands in a call's arguments for a reduction's value, so that a call pickles small."""

    key: str


@dataclass(frozen=True)
class Call:
    """A kernel, the fields it reads and writes, and its arguments."""

    kernel: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: Mapping[str, np.dtype[Any]]
    arguments: Mapping[str, Any]
    radius: int = 0
    row_counts: tuple[str, ...] = ()
    keep: bool = True
    label: str = ""
    alone: "Mapping[str, Call]" = field(default_factory=dict)  # that give one output from less

    def results(self, tile: Tile, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Run the kernel on the tile's arrays and return what it gives, as a tuple."""
        arrays = [tile.load(name) for name in self.inputs]
        arguments = {k: _argument(v, tile, values) for k, v in self.arguments.items()}
        found = self.kernel(*arrays, **arguments)
        return found if isinstance(found, tuple) else (found,)

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        """Return the tile with the kernel's outputs in place of its fields."""
        found = self.results(tile, values)
        if len(found) != len(self.outputs) + len(self.row_counts):
            wanted = (*self.outputs, *self.row_counts)
            raise ModelError(f"{self.label}: returned {len(found)} arrays, not {wanted}")
        arrays = dict(tile.arrays) if self.keep else {}
        for (name, dtype), array in zip(self.outputs.items(), found, strict=False):
            arrays[name] = self._checked(name, dtype, array, tile.region)
        rows, _ = tile.core.within(tile.region)
        counted = found[len(self.outputs) :]
        counts = {n: np.asarray(c)[rows] for n, c in zip(self.row_counts, counted, strict=True)}
        return replace(tile, arrays=arrays, counts={**tile.counts, **counts})

    def _checked(self, name: str, dtype: np.dtype[Any], array: Array, region: Region) -> Array:
        if array.shape[-2:] != region.shape:
            raise ModelError(
                f"{self.label}: {name} came back as {array.shape}, not (…, {region.shape[0]}, "
                f"{region.shape[1]})"
            )
        return array.astype(dtype, copy=False)


def _argument(value: Any, tile: Tile, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Slot):
        return values[value.key]
    if value is REGION:
        return tile.region
    if not isinstance(value, np.ndarray) and isinstance(value, Reader):
        return tile.reads.shared(value, tile.region)
    return value


@dataclass(frozen=True)
class Put:
    """Replace a field by what a reader yields."""

    name: str
    reader: Reader
    label: str = "assign"
    radius: int = 0

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        """Return the tile with the field to be read from the new place."""
        return replace(tile, arrays={**tile.arrays, self.name: self.reader})


class Node:
    """A point of a plan: the state of an exposure's fields after some operations."""

    def __init__(self, parent: "Node | None") -> None:
        self.parent = parent
        self.blocks: dict[int, Any] = {}  # dask arrays built so far, by halo: views share them

    @property
    def source(self) -> "Source":
        """Return the source at the plan's end."""
        return next(n for n in self.ancestry() if isinstance(n, Source))

    def ancestry(self) -> "Iterator[Node]":
        """Yield this node, its parent, and so on to the source."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


@dataclass(frozen=True)
class Pixels:
    """Where a source's pixels are: one reader a field, all with the frame's rows and columns."""

    readers: Mapping[str, Reader]
    frame: tuple[int, int]

    def tile(self, core: Region, halo: int, reads: Reads = _ALONE) -> Tile:
        """Return the tile of a region; its arrays are read when first used."""
        return Tile(core.grown(halo, self.frame), core, dict(self.readers), reads=reads)


class Source(Node):
    """The end of a plan: pixels, and how their frame is cut into tiles."""

    def __init__(self, readers: Mapping[str, Reader], frame: tuple[int, int]) -> None:
        super().__init__(None)
        self.pixels = Pixels(dict(readers), frame)
        self.edges: tuple[int, ...] | None = None  # tiles' row boundaries, once a graph needs them


class Step(Node):
    """An operation that can be evaluated on any region."""

    def __init__(self, parent: Node, op: Op, reductions: "Sequence[Reduction]" = ()) -> None:
        super().__init__(parent)
        self.op = op
        self.reductions = tuple(reductions)


class Assign(Node):
    """A field set to a dask array: known on whole tiles only, and without halo."""

    def __init__(self, parent: Node, name: str, array: Any) -> None:
        super().__init__(parent)
        self.name = name
        self.array = array


@dataclass(frozen=True)
class Look:
    """What a reduction does: gather from regions of the frame in turn, then combine once.

    Parameters
    ----------
    gather : Call
        Run on each region; what it returns is handed on as it is.
    combine : callable
        Takes the list of what was gathered, in the order of ``regions``.
    regions : tuple of Region, or Slot
        Where to look; a slot stands for a reduction whose value they are.
    until : callable, optional
        Given the list gathered so far: stop looking when it is true.
    """

    gather: Call
    combine: Callable[[list[Any]], Any]
    regions: tuple[Region, ...] | Slot
    until: Callable[[list[Any]], bool] | None = None

    def where(self, values: Mapping[str, Any]) -> tuple[Region, ...]:
        """Return the regions to look at."""
        return self.regions if isinstance(self.regions, tuple) else values[self.regions.key]

    def value(self, tile_of: Callable[[Region], Tile], values: Mapping[str, Any]) -> Any:
        """Return the combined value."""
        gathered: list[Any] = []
        for region in self.where(values):
            found = self.gather.results(tile_of(region), values)
            gathered.append(found if len(found) > 1 else found[0])
            if self.until is not None and self.until(gathered):
                break
        return self.combine(gathered)


class Reduction:
    """A value found over the frame before the tiles run, from the exposure's state at a node."""

    def __init__(self, parent: Node, look: Look, reductions: "Sequence[Reduction]" = ()) -> None:
        self.parent, self.look, self.reductions = parent, look, tuple(reductions)
        self.key = uuid4().hex
        self.delayed: Any = None  # the dask value, once a graph needs it


def call_of(
    kernel: Callable[..., Any],
    dtypes: Mapping[str, np.dtype[Any]],
    arguments: Mapping[str, Any],
    **options: Any,
) -> tuple[Call, tuple[Reduction, ...]]:
    """Return the call for a kernel whose positional parameters name the fields it reads.

    Raises
    ------
    ModelError
        When the kernel's keyword parameters and the arguments given do not match.
    """
    parameters = inspect.signature(kernel).parameters.values()
    inputs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    needed = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    label = options.pop("label", None) or kernel.__name__
    if not needed <= arguments.keys() <= known:
        raise ModelError(f"{label}: wants arguments {sorted(known)}, got {sorted(arguments)}")
    reductions = tuple(v for v in arguments.values() if isinstance(v, Reduction))
    slots = {k: Slot(v.key) if isinstance(v, Reduction) else v for k, v in arguments.items()}
    made = Call(portable(kernel), inputs, dict(dtypes), slots, label=label, **options)
    return made, reductions


def run(ops: Sequence[Op], tile: Tile, values: Mapping[str, Any]) -> Tile:
    """Apply operations to a tile in turn, timing each by its label."""
    seconds = dict(tile.seconds)
    for op in ops:
        start = time.thread_time()
        tile = op.apply(tile, values)
        seconds[op.label] = seconds.get(op.label, 0.0) + time.thread_time() - start
    return replace(tile, seconds=seconds)
