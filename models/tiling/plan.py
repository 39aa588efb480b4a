"""Calibration plans: the operations on an exposure's tiles, as plain objects without dask.

A model holds the tip of a plan: a chain of nodes that ends at a source of pixels. Nothing is read
until `calbatch.models.tiling.graphs` builds a graph from the tip. Every operation is local up to a
declared radius, so a plan can be evaluated on any region of the frame: on each tile, with the sum
of the chain's radii as its halo, or on the reference pixels alone for a reduction.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np

from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import Reader
from calbatch.models.tiling.portable import make_portable
from calbatch.models.tiling.tile import (
    CORE,
    INDEPENDENT_READS,
    MAY_OVERWRITE,
    REGION,
    Array,
    Region,
    RegionReads,
    Tile,
)

__all__ = [
    "CORE", "MAY_OVERWRITE", "REGION", "AssignNode", "KernelCall", "Operation", "OperationNode",
    "PlanNode", "Reduction", "ReductionSpec", "Region", "ReplaceField", "SourceNode",
    "SourcePixels", "ValueSlot", "apply_operations", "build_call",
]  # fmt: skip


class Operation(Protocol):
    """An operation on a tile."""

    @property
    def label(self) -> str:
        """The name used in timings and on the dashboard."""
        ...

    @property
    def radius(self) -> int:
        """The number of neighbouring rows and columns that a pixel depends on."""
        ...

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        """Return the resulting tile; ``values`` holds the values of reductions by key."""
        ...


_label: ContextVar[str] = ContextVar("label", default="")


@contextmanager
def label_operations(label: str) -> Iterator[None]:
    """Label the operations that are added to any plan within the block, as with a step's name.

    Labels are the names in timings, on the dashboard and in messages. Elsewhere, an operation is
    labelled by its kernel's name.
    """
    token = _label.set(label)
    try:
        yield
    finally:
        _label.reset(token)


@dataclass(frozen=True)
class ValueSlot:
    """Placeholder for a reduction's value in a call's arguments, so that a call pickles small."""

    key: str


@dataclass(frozen=True, kw_only=True)
class KernelCall:
    """A kernel and the fields and arguments it is called with.

    Attributes
    ----------
    kernel : callable
        The function.
    inputs : tuple of str
        The fields it reads.
    outputs : mapping
        The fields it returns, and their types.
    arguments : mapping
        Keyword arguments: plain values, readers, `REGION`, `CORE`, `MAY_OVERWRITE`, or slots for
        the values of reductions.
    radius : int
        The number of neighbouring rows and columns that a pixel depends on.
    row_counts : tuple of str
        Names of the counts that it returns after its outputs.
    keep : bool
        True if the tile keeps its other fields.
    label : str
        The name used in timings and on the dashboard.
    described : str
        The name used in messages: the label, and that of the kernel.
    alone : mapping
        Cheaper calls that return one of the outputs.
    """

    kernel: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: Mapping[str, np.dtype[Any]]
    arguments: Mapping[str, Any]
    radius: int = 0
    row_counts: tuple[str, ...] = ()
    keep: bool = True
    label: str = ""
    described: str = ""
    alone: "Mapping[str, KernelCall]" = field(default_factory=dict)

    @property
    def overwrites(self) -> bool:
        """True if it writes a result over its first field where nothing else needs that array."""
        is_asked = any(value is MAY_OVERWRITE for value in self.arguments.values())
        return is_asked and any(name in self.outputs for name in self.inputs[:1])

    def run_kernel(self, tile: Tile, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Run the kernel on the tile's arrays and return its results as a tuple."""
        # Arguments first: the list of arrays would be another reference to them.
        arguments = {k: self._argument(v, tile, values) for k, v in self.arguments.items()}
        arrays = [tile.load(name) for name in self.inputs]
        results = self.kernel(*arrays, **arguments)
        return results if isinstance(results, tuple) else (results,)

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        """Return the tile with the kernel's outputs in place of its fields."""
        results = self.run_kernel(tile, values)
        if len(results) != len(self.outputs) + len(self.row_counts):
            expected = (*self.outputs, *self.row_counts)
            raise ModelError(f"{self.described} returned {len(results)} arrays, not {expected}")
        arrays = dict(tile.arrays) if self.keep else {}
        for (name, dtype), array in zip(self.outputs.items(), results, strict=False):
            arrays[name] = self._check_output(name, dtype, array, tile.region)
        rows, _ = tile.core.within(tile.region)
        counted = results[len(self.outputs) :]
        counts = {n: np.asarray(c)[rows] for n, c in zip(self.row_counts, counted, strict=True)}
        return replace(tile, arrays=arrays, counts={**tile.counts, **counts})

    def _argument(self, value: Any, tile: Tile, values: Mapping[str, Any]) -> Any:
        if isinstance(value, ValueSlot):
            return values[value.key]
        if value is REGION:
            return tile.region
        if value is CORE:
            return tile.core
        if value is MAY_OVERWRITE:
            return self.overwrites and tile.may_overwrite(self.inputs[0])
        if not isinstance(value, np.ndarray) and isinstance(value, Reader):
            return tile.reads.read_shared(value, tile.region)
        return value

    def _check_output(self, name: str, dtype: np.dtype[Any], array: Array, region: Region) -> Array:
        if array.shape[-2:] != region.shape:
            what = f"{self.described} returned {name} of shape {array.shape}"
            raise ModelError(f"{what}, not (…, {region.shape[0]}, {region.shape[1]})")
        return array.astype(dtype, copy=False)


