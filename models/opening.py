"""Opening files: metadata from headers, lazy fields from HDUs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calbatch.models.arrays import GridField, ModelContent, StoredFile
from calbatch.models.casting import cast_array, check_dimensions
from calbatch.models.contradictions import FileContents, check_contradictions, unusable_fields
from calbatch.models.dq import DqRemap
from calbatch.models.errors import FileError, ValidationError, ValidationWarning, explain_errors
from calbatch.models.fits.cards import CARD_LENGTH, replace_foreign_bytes
from calbatch.models.fits.columns import require_columns, require_full_rows
from calbatch.models.fits.headers import meta_from_headers
from calbatch.models.fits.layout import Hdu, Layout, read_layout
from calbatch.models.fits.readers import CopyProvider, Reader, RowReader
from calbatch.models.fits.tables import cast_columns, read_table
from calbatch.models.schema.spec import FieldSpec, Schema
from calbatch.models.storage.location import Location
from calbatch.models.tiling.plan import SourceNode
from calbatch.models.tiling.tile import Array

_SHOWN = 5
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


def convert_field(spec: FieldSpec, value: Any, where: str) -> Any:
    """Return a table, or an array off the tile grid, as a field of another schema.

    Raises
    ------
    ValidationError
        If it does not fit. The columns of an unread table are checked when it is read.
    """
    is_table = (
        value.spec.is_table if isinstance(value, UnreadField) else value.dtype.names is not None
    )
    if spec.is_table != is_table:
        kinds = ("a table", "an array") if spec.is_table else ("an array", "a table")
        raise ValidationError(f"{where}: must be {kinds[0]}, is {kinds[1]}")
    if spec.columns is None:
        check_dimensions(spec, len(value.shape), where)
    if isinstance(value, UnreadField):
        return replace(value, spec=spec)
    if spec.columns is not None:
        return cast_columns(value, spec.columns, where)
    return cast_array(spec, value, where)


def claim_tables(content: ModelContent, schema: Schema) -> None:
    """Turn further tables of a model's file into the fields that a schema has for them.

    Raises
    ------
    FileError
        If an HDU of such a name is not a table.
    """
    if content.stored is None:
        return
    path = content.stored.path
    for name, spec in schema.fields.items():
        found = [h for h in content.other_hdus if h.name.upper() == spec.hdu.upper()]
        if found and spec.is_table:
            _check_field(path, name, spec, found[0])
            content.off_grid[name] = UnreadField(path, found[0], spec, found[0].shape)
            content.other_hdus = tuple(h for h in content.other_hdus if h not in found)


def load_content(
    path: Location, schema: Schema, copies: CopyProvider | None = None, layout: Layout | None = None
) -> ModelContent:
    """Return the content of a file as named by a schema, without reading pixels.

    Parameters
    ----------
    path : Path or Url
        The file.
    schema : Schema
        Names the file's arrays and keywords.
    copies : CopyProvider, optional
        Provides decoded copies; by default each process decodes the data itself.
    layout : Layout, optional
        The file's layout, if it has been read already.

    Raises
    ------
    FileError
        If the file is not FITS or truncated, or an HDU that the schema requires is missing or of
        the wrong kind or dimensions.
    """
    layout = layout or read_layout(path)
    _warn_of_foreign_bytes(path, layout)
    with explain_errors(path):
        return _content(path, schema, copies, layout)


def _content(
    path: Location, schema: Schema, copies: CopyProvider | None, layout: Layout
) -> ModelContent:
    headers = [(h.name, h.version, _cards(h)) for h in layout.hdus]
    tree, extra = meta_from_headers(schema, headers, where=str(path))
    content = ModelContent(tree=tree, extra=extra)
    fields = dict(_match_fields(path, schema, layout))
    contents = FileContents(schema, layout, {name: hdu for name, (_, hdu) in fields.items()}, tree)
    check_contradictions(contents)
    for name, _ in unusable_fields(contents) if "data" in fields else ():
        fields.pop(name)
    readers = dict(_readers(fields, copies))
    frame = _frame(schema, readers)
    for name, (spec, hdu) in fields.items():
        if name in readers and readers[name].shape[-2:] == frame:
            content.on_grid[name] = GridField(name, readers[name].shape, readers[name].dtype)
        else:
            content.off_grid[name] = UnreadField(path, hdu, spec, hdu.shape, copies)
    _require_frame(path, content, schema, readers, frame)
    if frame is not None:
        on_grid = {n: r for n, r in readers.items() if n in content.on_grid}
        content.node = SourceNode(_standard_dq(content, on_grid), frame)
    content.stored = StoredFile(path, content.node)
    names = {spec.hdu.upper() for spec in schema.fields.values()}
    content.other_hdus = tuple(h for h in layout.hdus[1:] if h.name.upper() not in names)
    return content


def _warn_of_foreign_bytes(path: Location, layout: Layout) -> None:
    """Warn about cards that are not ASCII, once for the whole file."""
    cards = [
        f"{keyword or 'a card without keyword'} of {hdu.label}"
        for hdu in layout.hdus
        for keyword in _foreign_cards(hdu.raw_header)
    ]
    if cards:
        shown = ", ".join(cards[:_SHOWN]) + (", ..." if len(cards) > _SHOWN else "")
        message = f"{path}: bytes that are not ASCII are read as question marks, in {shown}"
        warnings.warn(message, ValidationWarning, stacklevel=3)


def _foreign_cards(raw: bytes) -> Iterator[str]:
    """Yield the keyword of each header card that has a byte above 0x7F."""
    if raw.isascii():
        return
    for at in range(0, len(raw), CARD_LENGTH):
        if not raw[at : at + CARD_LENGTH].isascii():
            yield replace_foreign_bytes(raw[at : at + 8]).decode("ascii").strip()


def _cards(hdu: Hdu) -> Any:
    """Return a header's text, or astropy's header of a compressed image."""
    return hdu.header if hdu.kind == "compressed" else hdu.text


def _match_fields(
    path: Location, schema: Schema, layout: Layout
) -> Iterator[tuple[str, tuple[FieldSpec, Hdu]]]:
    for name, spec in schema.fields.items():
        hdu = layout.find(spec.hdu)
        if hdu is None or (hdu.kind == "empty" and not spec.is_table):
            if spec.required:
                raise FileError(path, f"has no {spec.hdu} extension ({spec.title or name})")
            continue
        _check_field(path, name, spec, hdu)
        yield name, (spec, hdu)


def _check_field(path: Location, name: str, spec: FieldSpec, hdu: Hdu) -> None:
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


def _standard_dq(content: ModelContent, readers: dict[str, Any]) -> dict[str, Reader]:
    """Convert the DQ array of a reference to the standard flags, by its table of definitions."""
    pending = content.off_grid.get("dq_def")
    remap = DqRemap.from_table(pending.load()) if pending is not None else None
    if remap is not None and "dq" in readers:
        readers["dq"] = readers["dq"].then(remap)
    return readers
