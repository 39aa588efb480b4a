"""Branches and lists of a tree, in which arrays are read and transforms made when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, MutableSequence
from datetime import date
from typing import Any, overload

import numpy as np

from calbatch.models.asdf.asdf_file import StoredArray
from calbatch.models.asdf.tagged import TaggedText, TaggedValue
from calbatch.models.asdf.transforms import make_object

UNIT = "tag:stsci.edu:asdf/unit/unit-1.0.0"


def show(data: Any, key: Any, where: str, path: str) -> Any:
    """Return an entry of a dict or list: scalars as they are, branches and lists as views.

    An array is read, and a transform or table is made, and takes the place of what it was read
    from.

    Raises
    ------
    FileError
        If an array cannot be read or an object cannot be made; a missing package is named.
    """
    value = data[key]
    if isinstance(value, StoredArray):
        value = data[key] = value.load()
    elif isinstance(value, TaggedValue):
        value = data[key] = make_object(where, path, value)
    if isinstance(value, dict):
        return TreeNode(value, where, path)
    return TreeList(value, where, path) if isinstance(value, list) else value


def store(value: Any) -> Any:
    """Return a value as a tree holds it: dicts, lists, scalars, arrays and objects."""
    if isinstance(value, (TreeNode, TreeList)):
        return store(value._data)
    if isinstance(value, Mapping):
        return {str(name): store(below) for name, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [store(below) for below in value]
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return value.item()
    if isinstance(value, date):
        return value.isoformat()
    if type(value).__module__.startswith("astropy.units.") and hasattr(value, "to_string"):
        return _store_unit(value)
    return value


def _store_unit(value: Any) -> Any:
    """Return a unit as text with its tag; a quantity unchanged."""
    if hasattr(value, "unit"):
        return value
    return TaggedText(value.to_string("vounit"), UNIT)


class TreeNode(MutableMapping[str, Any]):
    """A branch of a tree, whose entries are items and attributes: ``node["a"]``, ``node.a``.

    Parameters
    ----------
    data : dict
        The entries, which the node modifies.
    where : str
        The file, for messages.
    path : str
        Dotted path of the branch.
    """

    __slots__ = ("_data", "_path", "_where")

    _data: dict[str, Any]
    _path: str
    _where: str

    def __init__(self, data: dict[str, Any], where: str, path: str) -> None:
        object.__setattr__(self, "_data", data)
        object.__setattr__(self, "_where", where)
        object.__setattr__(self, "_path", path)

    def __getitem__(self, name: str) -> Any:
        return show(self._data, name, self._where, f"{self._path}.{name}")

    def __setitem__(self, name: str, value: Any) -> None:
        self._data[name] = store(value)

    def __delitem__(self, name: str) -> None:
        del self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, name: object) -> bool:
        return name in self._data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._data:
            names = ", ".join(map(str, self._data))
            raise AttributeError(f"{self._where}: {self._path} has no {name!r}, but {names}")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __eq__(self, other: object) -> bool:
        other = other._data if isinstance(other, TreeNode) else other
        return isinstance(other, Mapping) and self._data == store(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return TreeNode, (self._data, self._where, self._path)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *map(str, self._data)})

    def __repr__(self) -> str:
        return f"<{self._path}: {', '.join(map(str, self._data))}>"


class TreeList(MutableSequence[Any]):
    """A list of a tree.

    Parameters
    ----------
    data : list
        The entries, which the list modifies.
    where : str
        The file, for messages.
    path : str
        Dotted path of the list.
    """

    __slots__ = ("_data", "_path", "_where")

    def __init__(self, data: list[Any], where: str, path: str) -> None:
        self._data = data
        self._where = where
        self._path = path

    def __len__(self) -> int:
        return len(self._data)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(len(self))[index]]
        return show(self._data, index, self._where, f"{self._path}[{index}]")

    def __setitem__(self, index: Any, value: Any) -> None:
        self._data[index] = store(value)

    def __delitem__(self, index: int | slice) -> None:
        del self._data[index]

    def insert(self, index: int, value: Any) -> None:
        """Insert an entry before an index."""
        self._data.insert(index, store(value))

    def extend(self, values: Iterable[Any]) -> None:
        """Append several entries."""
        self._data.extend(map(store, values))

    def __eq__(self, other: object) -> bool:
        other = other._data if isinstance(other, TreeList) else other
        return isinstance(other, (list, tuple)) and self._data == store(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return TreeList, (self._data, self._where, self._path)

    def __repr__(self) -> str:
        return f"<{self._path}: {len(self._data)} entries>" if len(self) > 10 else repr(self._data)
