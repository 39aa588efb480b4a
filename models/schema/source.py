"""Reading schema files from YAML into a tree, with references resolved and shorthand expanded.

A schema is a JSON schema in YAML. As a shorthand, a mapping may list its children directly, without
``properties``. A key whose value is a mapping is then a child, and any other key with a meaning in
JSON schema or FITS is a keyword. So ``type: string`` is a keyword, and
``type: {title: Visit type, type: string}`` is a child named ``type``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from calbatch.models.errors import SchemaError

# libyaml's safe loader, if PyYAML was built with it, is ten times faster on the core schema.
_SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

#: Keywords with a meaning; any other key with a plain value is an annotation.
_KNOWN = {
    *("title", "description", "type", "default", "required"),
    *("fits_keyword", "fits_hdu", "datatype", "ndim", "max_ndim", "stored_as", "tag"),
    *("enum", "const", "pattern", "minLength", "maxLength", "anyOf", "oneOf", "not", "items"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minItems", "maxItems", "uniqueItems", "$ref", "allOf", "properties"),
}
_MAPPINGS = {"definitions", "$defs", "additionalProperties", "patternProperties", "not"}


@dataclass
class SchemaNode:
    """A node of a schema: its keywords and its children, in order, or those of a list's items."""

    keywords: dict[str, Any] = field(default_factory=dict)
    children: dict[str, SchemaNode] = field(default_factory=dict)
    items: SchemaNode | None = None

    def merge(self, other: SchemaNode) -> None:
        """Merge another node for the same path, whose keywords take precedence.

        The other node's children become this node's, and must not be used otherwise.
        """
        self.merge_keywords(other.keywords)
        self.items = other.items or self.items
        for name, child in other.children.items():
            self.add_child(name, child)

    def merge_keywords(self, keywords: Mapping[str, Any]) -> None:
        """Merge further keywords, which take precedence; required names add up."""
        if "required" in keywords:
            required = [*self.keywords.get("required", ()), *keywords["required"]]
            keywords = {**keywords, "required": list(dict.fromkeys(required))}
        self.keywords.update(keywords)

    def add_child(self, name: str, child: SchemaNode) -> None:
        """Add a child, or merge it into the one of its name; see `merge`."""
        if name in self.children:
            self.children[name].merge(child)
        else:
            self.children[name] = child

    def to_json(self) -> dict[str, Any]:
        """Return the node as plain JSON schema."""
        document = dict(self.keywords)
        if self.children:
            document["type"] = "object"
            document["properties"] = {n: c.to_json() for n, c in self.children.items()}
        return document


@dataclass(frozen=True)
class SchemaSource:
    """A schema file, by its folder and name."""

    folder: Traversable
    name: str

    @cached_property
    def file(self) -> Traversable:
        """The file."""
        return self.folder.joinpath(self.name)

    @cached_property
    def _builtin(self) -> bool:
        return self.folder == builtin_folder()

    def modification_time(self) -> int:
        """Return the file's modification time [ns]; 0 if it is unknown or the file is missing.

        It is always 0 for calbatch's own schemas, which do not change while it runs. Otherwise all
        of them would be checked each time a model is opened.
        """
        if self._builtin:
            return 0
        try:
            return self.file.stat().st_mtime_ns if isinstance(self.file, Path) else 0
        except OSError:
            return 0

    def __str__(self) -> str:
        return str(self.file)


@cache
def builtin_folder() -> Traversable:
    """Return the folder of calbatch's own schemas."""
    folder = resources.files("calbatch.models").joinpath("schema", "schemas")
    return folder.resolve() if isinstance(folder, Path) else folder


@cache
def _find_builtin(name: str) -> SchemaSource | None:
    return _find_in_folder(builtin_folder(), name)


def _find_in_folder(folder: Traversable, name: str) -> SchemaSource | None:
    for ending in ("", ".yaml", ".schema.yaml"):
        candidate = folder.joinpath(name + ending)
        if candidate.is_file():
            return _source(candidate, folder, name + ending)
    return None


