"""Metadata as a tree of attributes over plain nested dictionaries."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Self, SupportsIndex

from calbatch.models.schema.spec import KeywordSpec, Schema
from calbatch.models.schema.validate import AssignmentCheck, check_assignment, to_plain

_UNCHANGING = {str, int, float, bool, type(None)}


def get_path(data: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """Return the value at a dotted path of nested dictionaries, or a default."""
    value: Any = data
    for part in path.split("."):
        # nearly always a dict, which is found faster
        if not isinstance(value, (dict, Mapping)) or part not in value:
            return default
        value = value[part]
    return value


NOT_PLAIN = object()
"""Result of `plain_value` for a path that `MetadataNode` has to look up."""


def plain_value(data: Mapping[str, Any], schema: Schema, path: str) -> Any:
    """Return the value of a keyword; `NOT_PLAIN` if it is, or may be, kept as a branch or a list.

    Most values are plain, and found faster than by a `MetadataNode` for each branch.
    """
    spec = schema.keywords.get(path) if path.startswith("meta.") else None
    if spec is None or spec.type == "array" or schema.has_branch(path):
        return NOT_PLAIN
    value = get_path(data, path)
    return NOT_PLAIN if isinstance(value, (dict, list)) else value


def set_path(data: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, creating missing dictionaries; None removes the value."""
    *branches, leaf = path.split(".")
    for part in branches:
        below = data.get(part)
        if not isinstance(below, dict):
            if value is None:
                return
            below = data[part] = {}
        data = below
    if value is None:
        data.pop(leaf, None)
    else:
        data[leaf] = value


def copy_metadata(value: Any) -> Any:
    """Return a deep copy of metadata, ten times faster than `copy.deepcopy` for plain values."""
    if type(value) is dict:
        return {name: copy_metadata(below) for name, below in value.items()}
    return value if type(value) in _UNCHANGING else copy.deepcopy(value)


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of all leaves that are set, by dotted path, without empty lists."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping):
            flat.update(flatten(value, path))
        elif value is not None and value != []:
            flat[path] = value
    return flat


class MetadataList(list[Any]):
    """A list in the metadata that is validated whenever items are added.

    Invalid items are handled as in an assignment of the whole list. Copies and pickles are plain
    lists.

    Parameters
    ----------
    items : iterable
        The list's items.
    path : str
        Dotted path of the list.
    check : callable
        As for `MetadataNode`.
    """

    __slots__ = ("_check", "_path")

    def __init__(self, items: Iterable[Any], path: str, check: AssignmentCheck) -> None:
        super().__init__(items)
        self._path = path
        self._check = check

    def _replace(self, items: list[Any]) -> None:
        accepted, items = self._check(self._path, items)
        if accepted:
            super().__setitem__(slice(None), items)

    def append(self, item: Any) -> None:
        """Append an item."""
        self._replace([*self, item])

    def extend(self, items: Iterable[Any]) -> None:
        """Append several items."""
        self._replace([*self, *items])

    def insert(self, index: SupportsIndex, item: Any) -> None:
        """Insert an item before an index."""
        items = [*self]
        items.insert(index, item)
        self._replace(items)

    def __setitem__(self, index: Any, value: Any) -> None:
        items = [*self]
        items[index] = value
        self._replace(items)

    def __iadd__(self, items: Iterable[Any]) -> Self:  # type: ignore[misc]
        self.extend(items)
        return self

    def __copy__(self) -> list[Any]:
        return [*self]

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return copy.deepcopy([*self], memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ([*self],)


class MetadataNode:
    """A branch of the metadata tree.

    ``node.name`` is a value or a further node. An unset name of the schema is None, or an empty
    list if its type is ``array``. Names that are not in the schema can be neither read nor
    assigned.

    Parameters
    ----------
    data : dict
        The nested dictionaries of the whole model (``{"meta": {...}}``), which the node modifies.
    schema : Schema
        The model's schema.
    path : str
        Dotted path of the branch.
    check : callable, optional
        ``check(path, value) -> (accepted, value)``, called before each assignment; by default
        `validate.check_assignment`.
    """

    __slots__ = ("_check", "_data", "_path", "_schema")

    def __init__(
        self,
        data: dict[str, Any],
        schema: Schema,
        path: str = "meta",
        check: AssignmentCheck | None = None,
    ) -> None:
        set_slot = partial(object.__setattr__, self)
        set_slot("_data", data)
        set_slot("_schema", schema)
        set_slot("_path", path)
        set_slot("_check", check or partial(check_assignment, schema))

    @property
    def instance(self) -> dict[str, Any]:
        """The branch as a plain nested dictionary, empty if nothing in it is set."""
        branch = get_path(self._data, self._path)
        return branch if isinstance(branch, dict) else {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pickle and copy ask before the slots are set
            raise AttributeError(name)
        path = f"{self._path}.{name}"
        value = self.instance.get(name)
        if isinstance(value, dict) or (value is None and self._schema.has_branch(path)):
            return MetadataNode(self._data, self._schema, path, self._check)
        if value is None or isinstance(value, list):
            return self._list_or_unset(name, path, value)
        return value

    def _list_or_unset(self, name: str, path: str, value: list[Any] | None) -> Any:
        spec = self._schema.lookup(path)
        if spec is None and value is None:
            raise AttributeError(self._unknown(name))
        if not isinstance(spec, KeywordSpec) or spec.type != "array":
            return value
        items = MetadataList(value or (), path, self._check)
        set_path(self._data, path, items)  # so that appended items are in the tree
        return items

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name == "instance":
            raise AttributeError(f"{self._path}.{name} is not metadata and cannot be set")
        path = f"{self._path}.{name}"
        plain = value.copy() if isinstance(value, MetadataNode) else to_plain(value)
        accepted, value = self._check(path, plain)
        if accepted:
            set_path(self._data, path, value)

    def __delattr__(self, name: str) -> None:
        if name not in self.instance:
            raise AttributeError(f"{self._path}.{name} is not set")
        set_path(self._data, f"{self._path}.{name}", None)

    def _unknown(self, name: str) -> str:
        known = {*self._schema.children(self._path), *self.instance}
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{self._path} has no {name!r} in schema {self._schema.name!r}{hint}"

    def hasattr(self, name: str) -> bool:
        """Return whether a name is set, and not merely in the schema."""
        return self.instance.get(name) not in (None, [])

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the values that are set, as (dotted path below this branch, value)."""
        return iter(flatten(self.instance).items())

    def __iter__(self) -> Iterator[str]:
        return iter(flatten(self.instance))

    def __contains__(self, path: str) -> bool:
        return get_path(self.instance, path) not in (None, [])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MetadataNode):
            return flatten(self.instance) == flatten(other.instance)
        return isinstance(other, Mapping) and flatten(self.instance) == flatten(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return MetadataNode, (self._data, self._schema, self._path, self._check)

    def copy(self) -> dict[str, Any]:
        """Return a deep copy of the branch's values."""
        return copy.deepcopy(self.instance)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._schema.children(self._path), *self.instance}
        return sorted(names)

    def __repr__(self) -> str:
        lines = [f"{path}: {value!r}" for path, value in self.items()]
        return "\n".join([f"<{self._path}>", *(f"  {line}" for line in lines)])
