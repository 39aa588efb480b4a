"""The arrays of a model: lazy fields on a grid of tiles."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np

from calbatch.models.casting import as_array, cast_array, check_shape, is_dask_array
from calbatch.models.errors import ModelError
from calbatch.models.fits.asdf_extension import AsdfPlace
from calbatch.models.fits.column_units import ColumnUnits, stated_units
from calbatch.models.fits.headers import ExtraCards
from calbatch.models.fits.readers import ArrayReader, ConstantReader, Reader
from calbatch.models.fits.tables import cast_columns
from calbatch.models.schema.meta import copy_metadata, set_path
from calbatch.models.schema.spec import Schema
from calbatch.models.schema.validate import check_assignment
from calbatch.models.storage.location import Location
from calbatch.models.tiling import graphs
from calbatch.models.tiling.plan import (
    AssignNode,
    OperationNode,
    PlanNode,
    ReplaceField,
    SourceNode,
)
from calbatch.models.tiling.tile import Array

if TYPE_CHECKING:
    import dask.array as da


@dataclass(frozen=True)
class GridField:
    """A field on the tile grid: its name in the tiles, its shape and its type."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class DeferredMetadata:
    """Metadata computed from row counts, and so known only after the tiles have run.

    Attributes
    ----------
    function : callable
        Takes the frame's row counts by name and returns values by dotted path; None leaves the
        keyword out.
    paths : tuple of str
        The dotted paths.
    """

    function: Callable[[Mapping[str, Array]], Mapping[str, Any]]
    paths: tuple[str, ...]


class UsedReference(NamedTuple):
    """A reference file that a step used: its type, the step, and its name in the header."""

    kind: str
    step: str
    recorded: str


class StoredFile(NamedTuple):
    """A file that holds a model, and the plan of the arrays that it holds."""

    path: Location
    node: PlanNode | None


@dataclass
class ModelContent:
    """The contents of a model, which models share and copy as a unit.

    Attributes
    ----------
    tree : dict
        The metadata, ``{"meta": {...}, "history": [...]}``.
    node : PlanNode, optional
        The plan of the arrays on the tile grid; None without arrays.
    on_grid : dict
        Fields on the tile grid, by name.
    off_grid : dict
        Tables, and arrays off the tile grid, by name.
    units : dict of ColumnUnits
        The units of tables' columns, by the name of the table.
    lists : dict
        The items of each list by its name: models, or what they are read from.
    extra : dict
        Header cards that no schema names, by HDU.
    deferred : tuple of DeferredMetadata
        Metadata that are known only once the tiles have run.
    used_references : tuple of UsedReference
        References that steps have used since the file was opened.
    other_hdus : tuple of Hdu
        HDUs that no schema names, copied from the input as a whole.
    asdf_values : dict
        Values that have been read from the file's ASDF extension, by dotted path.
    stored : StoredFile, optional
        The file that the model was opened from or last saved to.
    product : str
        Suffix of the product that a step made the model for, such as ``rate``.
    place : AsdfPlace, optional
        For an item of a list, the place of its further values in the ASDF extension of its file.
    """

    tree: dict[str, Any] = field(default_factory=dict)
    node: PlanNode | None = None
    on_grid: dict[str, GridField] = field(default_factory=dict)
    off_grid: dict[str, Any] = field(default_factory=dict)
    units: dict[str, ColumnUnits] = field(default_factory=dict)
    lists: dict[str, list[Any]] = field(default_factory=dict)
    extra: ExtraCards = field(default_factory=dict)
    deferred: tuple[DeferredMetadata, ...] = ()
    used_references: tuple[UsedReference, ...] = ()
    other_hdus: tuple[Any, ...] = ()
    asdf_values: dict[str, Any] = field(default_factory=dict)
    stored: StoredFile | None = None
    product: str = ""
    place: AsdfPlace | None = None

    def off_grid_array(self, name: str) -> Array:
        """Return a table or an array off the grid, reading it on first use."""
        value = self.off_grid[name]
        if not isinstance(value, np.ndarray):
            value = self.off_grid[name] = value.load()
        return value

    def copy_headers(self) -> tuple[dict[str, Any], ExtraCards]:
        """Return copies of the metadata and of the cards that no schema names."""
        extra = {hdu: list(cards) for hdu, cards in self.extra.items()}
        return copy_metadata(self.tree), extra

    def copy(self) -> ModelContent:
        """Return content that shares the lazy graph but no mutable part."""
        tree, extra = self.copy_headers()
        return replace(
            self,
            tree=tree,
            on_grid=dict(self.on_grid),
            off_grid=dict(self.off_grid),
            units={name: units.copy() for name, units in self.units.items()},
            lists={name: [_copy_item(i) for i in items] for name, items in self.lists.items()},
            extra=extra,
            asdf_values=dict(self.asdf_values),
        )