def locate(name: str, beside: Traversable | None = None) -> SchemaSource:
    """Find a schema file.

    Parameters
    ----------
    name : str
        A path, ``package:resource``, or the bare name of one of calbatch's own schemas; the ending
        ``.schema.yaml`` may be left out.
    beside : Traversable, optional
        Folder of the referring file, which is searched first.

    Raises
    ------
    SchemaError
        If there is no such file.
    """
    if "://" in name:
        raise SchemaError(f"{name}: schemas are read from files and packages, and never downloaded")
    if ":" in name:
        return _locate_in_package(name)
    if beside is None:
        found, folders = _find_builtin(name), [builtin_folder(), Path()]
    else:
        found, folders = _find_in_folder(beside, name), [beside, builtin_folder()]
    if found is None:
        found = _find_in_folder(Path(), name) if beside is None else _find_builtin(name)
    if found is not None:
        return found
    searched = " and ".join(str(folder.joinpath(".")) for folder in folders)
    raise SchemaError(f"{name}: no such schema (searched {searched})")


def _locate_in_package(name: str) -> SchemaSource:
    package, _, resource = name.partition(":")
    try:
        folder = resources.files(package)
    except (ImportError, ValueError, TypeError) as error:
        raise SchemaError(f"{name}: cannot import the package {package!r}: {error}") from error
    if not folder.joinpath(resource).is_file():
        raise SchemaError(f"{name}: the package {package!r} has no file {resource!r}")
    return _source(folder.joinpath(resource), folder, resource)


def _source(found: Traversable, folder: Traversable, name: str) -> SchemaSource:
    if isinstance(found, Path):  # one name for each file, beside which references are found
        found = found.resolve()
        return SchemaSource(found.parent, found.name)
    return SchemaSource(folder, name)


def read_tree(source: SchemaSource) -> tuple[SchemaNode, tuple[SchemaSource, ...]]:
    """Read a schema with all files that it refers to.

    Returns
    -------
    tree : SchemaNode
        The schema, with ``allOf`` and ``$ref`` merged in the order in which they are written.
    files : tuple of SchemaSource
        All files that were read.

    Raises
    ------
    SchemaError
        If a file is missing, is not YAML, or is not a valid schema.
    """
    reader = _SchemaReader()
    try:
        tree = reader.file(source, "")
    except RecursionError as error:
        raise SchemaError(f"{source}: the schema contains itself") from error
    return tree, tuple(reader.files)


_documents: dict[SchemaSource, tuple[int, Any]] = {}


