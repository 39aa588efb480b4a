"""Templates: what is derived from a blank model once, to be filled with the parts of each file."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

from calbatch.models.errors import ModelError
from calbatch.models.fits.hdu import Hdu
from calbatch.models.schema.spec import Schema
from calbatch.models.templates.blanks import PATH_TEXT, Blank, Place, place_of
from calbatch.models.templates.kinds import PROTOCOL, FileParts, Filler
from calbatch.models.tiling.plan import KernelCall, ReductionSpec
from calbatch.models.tiling.portable import PortableFunction

_SHARED = (KernelCall, ReductionSpec, Hdu, Schema)
"""Immutable types, whose instances templates share with what is made from them."""


class Template:
    """Something derived from a blank model, to be filled with the parts of files.

    Parameters
    ----------
    value : Any
        What has been derived. Operations without blanks are shared by all that is made from it.
    slots : mapping, optional
        The names of objects, by `id`, that `fill` receives; they need not be picklable.

    Raises
    ------
    ModelError
        If it cannot be pickled, or has functions of users, whose pickles may hide blanks.
    """

    def __init__(self, value: Any, slots: Mapping[int, str] | None = None) -> None:
        stream = io.BytesIO()
        maker = _TemplateMaker(stream, slots or {})
        try:
            maker.dump(value)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ModelError(f"no template can be made: {error}") from error
        self._content, self._shared = stream.getvalue(), maker.shared

    def fill(self, parts: FileParts, objects: Mapping[str, Any] | None = None) -> Any:
        """Return a new object with the parts of a file, and the objects for its slots."""
        shared, given = self._shared, objects or {}

        def find(place: Place) -> Any:
            match place:
                case ("shared", number):
                    return shared[number]
                case ("slot", name):
                    return given[name]
            return parts.find(place)

        return Filler(self._content, find).load()


class _TemplateMaker(pickle.Pickler):
    """Pickles something derived from a blank model, except for what is shared."""

    def __init__(self, stream: io.BytesIO, slots: Mapping[int, str]) -> None:
        super().__init__(stream, PROTOCOL)
        self.slots = slots
        self.shared: list[Any] = []
        self.numbers: dict[int, int] = {}

    def persistent_id(self, value: Any) -> Place | None:
        """Return the place of a blank, of what is shared, or of a slot."""
        cls = type(value)
        if cls is str:
            return ("text", value.split(PATH_TEXT)) if PATH_TEXT in value else None
        if issubclass(cls, Blank):
            return place_of(value)
        if cls is PortableFunction:
            raise ModelError("no template can be made of a user's function")
        if id(value) in self.slots:
            return ("slot", self.slots[id(value)])
        if cls is Hdu and type(value.stamp) is Blank:
            return ("hdu", value.index)
        if id(value) in self.numbers:
            return ("shared", self.numbers[id(value)])
        if cls in _SHARED and not _BlankFinder.finds_any(value):
            self.numbers[id(value)] = len(self.shared)
            self.shared.append(value)
            return ("shared", self.numbers[id(value)])
        return None


class _BlankFinder(pickle.Pickler):
    """Pickles a value to see whether there are blanks in it."""

    found = False

    @classmethod
    def finds_any(cls, value: Any) -> bool:
        """Return whether a value has blanks."""
        finder = cls(io.BytesIO(), PROTOCOL)
        finder.dump(value)
        return finder.found

    def persistent_id(self, value: Any) -> int | None:
        """Note a blank, which is not pickled."""
        cls = type(value)
        is_blank = issubclass(cls, Blank) or (cls is str and PATH_TEXT in value)
        # A user's function may hide blanks; the template does not take it.
        self.found |= is_blank or cls is PortableFunction
        return 0 if is_blank else None
