"""The fields of a file, or of an item of a list in it: checked, and placed in a model's content."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calbatch.models.arrays import GridField, ModelContent
from calbatch.models.dq import DqRemap
from calbatch.models.errors import FileError, explain_errors
from calbatch.models.fits.column_units import ColumnUnits
from calbatch.models.fits.columns import describe_units, require_columns, require_full_rows
from calbatch.models.fits.layout import Hdu
from calbatch.models.fits.readers import CopyProvider, Reader, RowReader
from calbatch.models.fits.tables import cast_columns, read_table
from calbatch.models.schema.spec import FieldSpec, Schema
from calbatch.models.storage.location import Location
from calbatch.models.tiling.plan import SourceNode
from calbatch.models.tiling.tile import Array

_OF_PIXELS = frozenset({"dq", "err", "pixeldq", "groupdq", "var_poisson", "var_rnoise", "var_flat"})
"""Fields that describe each pixel of the primary array."""


@dataclass(frozen=True)
class UnreadField:
    """A table, or an array off the tile grid, that is read on first use."""

    path: Location
    hdu: Hdu
    spec: FieldSpec
    shape: tuple[int, ...]
    copies: CopyProvider | None = None

    def load(self) -> Array:
        """Read the field."""
        with explain_errors(self.path, f"{self.hdu.label} cannot be read"):
            return self._load()

    def _load(self) -> Array:
        if self.spec.columns is not None:
            return cast_columns(self._rows(), self.spec.columns, f"{self.path}: {self.hdu.name}")
        array = RowReader(self.hdu, self.copies).whole()
        return array.astype(self.spec.dtype or array.dtype, copy=False)

    def _rows(self) -> Array:
        require_columns(self.hdu)
        if self.copies is not None:
            copy = self.copies.table_file(self.hdu.stamp.path, self.hdu.index)
            # Another process may remove a copy at any time.
            with contextlib.suppress(OSError, ValueError, EOFError):
                return np.load(copy, allow_pickle=False) if copy else read_table(self.hdu)
        return read_table(self.hdu)


def header_cards(hdu: Hdu) -> Any:
    """Return a header's text, or astropy's header of a compressed image."""
    return hdu.header if hdu.kind == "compressed" else hdu.text


def match_fields(
    path: Location, schema: Schema, find: Callable[[str], Hdu | None]
) -> Iterator[tuple[str, tuple[FieldSpec, Hdu]]]:
    """Yield the fields that a file has, or an item of a list in it, and their HDUs.

    Parameters
    ----------
    path : Path or Url
        The file, for messages.
    schema : Schema
        Names the fields.
    find : callable
        Returns the HDU of a name, or None.

    Raises
    ------
    FileError
        If an HDU that the schema requires is missing, or one does not fit the schema.
    """
    for name, spec in schema.fields.items():
        hdu = find(spec.hdu)
        # An item's header may be that of an image without pixels, even if its field is a table.
        if hdu is None or (hdu.kind == "empty" and (schema.is_of_item or not spec.is_table)):
            if spec.required:
                raise FileError(path, f"has no {spec.hdu} extension ({spec.title or name})")
            continue
        check_field(path, name, spec, hdu)
        yield name, (spec, hdu)


def check_field(path: Location, name: str, spec: FieldSpec, hdu: Hdu) -> None:
    """Raise an error if an HDU does not have the kind, dimensions or type of a field."""
    if spec.is_table != (hdu.kind == "table"):
        kind = "a table" if spec.is_table else "an image"
        raise FileError(path, f"{spec.hdu} must be {kind} extension, found {hdu.kind}")
    if spec.is_table:
        require_full_rows(hdu)
        return
    if hdu.kind == "other":
        raise FileError(path, f"{spec.hdu} must be an image, but {_oddity(path, hdu)}")
    ndim = len(hdu.shape)
    if spec.ndim is not None and ndim != spec.ndim:
        raise FileError(path, f"{spec.hdu} must have {spec.ndim} dimensions, found {hdu.shape}")
    if spec.max_ndim is not None and ndim > spec.max_ndim:
        raise FileError(path, f"{spec.hdu} may have {spec.max_ndim} dimensions, found {hdu.shape}")
    if 0 in hdu.shape:
        raise FileError(path, f"{spec.hdu} is empty: its shape is {hdu.shape}")
    if spec.dtype is not None and np.issubdtype(spec.dtype, np.integer):
        floats = np.issubdtype(hdu.dtype, np.floating)
        counts = name == "data"  # flags are bits, so their values do not matter
        if floats or (counts and not np.can_cast(hdu.dtype, spec.dtype, "safe")):
            raise FileError(path, f"{spec.hdu} must hold {spec.dtype}, found {hdu.dtype}")


def _oddity(path: Location, hdu: Hdu) -> str:
    """Return the reason why an HDU is neither an image nor a table."""
    cards = hdu.keywords
    counts = cards.integer("PCOUNT", 0), cards.integer("GCOUNT", 1)
    if counts != (0, 1):
        return f"PCOUNT = {counts[0]} and GCOUNT = {counts[1]}"
    return f"XTENSION = {cards.text('XTENSION')!r}"


def place_fields(
    path: Location,
    schema: Schema,
    content: ModelContent,
    fields: Mapping[str, tuple[FieldSpec, Hdu]],
    copies: CopyProvider | None,
) -> None:
    """Add a file's arrays and tables to a model's content, on the tile grid or off it.

    Raises
    ------
    FileError
        If an array that describes the pixels of the frame has another shape.
    """
    readers = dict(_readers(fields, copies))
    frame = _frame(schema, readers)
    for name, (spec, hdu) in fields.items():
        if name in readers and readers[name].shape[-2:] == frame:
            content.on_grid[name] = GridField(name, readers[name].shape, readers[name].dtype)
        else:
            content.off_grid[name] = UnreadField(path, hdu, spec, hdu.shape, copies)
        if spec.is_table:
            content.units[name] = read_units(path, name, spec, hdu)
    _require_frame(path, content, schema, readers, frame)
    if frame is not None:
        on_grid = {n: r for n, r in readers.items() if n in content.on_grid}
        content.node = SourceNode(_standard_dq(path, content, on_grid), frame)


def read_units(path: Location, name: str, spec: FieldSpec, hdu: Hdu) -> ColumnUnits:
    """Return the units of a table's columns, which have the names that the schema gives them."""
    units = describe_units(hdu)
    columns = [*units, *(column.name for column in spec.columns or ())]
    return ColumnUnits(f"{path}: {name}", columns, {n: unit for n, unit in units.items() if unit})


