"""Opening files: metadata from headers, lazy fields from HDUs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from calbatch.models._stored_fields import (
    UnreadField,
    check_field,
    header_cards,
    match_fields,
    place_fields,
    read_units,
)
from calbatch.models.arrays import ModelContent, StoredFile
from calbatch.models.casting import cast_array, check_dimensions
from calbatch.models.contradictions import FileContents, check_contradictions, unusable_fields
from calbatch.models.errors import ValidationError, ValidationWarning, explain_errors
from calbatch.models.fits.cards import replace_foreign_bytes
from calbatch.models.fits.headers import meta_from_headers
from calbatch.models.fits.layout import Layout, read_layout
from calbatch.models.fits.readers import CopyProvider
from calbatch.models.fits.tables import cast_columns
from calbatch.models.lists._list_items import find_items
from calbatch.models.schema.spec import FieldSpec, Schema
from calbatch.models.storage.location import Location

__all__ = ["UnreadField", "claim_tables", "convert_field", "load_content"]

_SHOWN = 5


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
            check_field(path, name, spec, found[0])
            content.off_grid[name] = UnreadField(path, found[0], spec, found[0].shape)
            content.units[name] = read_units(path, name, spec, found[0])
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
    lists = find_items(path, schema, layout, copies)
    taken = [hdu for items in lists.values() for item in items for hdu in item.hdus]
    # The headers of the first items also have metadata of the whole file.
    shared = [hdu for hdu in taken if hdu.version == 1 and hdu.name in schema.by_hdu]
    indices = {hdu.index for hdu in taken}
    primary, *own = (hdu for hdu in layout.hdus if hdu.index not in indices)
    headers = [primary, *shared, *own]
    tree, extra = meta_from_headers(
        schema,
        [(hdu.name, hdu.version, partial(header_cards, hdu)) for hdu in headers],
        where=str(path),
        indices=[hdu.index for hdu in headers],
    )
    for hdu in shared:
        named = schema.by_card[hdu.name]
        extra[hdu.name] = [card for card in extra.pop(hdu.name, ()) if card[0] in named]
    content = ModelContent(tree=tree, extra=extra, lists={**lists})
    fields = dict(match_fields(path, schema, layout.find))
    contents = FileContents(schema, layout, {name: hdu for name, (_, hdu) in fields.items()}, tree)
    check_contradictions(contents)
    for name, _ in unusable_fields(contents) if "data" in fields else ():
        fields.pop(name)
    place_fields(path, schema, content, fields, copies)
    content.stored = StoredFile(path, content.node)
    names = {spec.hdu.upper() for spec in schema.fields.values()}
    content.other_hdus = tuple(h for h in own if h.name.upper() not in names)
    return content


def _warn_of_foreign_bytes(path: Location, layout: Layout) -> None:
    """Warn about cards that are not ASCII, once for the whole file."""
    cards = [
        f"{keyword or 'a card without keyword'} of {hdu.label}"
        for hdu in layout.hdus
        if not all(map(bytes.isascii, hdu.parts))
        for keyword in _foreign_cards(hdu.cards)
    ]
    if cards:
        shown = ", ".join(cards[:_SHOWN]) + (", ..." if len(cards) > _SHOWN else "")
        message = f"{path}: bytes that are not ASCII are read as question marks, in {shown}"
        warnings.warn(message, ValidationWarning, stacklevel=3)


def _foreign_cards(cards: Iterable[bytes]) -> Iterator[str]:
    """Yield the keyword of each header card that has a byte above 0x7F."""
    for card in cards:
        if not card.isascii():
            yield replace_foreign_bytes(card[:8]).decode("ascii").strip()
