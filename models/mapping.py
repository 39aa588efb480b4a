"""Applying kernels to the tiles of a model, and reducing its frame to values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np

from calbatch.models.arrays import GridField, LazyArrays
from calbatch.models.errors import ModelError
from calbatch.models.tiling.plan import (
    KernelCall,
    OperationNode,
    PlanNode,
    Reduction,
    ReductionSpec,
    ValueSlot,
    build_call,
)
from calbatch.models.tiling.portable import make_portable
from calbatch.models.tiling.tile import Region


class MappedArrays(LazyArrays):
    """Lazy arrays that kernels process tile by tile."""

    def map_tiles(
        self,
        kernel: Callable[..., Any],
        outputs: Sequence[str],
        *,
        radius: int = 0,
        row_counts: Sequence[str] = (),
        optional: Sequence[str] = (),
        alone: Mapping[str, Callable[..., Any]] | None = None,
        **arguments: Any,
    ) -> Self:
        """Return a model whose tiles a kernel will process.

        Parameters
        ----------
        kernel : callable
            A module-level function on NumPy arrays. Its positional parameters name the fields
            that it reads, each (…, rows, columns), those with a default only if ``optional``
            lists them; its keyword-only parameters are the ``arguments``. It returns the outputs
            in order, with the same rows and columns, and must not change its inputs, unless
            ``MAY_OVERWRITE`` allows it.
        outputs : sequence of str
            The fields that it returns.
        radius : int
            Number of neighbouring rows and columns that an output pixel depends on.
        row_counts : sequence of str
            Names of the integer arrays, with an entry per row, that it returns after the outputs.
        optional : sequence of str
            The fields to read for positional parameters with a default, in order.
        alone : mapping, optional
            Output name to a kernel that returns only that output and takes fewer fields and
            arguments. Reductions that need no other output run it instead.
        **arguments
            Plain values; readers (such as `rows` of another model), of which the kernel receives
            the tile's rows and columns; reductions, of which it receives the value;
            `calbatch.models.tiling.plan.REGION`, `CORE` or `MAY_OVERWRITE`.

        Raises
        ------
        ModelError
            If the kernel reads an absent field of unknown shape, or the given arguments and
            optional fields are not its parameters.
        """
        result = self._twin()
        content = result._content
        wanted = {name: result._output_field(name) for name in outputs}
        dtypes = {p.key: p.dtype for p in wanted.values()}
        options: dict[str, Any] = {"radius": radius, "row_counts": tuple(row_counts)}
        call, reductions = result._call(kernel, dtypes, arguments, optional=optional, **options)
        parts = {
            wanted[name].key: result._partial_call(smaller, wanted[name], arguments)
            for name, smaller in (alone or {}).items()
        }
        content.on_grid.update(wanted)
        call = replace(call, alone={**call.alone, **parts})
        content.node = OperationNode(cast("PlanNode", content.node), call, reductions)
        return result

    def _partial_call(
        self,
        kernel: Callable[..., Any],
        output: GridField,
        arguments: Mapping[str, Any],
    ) -> KernelCall:
        """Return the call of a kernel for a single output, with the arguments that it accepts."""
        known = inspect.signature(kernel).parameters
        fewer = {name: value for name, value in arguments.items() if name in known}
        part, _ = self._call(kernel, {output.key: output.dtype}, fewer)
        return part

    def map_tiles_into(
        self,
        models: Mapping[str, type[Any]],
        kernel: Callable[..., Any],
        outputs: Sequence[str],
        *,
        leading: Mapping[str, tuple[int, ...]] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Return new models whose fields are the outputs of one kernel.

        Parameters
        ----------
        models : mapping
            Product name to model class.
        kernel : callable
            As for `map_tiles`.
        outputs : sequence of str
            ``product.field`` names, in the order of the kernel's return values.
        leading : mapping, optional
            Output name to the dimensions before rows and columns. By default they follow from the
            field's ``ndim``: none for 2, integrations for 3, integrations and groups for 4.
        **options
            As for `map_tiles`.
        """
        made = {name: cls() for name, cls in models.items()}
        placed = {}
        for output in outputs:
            product, _, name = output.partition(".")
            fields = made[product].schema.fields
            spec, primary = fields[name], fields[made[product].primary]
            ndim = spec.ndim or primary.ndim or 2
            first = (leading or {}).get(output, self.shape[: ndim - 2])
            dtype = spec.dtype or np.dtype("f4")
            placed[output] = made[product]._content.on_grid[name] = GridField(
                output, (*first, *self.frame), dtype
            )
        source = self._twin()
        known = ("radius", "row_counts", "optional")
        names = {k: options.pop(k) for k in known if k in options}
        names["row_counts"] = tuple(names.get("row_counts", ()))
        dtypes = {output: p.dtype for output, p in placed.items()}
        call, reductions = source._call(kernel, dtypes, options, keep=False, **names)
        node = OperationNode(cast("PlanNode", source._content.node), call, reductions)
        for model in made.values():
            model._content.node = node
            model._content.deferred = self._content.deferred
            model._inherit(self)
        return made

    def reduce(
        self,
        gather: Callable[..., Any],
        combine: Callable[[Any], Any],
        regions: Sequence[Region] | Reduction | None = None,
        *,
        until: Callable[[list[Any]], bool] | None = None,
        in_turn: bool = False,
        frame_bytes: int = 0,
        optional: Sequence[str] = (),
        **arguments: Any,
    ) -> Reduction:
        """Return a value that will be computed from the frame before the tiles run.

        Parameters
        ----------
        gather : callable
            A kernel as in `map_tiles` that is run on each region and may return anything.
        combine : callable
            Computes the value from the list of gathered results, in the order of ``regions``.
        regions : sequence of Region, or Reduction, optional
            Regions to gather from, or a reduction that computes them; by default the whole
            frame in bands of rows.
        until : callable, optional
            Called with the results so far; gathering stops once it returns True.
        in_turn : bool
            True to call ``combine`` with an iterator instead of a list. A region is read when its
            result is asked for, so that results need not be in memory together. ``until`` is not
            called.
        frame_bytes : int
            Memory that the gathered results, their combination and the value take; 0 if negligible.
        optional, **arguments
            As for `map_tiles`.
        """
        source = self._twin()
        call, reductions = source._call(gather, {}, arguments, optional=optional)
        where: tuple[Region, ...] | ValueSlot
        if isinstance(regions, Reduction):
            where, reductions = ValueSlot(regions.key), (*reductions, regions)
        else:
            where = tuple(regions) if regions is not None else self._bands()
        look = ReductionSpec(
            call, make_portable(combine), where, until and make_portable(until), frame_bytes,
            in_turn=in_turn,
        )  # fmt: skip
        return Reduction(cast("PlanNode", source._content.node), look, reductions)

    def decide(
        self,
        gather: Callable[..., Any],
        combine: Callable[[list[Any]], Any],
        *,
        frame_bytes: int,
        radius: int = 0,
        optional: Sequence[str] = (),
        holds: Sequence[str] = (),
        **arguments: Any,
    ) -> Reduction:
        """Return a value of the whole frame, gathered from the tiles computed so far.

        The tiles are kept until then, as far as memory allows, so that the operations so far run
        only once; `reduce` would run them again.

        Parameters
        ----------
        gather : callable
            A kernel as in `map_tiles`, which runs on each tile and may return any small object, or
            arrays of the tile itself.
        combine : callable
            Computes the value from the list of results, in the order of the tiles from top to
            bottom. It must not depend on the number and heights of the tiles.
        frame_bytes : int
            Memory that the gathered results of all tiles and their combination take, without those
            arrays of the tiles that ``holds`` names.
        radius : int
            Number of neighbouring rows that ``gather`` receives on either side of the tile's own.
        holds : sequence of str
            The fields whose arrays are in the results of ``gather`` as they are. They take memory
            only where the tile is not kept.
        optional, **arguments
            As for `map_tiles`; `calbatch.models.tiling.plan.CORE` stands for the tile's own region.
        """
        source = self._twin()
        call, reductions = source._call(gather, {}, arguments, radius=radius, optional=optional)
        held = tuple(source._ensure(name).key for name in holds)
        spec = ReductionSpec(
            call, make_portable(combine), None, frame_bytes=frame_bytes, holds=held
        )
        return Reduction(cast("PlanNode", source._content.node), spec, reductions)

    def _bands(self, rows: int = 256) -> tuple[Region, ...]:
        height, width = self.frame
        return tuple(Region((r, min(r + rows, height)), (0, width)) for r in range(0, height, rows))

    def _call(
        self,
        kernel: Callable[..., Any],
        dtypes: Mapping[str, np.dtype[Any]],
        arguments: Mapping[str, Any],
        **options: Any,
    ) -> tuple[KernelCall, tuple[Reduction, ...]]:
        call, reductions = build_call(kernel, dtypes, arguments, **options)
        keys = tuple(self._ensure(name).key for name in call.inputs)
        return replace(call, inputs=keys), reductions

    def _ensure(self, name: str) -> GridField:
        """Add a field to the tiles if it is missing, and return it."""
        if name not in self.schema.fields:
            raise ModelError(f"{self._where}: has no field {name!r}{self._hint(name)}")
        node, placed = self._find_field(name)
        self._content.node = node
        self._content.on_grid[name] = placed
        return placed

    def _output_field(self, name: str) -> GridField:
        """Return the field of a kernel's output, which may be absent and without a default."""
        spec = self.schema.fields.get(name)
        if spec is None or spec.default is not None or name in self._content.on_grid:
            return self._ensure(name)
        shape = self._absent_shape(name)
        if shape is None:
            raise ModelError(f"{self._where}: has no {name}, and its shape is unknown")
        return GridField(name, shape, spec.dtype or np.dtype("f4"))
