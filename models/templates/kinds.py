"""Kinds of exposures: what the models of files have in common, and the parts in which they differ.

Exposures of one kind have the same plan. They differ in where their pixels are stored, and in
metadata on which nothing depends, such as names, times and pointings. `detach` takes these parts
out of the model of a file. What is left is its kind: a pickle, in which persistent ids stand for
the parts.
`make_blank` makes a model of a kind whose parts are blank (`calbatch.models.templates.blanks`).
Whatever is derived from it holds for all files of the kind, except for the blanks left in it.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calbatch.models.errors import ModelError, escape_text
from calbatch.models.fits.asdf_extension import IN_ASDF
from calbatch.models.fits.cards import COMMENTARY
from calbatch.models.fits.hdu import Hdu
from calbatch.models.fits.headers import ExtraCards
from calbatch.models.model import DataModel
from calbatch.models.schema.spec import Schema
from calbatch.models.storage.stamps import Stamp
from calbatch.models.templates.blanks import PATH_TEXT, Blank, BlankPath, Place

PROTOCOL = pickle.HIGHEST_PROTOCOL
_PLAIN = (str, int, float, bool)


@dataclass(frozen=True)
class FileParts:
    """The parts of a model that belong to a single file.

    Attributes
    ----------
    path : Path
        The file.
    stamp : Stamp
        Its identity.
    hdus : dict of Hdu
        Its HDUs, by index.
    values : dict
        The values of metadata and of header cards, by place: ``("meta", path)`` and
        ``("card", hdu, number)``.
    """

    path: Path
    stamp: Stamp
    hdus: dict[int, Hdu] = field(default_factory=dict)
    values: dict[Place, Any] = field(default_factory=dict)

    def find(self, place: Place) -> Any:
        """Return the part at a place."""
        match place:
            case ("text", pieces):
                return str(self.path).join(pieces)
            case ("path",):
                return self.path
            case ("stamp",):
                return self.stamp
            case ("hdu", index):
                return self.hdus[index]
        return self.values[place]


@dataclass(frozen=True)
class Kind:
    """A kind of exposure: all that models have in common.

    Attributes
    ----------
    content : bytes
        A model without the parts of its file.
    schemas : mapping
        The schemas that it refers to, by `id`; kept, so that an id is not used again.
    """

    content: bytes
    schemas: Mapping[int, Schema] = field(compare=False, repr=False)


class _Taken(tuple[Any, ...]):
    """The place of a value that has been taken out of metadata or cards."""

    __slots__ = ()


def detach(
    model: DataModel, stamp: Stamp, is_kept: Callable[[str], bool]
) -> tuple[Kind, FileParts]:
    """Return the kind of a file's model, and the parts that are not in it.

    Parameters
    ----------
    model : DataModel
        The model, which has not been changed since its file was opened.
    stamp : Stamp
        The identity of its file.
    is_kept : callable
        Takes the path of a branch or a value of the metadata; returns whether it belongs to the
        kind as a whole.

    Raises
    ------
    ModelError
        If the model was not opened from a local FITS file, the file has changed or is damaged, its
        path cannot be shown as it is, or the model holds what a kind cannot have: lists of items,
        or objects that cannot be pickled.
    """
    content = model._content
    path = model.path
    is_opened = content.stored is not None and not content.lists
    is_opened &= model.__dict__.keys() == {"schema", "path", "_content"}
    if not isinstance(path, Path) or escape_text(str(path)) != str(path) or not is_opened:
        raise ModelError(f"{path or type(model).__name__}: has no kind")
    for name in IN_ASDF:
        model.value_in_asdf(name)  # steps ask for it, and it is in the file
    parts = FileParts(path, stamp)
    rest = replace(
        content,
        tree=_take_values(content.tree, "", is_kept, parts.values),
        extra=_take_cards(content.extra, parts.values),
    )
    schemas: dict[int, Schema] = {}
    stream = io.BytesIO()
    try:
        _Detacher(stream, parts, schemas).dump((type(model), model.schema, rest))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ModelError(f"{model.path}: has no kind: {error}") from error
    return Kind(stream.getvalue(), schemas), parts


def _take_values(
    branch: Mapping[str, Any], path: str, is_kept: Callable[[str], bool], values: dict[Place, Any]
) -> dict[str, Any]:
    """Return a branch with places instead of plain values, which are moved to ``values``."""
    rest: dict[str, Any] = {}
    for name, value in branch.items():
        below = f"{path}.{name}" if path else name
        if is_kept(below):
            rest[name] = value
        elif type(value) is dict:
            rest[name] = _take_values(value, below, is_kept, values)
        else:
            rest[name] = _take(("meta", below), value, values)
    return rest


def _take_cards(extra: ExtraCards, values: dict[Place, Any]) -> ExtraCards:
    return {
        hdu: [
            (keyword, value, comment)
            if keyword in COMMENTARY
            else (keyword, _take(("card", hdu, number), value, values), comment)
            for number, (keyword, value, comment) in enumerate(cards)
        ]
        for hdu, cards in extra.items()
    }


def _take(place: Place, value: Any, values: dict[Place, Any]) -> Any:
    if type(value) not in _PLAIN:
        return value
    values[place] = value
    return _Taken(place)


class _Detacher(pickle.Pickler):
    """Pickles a model without the parts of its file, and collects its HDUs and schemas."""

    def __init__(self, stream: io.BytesIO, parts: FileParts, schemas: dict[int, Schema]) -> None:
        super().__init__(stream, PROTOCOL)
        self.parts, self.schemas, self.path = parts, schemas, str(parts.path)

    def persistent_id(self, value: Any) -> Place | None:
        """Return the place of a part, and what a kind has to know about it."""
        cls = type(value)
        if cls is str:
            return ("text", value.split(self.path)) if self.path in value else None
        if cls is _Taken:
            return tuple(value)
        if cls is Hdu and value.stamp == self.parts.stamp:
            self.parts.hdus[value.index] = value
            return ("hdu", value.index, replace(value, parts=(), stamp=_NO_FILE))
        if cls is Schema:
            self.schemas[id(value)] = value
            return ("schema", id(value))
        if cls is Stamp and value == self.parts.stamp:
            return ("stamp",)
        return ("path",) if isinstance(value, Path) and value == self.parts.path else None


_NO_FILE = Stamp("", 0, 0)


class Filler(pickle.Unpickler):
    """Reads a pickle, filling in parts by their places."""

    def __init__(self, content: bytes, find: Callable[[Place], Any]) -> None:
        super().__init__(io.BytesIO(content))
        self._find = find

    def persistent_load(self, place: Place) -> Any:
        """Return the part at a place."""
        return self._find(place)


def make_blank(kind: Kind, consulted: set[Place]) -> DataModel:
    """Return a model of a kind whose parts are blank.

    Parameters
    ----------
    kind : Kind
        The kind.
    consulted : set of tuple
        Receives the places of the parts that something depends on.
    """

    def find(place: Place) -> Any:
        match place:
            case ("schema", number):
                return kind.schemas[number]
            case ("text", pieces):
                return PATH_TEXT.join(pieces)
            case ("path",):
                return BlankPath(place, consulted)
            case ("hdu", index, hdu):
                own: Any = Blank(("cards", index), consulted)
                stamp: Any = Blank(("stamp",), consulted)
                return replace(hdu, parts=own, stamp=stamp)
        return Blank(place, consulted)

    cls, schema, content = Filler(kind.content, find).load()
    model: DataModel = cls(schema=schema)
    path: Any = BlankPath(("path",), consulted)
    model.path, model._content = path, content
    return model