@dataclass(frozen=True)
class ReplaceField:
    """Replace a field with the pixels of a reader."""

    name: str
    reader: Reader
    label: str = field(default_factory=lambda: _label.get() or "assign")
    radius: int = 0

    def apply(self, tile: Tile, values: Mapping[str, Any]) -> Tile:
        """Return the tile with the field to be read from the reader."""
        return replace(tile, arrays={**tile.arrays, self.name: self.reader})


class PlanNode:
    """A point of a plan: the state of an exposure's fields after some operations."""

    def __init__(self, parent: "PlanNode | None") -> None:
        self.parent = parent
        self.layers: dict[int, Any] = {}  # of tasks, built so far, by halo; views share them

    @property
    def source(self) -> "SourceNode":
        """The source at the plan's end."""
        return next(n for n in self.ancestry() if isinstance(n, SourceNode))

    def ancestry(self) -> "Iterator[PlanNode]":
        """Yield this node, its parent, and so on to the source."""
        node: PlanNode | None = self
        while node is not None:
            yield node
            node = node.parent


@dataclass(frozen=True)
class SourcePixels:
    """The pixels of a source: one reader per field, all with the frame's rows and columns."""

    readers: Mapping[str, Reader]
    frame: tuple[int, int]

    def tile(self, core: Region, halo: int, reads: RegionReads = INDEPENDENT_READS) -> Tile:
        """Return the tile of a region; its arrays are read on first use."""
        return Tile(core.grow(halo, self.frame), core, dict(self.readers), reads=reads)


class SourceNode(PlanNode):
    """The end of a plan: pixels, and the row boundaries of their tiles."""

    def __init__(self, readers: Mapping[str, Reader], frame: tuple[int, int]) -> None:
        super().__init__(None)
        self.pixels = SourcePixels(dict(readers), frame)
        self.edges: tuple[int, ...] | None = None  # set when a graph first needs them


class OperationNode(PlanNode):
    """An operation that can be evaluated on any region."""

    def __init__(
        self, parent: PlanNode, op: Operation, reductions: "Sequence[Reduction]" = ()
    ) -> None:
        super().__init__(parent)
        self.op = op
        self.reductions = tuple(reductions)


class AssignNode(PlanNode):
    """A field set to a dask array: available on whole tiles only, without halo."""

    def __init__(self, parent: PlanNode, name: str, array: Any) -> None:
        super().__init__(parent)
        self.name = name
        self.array = array