def _copy_item(item: Any) -> Any:
    """Return a copy of a list's item, or the item itself if it has not been read yet."""
    return item._twin() if isinstance(item, LazyArrays) else item


class LazyArrays:
    """The array half of a data model. `calbatch.models.model.DataModel` adds files and metadata."""

    schema: Schema
    _content: ModelContent

    # -- names and shapes ---------------------------------------------------------------------

    @property
    def primary(self) -> str:
        """The name of the primary array."""
        arrays = [n for n, s in self.schema.fields.items() if not s.is_table]
        return "data" if "data" in arrays or not arrays else arrays[0]

    @property
    def frame(self) -> tuple[int, int]:
        """The numbers of rows and columns of the tile grid."""
        if self._content.node is None:
            raise ModelError(f"{self._where}: holds no arrays yet; assign {self.primary!r} first")
        return self._content.node.source.pixels.frame

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the primary array; an empty tuple without one."""
        return self.shape_of(self.primary) or ()

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a field without reading it; None if the field is absent."""
        content = self._content
        if name in content.on_grid:
            return content.on_grid[name].shape
        return content.off_grid[name].shape if name in content.off_grid else None

    def has(self, name: str) -> bool:
        """Return whether a field is present, in the file or by assignment; a list, with items."""
        content = self._content
        return name in content.on_grid or name in content.off_grid or bool(content.lists.get(name))

    def column_units(self, name: str) -> ColumnUnits:
        """Return the units of a table's columns by their names, which can be changed.

        They stay when an array is assigned to the table; an astropy table replaces them.
        """
        spec = self.schema.fields.get(name)
        if spec is None or spec.columns is None:
            raise ModelError(f"{self._where}: has no table {name!r}{self._hint(name)}")
        names = [column.name for column in spec.columns]
        none = ColumnUnits(f"{self._where}: {name}", names)
        return self._content.units.setdefault(name, none)

    @property
    def _where(self) -> str:
        return type(self).__name__

    # -- fields as attributes -----------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "schema":  # pickle asks before it is set
            raise AttributeError(name)
        content = self._content
        if name in self.schema.keywords and "." not in name:
            return content.tree.get(name)
        if name in self.schema.lists:
            return self._items(name)
        if "." not in name and self.schema.has_branch(name):
            return self._branch(name)
        if name not in self.schema.fields:
            raise AttributeError(f"{type(self).__name__} has no {name!r}{self._hint(name)}")
        if name in content.off_grid:
            return content.off_grid_array(name)
        if name not in content.on_grid and self._default_shape(name) is None:
            return None
        node, placed = self._find_field(name)
        return graphs.view(node, placed.key, placed.shape, placed.dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("schema", "path", "_content") or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        elif name in self.schema.lists:
            self._items(name)[:] = value or ()
        elif "." not in name and (name in self.schema.keywords or self.schema.has_branch(name)):
            accepted, value = check_assignment(self.schema, name, value, where=self._where)
            if accepted:
                set_path(self._content.tree, name, value)
        elif name not in self.schema.fields:
            raise AttributeError(f"{type(self).__name__} has no {name!r}{self._hint(name)}")
        elif value is None:
            self._content.on_grid.pop(name, None)
            self._content.off_grid.pop(name, None)
        elif (columns := self.schema.fields[name].columns) is not None:
            where = f"{self._where}: {name}"
            table = self._content.off_grid[name] = cast_columns(value, columns, where)
            self.column_units(name).replace_columns(table.dtype.names, stated_units(value, where))
        else:
            self._assign(name, value)

    def _items(self, name: str) -> Any:
        """Return a list of items."""
        raise NotImplementedError

    def _branch(self, name: str) -> Any:
        """Return a branch of the metadata."""
        raise NotImplementedError

    def _hint(self, name: str) -> str:
        schema = self.schema
        near = difflib.get_close_matches(
            name, [*schema.fields, *schema.lists, *schema.own_keywords], 1
        )
        return f"; did you mean {near[0]!r}?" if near else ""

    def _absent_shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape that an absent array would have, or None if it is unknown."""
        spec, shape = self.schema.fields[name], self.shape
        if spec.is_table or self._content.node is None:
            return None
        if spec.ndim == 2:
            return self.frame
        return shape if shape and spec.ndim in (None, len(shape)) else None

    def _default_shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of an absent array's default, or None if it has no default."""
        return None if self.schema.fields[name].default is None else self._absent_shape(name)

    def _find_field(self, name: str) -> tuple[PlanNode, GridField]:
        """Return a field and its plan; an absent field takes its schema's default."""
        content = self._content
        node = cast("PlanNode", content.node)
        if name in content.on_grid:
            return node, content.on_grid[name]
        shape = self._default_shape(name)
        if shape is None:
            raise ModelError(f"{self._where}: has no {name}, and its schema has no default")
        spec = self.schema.fields[name]
        reader = ConstantReader(shape, spec.dtype or np.dtype("f4"), spec.default)
        return OperationNode(node, ReplaceField(name, reader)), GridField(name, shape, reader.dtype)

    # -- assignment ---------------------------------------------------------------------------

    def _assign(self, name: str, value: Any) -> None:
        spec = self.schema.fields[name]
        where = f"{self._where}: {name}"
        array = cast_array(spec, as_array(value, where), where)
        if array.ndim > 1 and not np.isnan(array.shape).any():
            check_shape(array.shape, where)
        if array.ndim < 2 or (self._content.node is not None and not self._is_on_grid(array)):
            self._set_off_grid(name, array)
        elif is_dask_array(array):
            self._set_lazy(name, array)
        else:
            self.set_reader(name, ArrayReader(array))

    def _is_on_grid(self, array: Any) -> bool:
        return bool(array.shape[-2:] == self.frame)

    def _set_off_grid(self, name: str, array: Any) -> None:
        others = [n for n in self._content.on_grid if n != name]
        if name == self.primary and others:
            raise ModelError(
                f"{self._where}: {name} of shape {array.shape} does not fit the model's frame "
                f"{self.frame}; make a new model of that shape"
            )
        self._content.on_grid.pop(name, None)
        self._content.off_grid[name] = np.asarray(array)

    def set_reader(self, name: str, reader: Reader) -> None:
        """Set a field to the pixels of a reader; the first field sets the model's frame."""
        content = self._content
        if content.node is None:
            content.node = SourceNode({}, (reader.shape[-2], reader.shape[-1]))
        content.off_grid.pop(name, None)
        content.node = OperationNode(content.node, ReplaceField(name, reader))
        content.on_grid[name] = GridField(name, reader.shape, reader.dtype)

    def _set_lazy(self, name: str, array: da.Array) -> None:
        content = self._content
        if content.node is None:
            content.node = source = SourceNode({}, array.shape[-2:])
            source.edges = (0, *np.cumsum(array.chunks[-2]).tolist())
        key = content.on_grid[name].key if name in content.on_grid else name
        array = graphs.align_chunks(array, content.node.source, f"{self._where}: {name}")
        content.node = AssignNode(content.node, key, array)
        content.off_grid.pop(name, None)
        content.on_grid[name] = GridField(key, array.shape, array.dtype)

    # -- sharing ------------------------------------------------------------------------------

    def _twin(self) -> Self:
        """Return a model with a copy of this one's content."""
        twin = object.__new__(type(self))
        for name, value in self.__dict__.items():
            object.__setattr__(twin, name, value)
        object.__setattr__(twin, "_content", self._content.copy())
        return twin

    def _inherit(self, other: Any) -> None:
        """Copy the metadata and tables that a new product inherits from its source model."""

    # -- as a reference -----------------------------------------------------------------------

    def rows(self, name: str) -> Reader:
        """Return a field as a kernel argument; the kernel receives the rows of its tile.

        Raises
        ------
        ModelError
            If the field is absent and its shape is unknown.
        """
        return self.reader(name) or ArrayReader(np.asarray(self.__getattr__(name)))

    def reader(self, name: str) -> Reader | None:
        """Return the reader of a field; None if the field is computed."""
        node, placed = self._find_field(name)
        for step in node.ancestry():
            if isinstance(step, SourceNode):
                return step.pixels.readers[placed.key]
            if not (isinstance(step, OperationNode) and isinstance(step.op, ReplaceField)):
                break
            if step.op.name == placed.key:
                return step.op.reader
        return None

    def section(self, row0: int, rows: int, col0: int, columns: int) -> Self:
        """Return the model of a rectangle of the frame, without reading anything."""
        part = self._twin()
        readers = {p.key: self.rows(n).section(row0, rows, col0, columns)
                   for n, p in self._content.on_grid.items()}  # fmt: skip
        part._content.node = SourceNode(readers, (rows, columns))
        part._content.on_grid = {
            n: replace(p, shape=(*p.shape[:-2], rows, columns))
            for n, p in self._content.on_grid.items()
        }
        return part
