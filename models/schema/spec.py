"""Schemas: the metadata, arrays and tables of a kind of file, and their places in FITS."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, SupportsIndex

from calbatch.models.errors import SchemaError
from calbatch.models.schema._datatypes import ColumnSpec, read_datatype
from calbatch.models.schema._records import PRIMARY, FieldSpec, KeywordSpec, PartSpec
from calbatch.models.schema.source import (
    SchemaNode,
    SchemaSource,
    builtin_folder,
    locate,
    read_tree,
)

__all__ = [
    "PRIMARY",
    "ColumnSpec",
    "FieldSpec",
    "KeywordSpec",
    "ListSpec",
    "PartSpec",
    "Schema",
    "leaf_spec",
    "load_schema",
]

_FORMATS = ("fits", "asdf", "json")

# Keywords that are attributes of KeywordSpec, or that do not restrict values.
_PLAIN_KEYWORDS = {
    *("title", "description", "type", "enum", "pattern", "minimum", "maximum", "default"),
    *("fits_keyword", "fits_hdu", "required"),
}
_FITS_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")


@dataclass(frozen=True)
class ListSpec:
    """Specification of a list, whose items have extensions of the same names.

    Attributes
    ----------
    name, title : str
        Attribute of the model, and short description.
    item : Schema
        The contents of an item. In a file, EXTVER of its extensions is its number, from 1.
    """

    name: str
    title: str
    item: Schema


class Schema:
    """The contents of a kind of file, or of an item of a list in it.

    Attributes
    ----------
    name : str
        Name of the schema, without folder and endings: ``multislit``. For the items of a list,
        ``multislit.slits``.
    fields : dict of FieldSpec
        Arrays and tables by name, in the schema's order.
    keywords : dict of KeywordSpec
        Metadata by dotted path, in the schema's order.
    lists : dict of ListSpec
        Lists of items with extensions of their own, by name.
    branches : dict of str
        Titles of the inner nodes of the metadata tree, by dotted path.
    stored_as : str
        Format of the files: ``fits``, or ``asdf`` or ``json``, which hold a tree.
    parts : dict of PartSpec
        What a tree holds beside the metadata, by name, in the schema's order.
    files : mapping of SchemaSource to int
        The schema's files with their modification times, the main file first.
    main_file : SchemaSource
        The file that was named; the others are referred to.
    """

    def __init__(self, tree: SchemaNode, files: Mapping[SchemaSource, int], name: str = "") -> None:
        self.files = files
        self.main_file = next(iter(files))
        self.name = name or self.main_file.name.removesuffix(".yaml").removesuffix(".schema")
        self.is_of_item = bool(name)
        self.fields: dict[str, FieldSpec] = {}
        self.keywords: dict[str, KeywordSpec] = {}
        self.lists: dict[str, ListSpec] = {}
        self.branches: dict[str, str] = {"meta": ""}
        self.parts: dict[str, PartSpec] = {}
        self.stored_as = str(tree.keywords.get("stored_as", "fits"))
        if self.stored_as not in _FORMATS:
            formats = ", ".join(_FORMATS)
            raise SchemaError(f"{self.source}: stored_as {self.stored_as!r}: one of {formats}")
        self._add_children(tree, "")
        self._require_own_hdus()

    def _add_children(self, node: SchemaNode, path: str) -> None:
        required = node.keywords.get("required", ())
        for name, child in node.children.items():
            place = f"{path}.{name}" if path else name
            try:
                self._add(child, place, name in required)
            except SchemaError as error:
                raise SchemaError(f"{self.source}: {place}: {error}") from error
        absent = [name for name in required if name not in node.children]
        if absent:
            raise SchemaError(f"{self.source}: requires {absent[0]!r}, which it does not define")

    def _add(self, node: SchemaNode, path: str, required: bool) -> None:
        definition = node.keywords
        if self.stored_as != "fits" and path.partition(".")[0] != "meta":
            title = str(definition.get("title", ""))
            self.parts[path] = PartSpec(path, title, node, required)
        elif node.children or definition.get("type") == "object":
            if definition.get("type", "object") != "object":
                raise SchemaError(f"a {definition['type']} cannot have children {[*node.children]}")
            self.branches[path] = str(definition.get("title", ""))
            self._add_children(node, path)
        elif _is_field(node):
            self.fields[path] = _field(path, definition, required)
        elif node.items is not None and _has_fields(node.items):
            self._add_list(path, node.items, str(definition.get("title", "")))
        else:
            self.keywords[path] = _keyword(path, definition, required)

    def _add_list(self, path: str, items: SchemaNode, title: str) -> None:
        if "." in path or self.is_of_item:
            raise SchemaError("items with extensions must be in a list at the top of the schema")
        self.lists[path] = ListSpec(path, title, Schema(items, self.files, f"{self.name}.{path}"))

    def _require_own_hdus(self) -> None:
        """Raise an error if items are not in extensions of their own arrays and tables."""
        taken = {PRIMARY, *(spec.hdu.upper() for spec in self.fields.values())}
        for name, spec in self.lists.items():
            own = {field.hdu.upper() for field in spec.item.fields.values()}
            for hdu in sorted(spec.item.hdus - own | own & taken):
                raise SchemaError(
                    f"{self.source}: {name}: an item cannot be in {hdu}: state the fits_hdu of an "
                    "array or table of the item, which nothing else uses"
                )
            taken |= own

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        # Models are often sent to workers, which have calbatch's own schemas already.
        if self.main_file.folder == builtin_folder():
            return _load_part, (self.name,)
        return super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        fields = ", ".join([*self.fields, *self.lists]) or "none"
        counts = f"{len(self.keywords)} keywords, fields {fields}"
        return f"<Schema {self.name}: {counts}>"

    @property
    def source(self) -> str:
        """The schema's main file, as text."""
        return str(self.main_file)

    def lookup(self, path: str) -> KeywordSpec | FieldSpec | None:
        """Return the specification of a dotted path, or None if the schema does not have it."""
        return self.keywords.get(path) or self.fields.get(path)

    def has_branch(self, path: str) -> bool:
        """Return whether a path is an inner node of the metadata tree."""
        return path in self.branches

    def children(self, path: str) -> tuple[str, ...]:
        """Return the names directly below a branch, in order."""
        return self._children.get(path, ())

    @cached_property
    def _children(self) -> dict[str, tuple[str, ...]]:
        below: dict[str, list[str]] = {}
        for path in [*self.branches, *self.keywords]:
            parent, _, name = path.rpartition(".")
            below.setdefault(parent, []).append(name)
        return {path: tuple(names) for path, names in below.items()}

    def search(self, text: str) -> list[tuple[str, str]]:
        """Return (path, title) of all entries whose path, title or FITS name contains a string."""
        wanted = text.lower()
        entries = [(s.path, s.title, s.keyword or "") for s in self.keywords.values()]
        entries += [(s.name, s.title, s.hdu) for s in self.fields.values()]
        entries += [(s.name, s.title, "") for s in self.lists.values()]
        entries += [(s.name, s.title, "") for s in self.parts.values()]
        return sorted(entry[:2] for entry in entries if wanted in "\0".join(entry).lower())

    @cached_property
    def hdus(self) -> frozenset[str]:
        """The names of all HDUs that hold fields or keywords, in capitals."""
        return frozenset({*self.by_hdu, *(spec.hdu.upper() for spec in self.fields.values())})

    @cached_property
    def by_hdu(self) -> dict[str, tuple[KeywordSpec, ...]]:
        """Specifications with a FITS keyword, in order, by extension name in capitals."""
        index: dict[str, list[KeywordSpec]] = {}
        for spec in self.keywords.values():
            if spec.keyword is not None:
                index.setdefault(spec.hdu.upper(), []).append(spec)
        return {hdu: tuple(specs) for hdu, specs in index.items()}

    @cached_property
    def own_keywords(self) -> tuple[str, ...]:
        """The names of metadata outside the tree ``meta``, such as the name of a slit."""
        names = (path.partition(".")[0] for path in self.keywords)
        return tuple(name for name in dict.fromkeys(names) if name != "meta")

    @cached_property
    def by_card(self) -> dict[str, dict[str, tuple[KeywordSpec, ...]]]:
        """Specifications by extension name in capitals and FITS keyword."""
        index: dict[str, dict[str, tuple[KeywordSpec, ...]]] = {}
        for hdu, specs in self.by_hdu.items():
            cards = index[hdu] = {}
            for spec in specs:
                cards[spec.keyword or ""] = (*cards.get(spec.keyword or "", ()), spec)
        return index


