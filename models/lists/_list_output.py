"""The HDUs of lists in a file to be written: those of each item, with its number as EXTVER."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calbatch.models.errors import ValidationError
from calbatch.models.fits.asdf_extension import AsdfPlace
from calbatch.models.fits.cards import COMMENTARY, Card
from calbatch.models.fits.column_units import unit_cards
from calbatch.models.fits.headers import cards_from_meta
from calbatch.models.fits.output_hdus import OutputImage, OutputTable
from calbatch.models.lists.item_list import ListItem
from calbatch.models.model import DataModel
from calbatch.models.schema.validate import validate_tree
from calbatch.models.storage.location import Location


def list_items(model: DataModel) -> Iterator[tuple[str, int, ListItem]]:
    """Yield the items of a model's lists, each with the list's name and its index."""
    for name in model.schema.lists:
        for index, item in enumerate(getattr(model, name)):
            yield name, index, item


def field_prefix(name: str, index: int) -> str:
    """Return the beginning of the names of an item's fields in a file to be written."""
    return f"{name}[{index}]."


def asdf_places(model: DataModel) -> dict[str, list[AsdfPlace | None]]:
    """Return the place of each item's further values in an ASDF extension, or None."""
    return {
        name: [item._content.place for item in getattr(model, name)] for name in model.schema.lists
    }


def build_list_hdus(
    model: DataModel, tree: Mapping[str, Any], path: Location
) -> Iterator[OutputImage | OutputTable]:
    """Yield the HDUs of a model's lists.

    Parameters
    ----------
    model : DataModel
        The model.
    tree : mapping
        Its validated metadata. Those in extensions of the lists' items are written to the first
        items' headers.
    path : Path or Url
        The file, for messages.

    Raises
    ------
    ValidationError
        If an item lacks an array or value that its schema requires.
    """
    for name, index, item in list_items(model):
        shared = _shared_cards(model, tree, name) if index == 0 else {}
        hdus = _item_hdus(item, f"{path}: {name}[{index}]", shared)
        for field, hdu, cards in hdus:
            yield _item_hdu(item, (field_prefix(name, index), field), hdu, index + 1, cards)


def _shared_cards(
    model: DataModel, tree: Mapping[str, Any], name: str
) -> dict[str, Sequence[Card]]:
    """Return the model's own cards in the extensions of a list, by extension."""
    hdus = model.schema.lists[name].item.hdus & model.schema.by_hdu.keys()
    return {hdu: cards_from_meta(model.schema, tree, model.extra, hdu) for hdu in hdus}


def _item_hdus(
    item: ListItem, where: str, shared: Mapping[str, Sequence[Card]]
) -> list[tuple[str, str, list[Card]]]:
    """Return the field, extension and cards of each HDU of an item, which has at least one."""
    schema = item.schema
    for name, spec in schema.fields.items():
        if spec.required and not item.has(name):
            raise ValidationError(f"{where} has no {name} ({spec.title or spec.hdu})")
    tree = validate_tree(schema, item._content.tree, where)
    found = []
    for name, spec in schema.fields.items():
        own = cards_from_meta(schema, tree, item.extra, spec.hdu)
        keywords = {keyword for keyword, _, _ in own if keyword not in COMMENTARY}
        others = [c for c in shared.get(spec.hdu.upper(), ()) if c[0] not in keywords]
        found.append((name, spec.hdu, [*others, *own]))
    return [each for each in found if item.has(each[0]) or each[2]] or found[:1]


def _item_hdu(
    item: ListItem, name: tuple[str, str], hdu: str, version: int, cards: Sequence[Card]
) -> OutputImage | OutputTable:
    """Return an HDU of an item; a header without pixels if the item lacks the field."""
    content, field = item._content, name[1]
    placed: Any = content.on_grid.get(field)
    if field in content.off_grid:
        placed = content.off_grid_array(field)
        if placed.dtype.names is not None:
            units = unit_cards(placed.dtype.names, content.units.get(field, {}), cards)
            return OutputTable(hdu, placed, [*cards, *units], version)
    if placed is None:
        return OutputImage(name="", extname=hdu, extver=version, cards=cards)
    return OutputImage(
        name="".join(name), extname=hdu, extver=version,
        dtype=placed.dtype, shape=placed.shape, cards=cards,
    )  # fmt: skip