def _document(source: SchemaSource) -> Any:
    modified = source.modification_time()
    entry = _documents.get(source)
    if entry is not None and entry[0] == modified:
        return entry[1]
    try:
        document = yaml.load(source.file.read_text("utf-8"), Loader=_SAFE_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{source}: cannot read the schema: {error}") from error
    except yaml.YAMLError as error:
        fault = " ".join(str(error).split())
        raise SchemaError(f"{source}: not a YAML document: {fault}") from error
    _documents[source] = (modified, document)
    return document


class _SchemaReader:
    """Reads a schema and the files that it refers to, once."""

    def __init__(self) -> None:
        self.files: dict[SchemaSource, None] = {}
        self._open: list[tuple[SchemaSource, str]] = []

    def file(self, source: SchemaSource, pointer: str) -> SchemaNode:
        if (source, pointer) in self._open:
            chain = " -> ".join(str(s) for s, _ in [*self._open, (source, pointer)])
            raise SchemaError(f"{source}: the schema refers back to itself: {chain}")
        self._open.append((source, pointer))
        node = self.node(self._part(source, pointer), source, ())
        self._open.pop()
        return node

    def _part(self, source: SchemaSource, pointer: str) -> Any:
        """Return the part of a file at a JSON pointer, with its references unresolved."""
        self.files[source] = None
        raw = _document(source)
        for step in filter(None, pointer.split("/")):
            if not isinstance(raw, dict) or step not in raw:
                raise SchemaError(f"{source}: has no {pointer!r}")
            raw = raw[step]
        return raw

    def node(self, raw: Any, source: SchemaSource, path: tuple[str, ...]) -> SchemaNode:
        if not isinstance(raw, dict):
            raise _fault(source, path, f"expected a mapping, found {raw!r}")
        node = SchemaNode()
        if "$ref" in raw:
            node.merge(self.reference(raw["$ref"], source, path))
        for part in _list_of(raw, "allOf", source, path):
            node.merge(self.node(part, source, path))
        for key, value in raw.items():
            self._add_entry(node, (key, value), raw, source, path)
        return node

    def reference(self, target: Any, source: SchemaSource, path: tuple[str, ...]) -> SchemaNode:
        return self.file(*_target(target, source, path))

    def columns(self, raw: Any, source: SchemaSource, path: tuple[str, ...]) -> Any:
        """Return a datatype, in which references among columns are replaced by their columns."""
        if not isinstance(raw, list):
            return raw
        columns: list[Any] = []
        for item in raw:
            if not isinstance(item, Mapping) or "$ref" not in item:
                columns.append(item)
                continue
            found, pointer = _target(item["$ref"], source, path)
            part = self._part(found, pointer)
            if not isinstance(part, list):
                raise _fault(source, path, f"$ref {item['$ref']}: is not a list of columns")
            columns += self.columns(part, found, path)
        return columns

    def _add_entry(
        self,
        node: SchemaNode,
        entry: tuple[Any, Any],
        raw: Mapping[str, Any],
        source: SchemaSource,
        path: tuple[str, ...],
    ) -> None:
        key, value = entry
        if not isinstance(key, str):
            raise _fault(source, path, f"the name {key!r} is not text: put it in quotes")
        if key in ("$ref", "allOf"):
            return
        if key == "properties":
            self._add_children(node, value, source, path)
        elif _is_items(key, raw):
            node.items = self.node(value, source, (*path, key))
            node.merge_keywords({key: node.items.to_json()})
        elif key in _MAPPINGS or not isinstance(value, dict):
            node.merge_keywords(self.keyword(key, value, source, path))
        else:
            self._add_children(node, {key: value}, source, path)

    def _add_children(
        self, node: SchemaNode, raw: Any, source: SchemaSource, path: tuple[str, ...]
    ) -> None:
        if not isinstance(raw, dict):
            raise _fault(source, path, f"properties must be a mapping, found {raw!r}")
        for name, value in raw.items():
            child = self.node(value, source, (*path, str(name)))
            node.add_child(str(name), child)

    def keyword(
        self, key: str, value: Any, source: SchemaSource, path: tuple[str, ...]
    ) -> dict[str, Any]:
        if key not in _KNOWN:
            _refuse_misspelling(key, source, path)
            return {}
        if key == "type":
            return _types(value, source, path)
        if key == "datatype":
            return {key: self.columns(value, source, path)}
        if key in ("anyOf", "oneOf"):
            parts = _list_of({key: value}, key, source, path)
            return {key: [self.node(part, source, path).to_json() for part in parts]}
        if key == "not":
            return {key: self.node(value, source, (*path, key)).to_json()}
        return {key: value}


def _target(target: Any, source: SchemaSource, path: tuple[str, ...]) -> tuple[SchemaSource, str]:
    """Return the file of a reference, and the place in it."""
    if not isinstance(target, str):
        raise _fault(source, path, f"$ref must be text, found {target!r}")
    name, _, pointer = target.partition("#")
    if not name:
        return source, pointer
    try:
        return locate(name, beside=source.folder), pointer
    except SchemaError as error:
        raise _fault(source, path, f"$ref {error}") from error


def _is_items(key: str, raw: Mapping[str, Any]) -> bool:
    return key == "items" and str(raw.get("type")).lower() == "array"


def _types(value: Any, source: SchemaSource, path: tuple[str, ...]) -> dict[str, Any]:
    names = [str(v).lower() for v in (value if isinstance(value, list) else [value])]
    for name in names:
        if name not in TYPES:
            raise _fault(source, path, f"unknown type {name!r}: one of {', '.join(TYPES)}")
    return {"type": names[0]} if len(names) == 1 else {"anyOf": [{"type": n} for n in names]}


def _list_of(
    raw: Mapping[str, Any], key: str, source: SchemaSource, path: tuple[str, ...]
) -> list[Any]:
    value = raw.get(key, [])
    if not isinstance(value, list):
        raise _fault(source, path, f"{key} must be a list, found {value!r}")
    return value


def _refuse_misspelling(key: str, source: SchemaSource, path: tuple[str, ...]) -> None:
    # Annotations of other tools are allowed, so only a near miss can be recognized as an error.
    near = difflib.get_close_matches(key, _KNOWN, n=1, cutoff=0.85)
    if near:
        raise _fault(source, path, f"unknown keyword {key!r}: did you mean {near[0]!r}?")


def _fault(source: SchemaSource, path: tuple[str, ...], message: str) -> SchemaError:
    place = ".".join(path)
    return SchemaError(f"{source}: {place}: {message}" if place else f"{source}: {message}")