_loaded: dict[SchemaSource, Schema] = {}


def load_schema(name_or_path: str | os.PathLike[str]) -> Schema:
    """Load a schema.

    Parameters
    ----------
    name_or_path : str or path-like
        ``image`` or ``image.schema.yaml`` for one of calbatch's own schemas, the path of a file, or
        ``package:resource.yaml`` for a file in a package.

    Returns
    -------
    Schema
        The schema, which is the same object until one of its files changes.

    Raises
    ------
    SchemaError
        If a file is missing or invalid; the message names it.
    """
    source = locate(os.fspath(name_or_path))
    entry = _loaded.get(source)
    if entry is not None and all(
        file.modification_time() == time for file, time in entry.files.items()
    ):
        return entry
    tree, files = read_tree(source)
    schema = Schema(tree, {file: file.modification_time() for file in files})
    _loaded[source] = schema
    return schema


def _load_part(name: str) -> Schema:
    """Return one of calbatch's own schemas, or that of the items of a list in it."""
    file, _, part = name.partition(".")
    schema = load_schema(file)
    return schema.lists[part].item if part else schema


def _is_field(node: SchemaNode) -> bool:
    return not node.keywords.keys().isdisjoint({"datatype", "ndim", "max_ndim"})


def _has_fields(node: SchemaNode) -> bool:
    return any(_is_field(child) or _has_fields(child) for child in node.children.values())


