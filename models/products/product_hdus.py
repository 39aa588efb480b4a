"""The HDUs of a model's file: headers of its metadata, arrays, tables, and what the input has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calbatch.models.arrays import ModelContent
from calbatch.models.contradictions import require_shapes
from calbatch.models.errors import FileError, ValidationError
from calbatch.models.fits.asdf_extension import IN_ASDF, build_asdf_hdus
from calbatch.models.fits.cards import Card
from calbatch.models.fits.column_units import unit_cards
from calbatch.models.fits.headers import ASDF, cards_from_meta
from calbatch.models.fits.output_hdus import CopiedHdu, OutputHdu, OutputImage, OutputTable
from calbatch.models.lists._list_output import asdf_places, build_list_hdus, list_items
from calbatch.models.model import DataModel
from calbatch.models.schema.meta import copy_metadata, get_path, set_path
from calbatch.models.schema.spec import PRIMARY, Schema
from calbatch.models.schema.validate import validate_tree, warn_or_raise
from calbatch.models.storage.location import Location

_COMPRESSED = ("gz", "fz", "bz2", "xz", "zst", "z", "zip")


def own_metadata(model: DataModel, path: Location, date: str) -> dict[str, Any]:
    """Return the metadata that describe a single file, by path, as far as the schema names them."""
    own = {"filename": path.name, "model_type": type(model).__name__, "date": date}
    return {f"meta.{n}": v for n, v in own.items() if f"meta.{n}" in model.schema.keywords}


def complete_metadata(content: ModelContent, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of metadata with those of the file, and room for those that are deferred."""
    tree = copy_metadata(content.tree)
    for path, value in own.items():
        set_path(tree, path, value)
    for path in (p for deferred in content.deferred for p in deferred.paths):
        set_path(tree, path, 0.0)  # reserves a card for the value computed from the tiles
    return tree


def build_hdus(
    model: DataModel, path: Location, date: str, headers: Mapping[str, bytes] | None = None
) -> list[OutputHdu]:
    """Return the HDUs of a model's file.

    They are those that the schema names, in its order, then other HDUs of the input and the ASDF
    extension.

    Parameters
    ----------
    model : DataModel
        The model, whose metadata are validated unless ``headers`` are given.
    path : Path or Url
        The file.
    date : str
        Value of DATE.
    headers : mapping, optional
        The headers of the primary HDU and of the arrays on the tile grid by EXTNAME, if they have
        been made already.

    Raises
    ------
    FileError
        If the model cannot be written to a file of this name.
    ValidationError
        If the model lacks what the file needs, or metadata are invalid in a way that is an error.
    """
    content = model._content
    _require_plain_name(path)
    if model.schema.stored_as != "fits":
        kind = model.schema.stored_as.upper()
        raise FileError(path, f"a {type(model).__name__} is not saved as FITS, but as {kind}")
    _require_fields(model, path)
    require_shapes(model, str(path))
    if headers is not None and not content.off_grid:
        tree = content.tree  # validated when the headers were made
    else:
        tree = complete_metadata(content, own_metadata(model, path, date))
        tree = validate_tree(model.schema, tree, str(path))
        _warn_of_unwritten(model.schema, tree, path)
        for _, _, item in list_items(model):
            _warn_of_unwritten(item.schema, item._content.tree, path)

    def image(name: str, hdu: str, **pixels: Any) -> OutputImage:
        if headers is not None:
            return OutputImage(name=name, extname=hdu, header=headers[hdu], **pixels)
        return OutputImage(name=name, extname=hdu, cards=cards(hdu), **pixels)

    def cards(hdu: str) -> list[Card]:
        return cards_from_meta(model.schema, tree, content.extra, hdu)

    hdus: list[Any] = [image("", PRIMARY)]
    for name, spec in model.schema.fields.items():
        field = content.on_grid.get(name)
        if field is not None:
            hdus.append(image(name, spec.hdu, dtype=field.dtype, shape=field.shape))
        elif name in content.off_grid:
            hdus.append(_off_grid_hdu(content, name, spec.hdu, cards(spec.hdu)))
    hdus.extend(build_list_hdus(model, tree, path))
    hdus.extend(CopiedHdu(h) for h in content.other_hdus if h.name != ASDF)
    values = {path: get_path(tree, path) for path in IN_ASDF if get_path(tree, path)}
    places = asdf_places(model)
    hdus.extend(build_asdf_hdus(model.schema, content.other_hdus, values, places))
    return hdus


def _off_grid_hdu(content: ModelContent, name: str, hdu: str, cards: list[Card]) -> OutputHdu:
    array = content.off_grid_array(name)
    if array.dtype.names is not None:
        units = unit_cards(array.dtype.names, content.units.get(name, {}), cards)
        return OutputTable(hdu, array, [*cards, *units])
    return OutputImage(name=name, extname=hdu, dtype=array.dtype, shape=array.shape, cards=cards)


def _require_fields(model: DataModel, path: Location) -> None:
    """Raise an error if the model lacks an array that the file needs to be opened again."""
    for name, spec in model.schema.fields.items():
        if spec.required and not model.has(name):
            raise ValidationError(
                f"{path}: {type(model).__name__} has no {name} ({spec.title or spec.hdu}), and a "
                f"file without it cannot be opened; assign model.{name} before saving"
            )


def _warn_of_unwritten(schema: Schema, tree: Mapping[str, Any], path: Location) -> None:
    """Warn about metadata that have no FITS keyword."""
    for spec in schema.keywords.values():
        value = get_path(tree, spec.path) if spec.keyword is None else None
        if value not in (None, []) and spec.path not in IN_ASDF:
            warn_or_raise(
                ValidationError(f"{path}: {spec.path} has no FITS keyword, and is left out")
            )


def _require_plain_name(path: Location) -> None:
    """Raise an error if the file's name is that of a compressed file."""
    ending = path.name.lower().rpartition(".")[2]
    if ending in _COMPRESSED:
        plain = path.name[: -len(ending) - 1]
        raise FileError(
            path,
            f"has the name of a compressed file, but files are written uncompressed: save as "
            f"{plain} and compress that file",
        )
