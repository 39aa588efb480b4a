"""Lists of items in a model, such as the slits of an exposure.

The items' extensions have the same names, and EXTVER numbers the items from 1. The headers of an
item are read when it is first used.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, MutableSequence
from typing import Any, overload

from calbatch.models.arrays import ModelContent
from calbatch.models.errors import ValidationError, format_count
from calbatch.models.fits.asdf_extension import AsdfPlace
from calbatch.models.fits.headers import ASDF
from calbatch.models.lists._list_items import UnreadItem
from calbatch.models.model import DataModel
from calbatch.models.schema.spec import PRIMARY, ListSpec

_SHOWN = 5


class ListItem(DataModel):
    """An item of a list: metadata and arrays as in a model, within the file of another model."""

    @classmethod
    def of_content(cls, spec: ListSpec, content: ModelContent, source: UnreadItem) -> ListItem:
        """Return an item that was read from a file."""
        item = cls(schema=spec.item)
        item.path, item._content = source.path, content
        return item

    @classmethod
    def of_model(cls, spec: ListSpec, model: DataModel | None) -> ListItem:
        """Return an item with the arrays and metadata of a model that an item can have.

        Raises
        ------
        ValidationError
            If an array does not fit the schema, or metadata depend on the pixels.
        """
        item = cls(model, schema=spec.item)
        content = item._content
        computed = [path for deferred in content.deferred for path in deferred.paths]
        if any(path in spec.item.keywords for path in computed):
            raise ValidationError(
                f"{spec.name}: {computed[0]} is known only when a model has been computed: save "
                "the model, and add the one that opens its file"
            )
        asdf = next((hdu for hdu in content.other_hdus if hdu.name == ASDF), None)
        if asdf is not None and model is not None:
            content.place = AsdfPlace(asdf, "", 0, model.schema)
        content.deferred, content.other_hdus, content.asdf_values = (), (), {}
        content.stored, content.product = None, ""
        content.tree.pop("history", None)
        content.extra.pop(PRIMARY, None)
        return item


class ItemList(MutableSequence[ListItem]):
    """A list of a model, which changes with it.

    Items are found by index and, if they have names, by name: ``model.slits["S200A1"]``. Changing
    an item changes the model. A model that is added is copied: its lazy graph is shared, but later
    assignments to it do not change the list.

    Parameters
    ----------
    entries : list
        The items of the model's content: models, or unread items of a file.
    spec : ListSpec
        The specification of the list.
    where : str
        The model's file, for messages.
    """

    def __init__(self, entries: list[Any], spec: ListSpec, where: str) -> None:
        self._entries = entries
        self._spec = spec
        self._where = where

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int | str) -> ListItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[ListItem]: ...

    def __getitem__(self, index: int | str | slice) -> ListItem | list[ListItem]:
        if isinstance(index, slice):
            return [self._item(i) for i in range(len(self))[index]]
        number = self._find(index) if isinstance(index, str) else range(len(self))[index]
        return self._item(number)

    def _item(self, index: int) -> ListItem:
        entry = self._entries[index]
        if isinstance(entry, UnreadItem):
            entry = ListItem.of_content(self._spec, entry.load(), entry)
            self._entries[index] = entry
        item: ListItem = entry
        return item

    def _find(self, name: str) -> int:
        found = [index for index, own in enumerate(self.names) if own == name]
        if len(found) == 1:
            return found[0]
        start = f"{self._where}: {self._spec.name}"
        if found:
            raise KeyError(f"{start}: {name!r} is the name of the items {found}: use an index")
        near = difflib.get_close_matches(name, [own for own in self.names if own], 1)
        hint = f"; did you mean {near[0]!r}?" if near else f", among {self.text}"
        raise KeyError(f"{start}: no item is named {name!r}{hint}")

    @property
    def names(self) -> list[str | None]:
        """The items' names, None for an item without one; only their cards are read."""
        if "name" not in self._spec.item.keywords:
            return [None] * len(self)
        return [e.text("name") if isinstance(e, UnreadItem) else e.name for e in self._entries]

    def __contains__(self, value: object) -> bool:
        if isinstance(value, str):
            return value in self.names
        return any(entry is value for entry in self._entries)

    def _copy_as_item(self, model: Any) -> ListItem:
        """Return a copy of a model as an item."""
        if not isinstance(model, DataModel):
            raise TypeError(
                f"{self._where}: the items of {self._spec.name} are models, not "
                f"{type(model).__name__}; make one from values with {self._spec.name}.add(name=...)"
            )
        return ListItem.of_model(self._spec, model)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            self._entries[index] = [self._copy_as_item(model) for model in value]
        else:
            self._entries[index] = self._copy_as_item(value)

    def __delitem__(self, index: int | slice) -> None:
        del self._entries[index]

    def insert(self, index: int, value: DataModel) -> None:
        """Insert a copy of a model before an index.

        Raises
        ------
        TypeError
            If it is not a model.
        ValidationError
            If it does not fit the schema of the items.
        """
        self._entries.insert(index, self._copy_as_item(value))

    def add(self, model: DataModel | None = None, **values: Any) -> ListItem:
        """Append an item, and return it.

        Parameters
        ----------
        model : DataModel, optional
            The model to copy.
        **values
            Arrays, tables and metadata by name, such as ``name="S200A1"``.

        Raises
        ------
        ValidationError
            If the model or an array does not fit the schema of the items.
        AttributeError
            If the schema does not have a name.
        """
        item = ListItem.of_model(self._spec, model)
        for name, value in values.items():
            setattr(item, name, value)
        self._entries.append(item)
        return item

    def extend(self, values: Iterable[DataModel]) -> None:
        """Append copies of several models."""
        self[len(self) :] = list(values)

    @property
    def text(self) -> str:
        """The number of items, and the first names."""
        names = [name for name in self.names[:_SHOWN] if name]
        more = ", ..." if len(self) > _SHOWN else ""
        shown = f": {', '.join(names)}{more}" if names else ""
        return f"{format_count(len(self), 'item')}{shown}"

    def __repr__(self) -> str:
        return f"<{self._spec.name}, {self.text}>"