@dataclass(frozen=True)
class ReductionSpec:
    """Definition of a reduction: gather from regions of the frame in turn, then combine once.

    A decision is a reduction that gathers its contributions from the tiles themselves; its value
    does not depend on how the frame is cut into tiles.

    Parameters
    ----------
    gather : KernelCall
        Run on each region; ``combine`` receives its results unchanged.
    combine : callable
        Takes the list of gathered results, in the order of ``regions``, or an iterator of them.
    regions : tuple of Region, ValueSlot, or None
        The regions to gather from; a slot stands for a reduction that computes them. None for a
        decision, which gathers from every tile, from top to bottom.
    until : callable, optional
        Takes the list gathered so far; gathering stops when it returns True.
    frame_bytes : int
        The memory that all gathered results, their combination and the value take.
    holds : tuple of str
        The fields of the tiles whose arrays contributions to a decision hold.
    in_turn : bool
        True if ``combine`` takes an iterator, which gathers from a region when its result is asked
        for.
    """

    gather: KernelCall
    combine: Callable[[Any], Any]
    regions: tuple[Region, ...] | ValueSlot | None
    until: Callable[[list[Any]], bool] | None = None
    frame_bytes: int = 0
    holds: tuple[str, ...] = ()
    in_turn: bool = False

    @property
    def is_decision(self) -> bool:
        """True if it gathers contributions from the tiles."""
        return self.regions is None

    def resolve_regions(self, values: Mapping[str, Any]) -> tuple[Region, ...]:
        """Return the regions to gather from."""
        if isinstance(self.regions, ValueSlot):
            regions: tuple[Region, ...] = values[self.regions.key]
            return regions
        return self.regions or ()

    def gather_from(self, tile: Tile, values: Mapping[str, Any]) -> Any:
        """Return the kernel's results for one region, or a tile's contribution to a decision."""
        results = self.gather.run_kernel(tile, values)
        return results if len(results) > 1 else results[0]

    def compute(self, tile_of: Callable[[Region], Tile], values: Mapping[str, Any]) -> Any:
        """Return the value of a reduction whose regions are known."""
        results = (self.gather_from(tile_of(r), values) for r in self.resolve_regions(values))
        if self.in_turn:
            return self.combine(results)
        gathered: list[Any] = []
        for result in results:
            gathered.append(result)
            if self.until is not None and self.until(gathered):
                break
        return self.combine(gathered)


class Reduction:
    """A value of the whole frame, computed once per exposure from the fields at a node."""

    def __init__(
        self, parent: PlanNode, spec: ReductionSpec, reductions: "Sequence[Reduction]" = ()
    ) -> None:
        self.parent, self.spec, self.reductions = parent, spec, tuple(reductions)
        self.key = uuid4().hex
        self.layer: Any = None  # of the task that computes it, once something needs it


_known_parameters: WeakKeyDictionary[Any, tuple[inspect.Parameter, ...]] = WeakKeyDictionary()


def _parameters_of(kernel: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """Return the parameters of a kernel; those of a function are remembered while it exists."""
    known = _known_parameters.get(kernel) if isinstance(kernel, FunctionType) else None
    if known is None:
        known = tuple(inspect.signature(kernel).parameters.values())
        if isinstance(kernel, FunctionType):
            _known_parameters[kernel] = known
    return known


def build_call(
    kernel: Callable[..., Any],
    dtypes: Mapping[str, np.dtype[Any]],
    arguments: Mapping[str, Any],
    *,
    optional: Sequence[str] = (),
    **options: Any,
) -> tuple[KernelCall, tuple[Reduction, ...]]:
    """Return the call of a kernel whose positional parameters name the fields it reads.

    Parameters with a default are fields that it reads only if they are among ``optional``.

    Returns
    -------
    KernelCall
        The call; its arguments have slots in place of reductions.
    tuple of Reduction
        The reductions among the arguments.

    Raises
    ------
    ModelError
        If the arguments do not match the kernel's keyword parameters, or ``optional`` does not
        match its positional parameters with a default.
    """
    parameters = _parameters_of(kernel)
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    required = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    # a partial function has no name
    name, label = getattr(kernel, "__name__", type(kernel).__name__), _label.get()
    described = f"{label}: {name}" if label else name
    if not required <= arguments.keys() <= known:
        raise ModelError(f"{described} takes arguments {sorted(known)}, got {sorted(arguments)}")
    fields = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    omissible = [p.name for p in fields if p.default is not p.empty]
    if list(optional) != omissible[: len(optional)]:
        raise ModelError(f"{described} takes optional fields {omissible}, got {list(optional)}")
    reductions = tuple(v for v in arguments.values() if isinstance(v, Reduction))
    call = KernelCall(
        kernel=make_portable(kernel),
        inputs=(*(p.name for p in fields if p.default is p.empty), *optional),
        outputs=dict(dtypes),
        arguments={
            name: ValueSlot(value.key) if isinstance(value, Reduction) else value
            for name, value in arguments.items()
        },
        label=label or name,
        described=described,
        **options,
    )
    return call, reductions


def apply_operations(
    operations: Sequence[Operation], tile: Tile, values: Mapping[str, Any]
) -> Tile:
    """Apply operations to a tile in turn, timing each by its label."""
    seconds = dict(tile.seconds)
    for op in operations:
        start = time.thread_time()
        is_new = isinstance(op, (KernelCall, ReplaceField))  # others may keep the tile
        tile = replace(op.apply(tile, values), is_own=is_new)
        seconds[op.label] = seconds.get(op.label, 0.0) + time.thread_time() - start
    return replace(tile, seconds=seconds, is_own=False)