def _readers(
    found: Mapping[str, tuple[FieldSpec, Hdu]], copies: CopyProvider | None
) -> Iterator[tuple[str, Reader]]:
    for name, (spec, hdu) in found.items():
        if not spec.is_table and len(hdu.shape) >= 2:
            reader = RowReader(hdu, copies)
            dtype = spec.dtype or reader.dtype
            yield name, reader if dtype == reader.dtype else reader.astype(dtype)


def _frame(schema: Schema, readers: Mapping[str, Reader]) -> tuple[int, int] | None:
    """Return the rows and columns of the primary array, or else of the first array present."""
    names = ["data", *schema.fields]
    shapes = [readers[n].shape for n in names if n in readers]
    return (shapes[0][-2], shapes[0][-1]) if shapes else None


def _require_frame(
    path: Location,
    content: ModelContent,
    schema: Schema,
    readers: Mapping[str, Reader],
    frame: tuple[int, int] | None,
) -> None:
    """Raise an error if an array that describes the frame's pixels has another shape."""
    for name in _OF_PIXELS.intersection(content.off_grid, readers):
        rows, columns = readers[name].shape[-2:]
        raise FileError(
            path,
            f"{schema.fields[name].hdu} has {columns} x {rows} pixels, but the other arrays "
            f"have {frame and frame[1]} x {frame and frame[0]}",
        )


def _standard_dq(
    path: Location, content: ModelContent, readers: dict[str, Any]
) -> dict[str, Reader]:
    """Convert the DQ array of a reference to the standard flags, by its table of definitions."""
    pending = content.off_grid.get("dq_def")
    remap = DqRemap.from_table(pending.load(), str(path)) if pending is not None else None
    if remap is not None and "dq" in readers:
        readers["dq"] = readers["dq"].then(remap)
    return readers