def leaf_spec(path: str, node: SchemaNode) -> KeywordSpec:
    """Return the specification of a value in a part of a tree.

    Raises
    ------
    SchemaError
        If the schema is malformed.
    """
    return _keyword(path, node.keywords, False)


def _keyword(path: str, definition: Mapping[str, Any], required: bool) -> KeywordSpec:
    keyword = definition.get("fits_keyword")
    if keyword is not None:
        keyword = str(keyword).upper()
        if not _FITS_KEYWORD.fullmatch(keyword):
            raise SchemaError(f"fits_keyword {keyword!r} is not 1 to 8 of A-Z, 0-9, '_' and '-'")
    return KeywordSpec(
        path=path,
        keyword=keyword,
        hdu=str(definition.get("fits_hdu", PRIMARY)),
        title=str(definition.get("title") or definition.get("description") or "").partition("\n")[
            0
        ],
        type=definition.get("type"),
        enum=_enum(definition),
        pattern=_pattern(definition),
        minimum=definition.get("minimum"),
        maximum=definition.get("maximum"),
        others={key: value for key, value in definition.items() if key not in _PLAIN_KEYWORDS},
        default=definition.get("default"),
        required=required,
    )


def _enum(definition: Mapping[str, Any]) -> tuple[Any, ...] | None:
    if "enum" not in definition:
        return None
    values = definition["enum"]
    if not isinstance(values, list) or not values:
        raise SchemaError(f"enum must be a list of values, found {values!r}")
    if definition.get("type") == "string":
        for value in values:
            if not isinstance(value, str):  # YAML reads OFF as false and 12 as a number
                raise SchemaError(f"the enum value {value!r} is not text: put it in quotes")
    return tuple(values)


def _pattern(definition: Mapping[str, Any]) -> str | None:
    if "pattern" not in definition:
        return None
    try:
        re.compile(str(definition["pattern"]))
    except re.error as error:
        raise SchemaError(
            f"pattern {definition['pattern']!r} is not a regular expression"
        ) from error
    return str(definition["pattern"])


def _field(path: str, definition: Mapping[str, Any], required: bool) -> FieldSpec:
    for key in ("ndim", "max_ndim"):
        if not isinstance(definition.get(key, 0), int):
            raise SchemaError(f"{key} must be a whole number, found {definition[key]!r}")
    dtype, columns = read_datatype(definition.get("datatype"))
    return FieldSpec(
        name=path,
        hdu=str(definition.get("fits_hdu", path.upper())),
        title=str(definition.get("title", "")),
        dtype=dtype,
        ndim=definition.get("ndim"),
        max_ndim=definition.get("max_ndim"),
        default=definition.get("default"),
        columns=columns,
        required=required,
    )
