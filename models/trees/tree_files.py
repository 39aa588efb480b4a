"""Files that hold a tree, ASDF and JSON: read as a model's content, and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from calbatch.models.arrays import ModelContent, StoredFile
from calbatch.models.asdf.asdf_file import StoredArray, is_asdf, read_lazily
from calbatch.models.asdf.asdf_tree import MAX_DEPTH, MAX_TREE_LENGTH
from calbatch.models.asdf.asdf_writer import replace_file, write_asdf
from calbatch.models.asdf.tagged import TaggedText, TaggedValue
from calbatch.models.asdf.transforms import store_object
from calbatch.models.errors import FileError, ValidationError, explain_errors
from calbatch.models.schema.meta import copy_metadata, flatten, get_path, set_path
from calbatch.models.schema.parts import check_part
from calbatch.models.schema.spec import Schema
from calbatch.models.schema.validate import validate_value, warn_or_raise
from calbatch.models.storage import files
from calbatch.models.storage.location import Location
from calbatch.models.storage.memory import require_memory

JSON_KEYS = {
    "reftype": "meta.reftype",
    "instrument": "meta.instrument.name",
    "telescope": "meta.telescope",
    "pedigree": "meta.pedigree",
    "description": "meta.description",
    "author": "meta.author",
    "useafter": "meta.useafter",
}
"""Metadata of JSON references, by their names in the file."""

_ABOUT_THE_FILE = ("asdf_library", "history")
_PLAIN = (str, int, float, bool, complex, date, type(None))


class HistoryText(str):
    """A line of an ASDF file's history, with the entry that it comes from.

    Parameters
    ----------
    text : str
        The entry's description.
    entry : mapping
        The entry.
    """

    entry: Mapping[str, Any]

    def __new__(cls, text: str, entry: Mapping[str, Any]) -> HistoryText:
        """Return the line."""
        made = super().__new__(cls, text)
        made.entry = entry
        return made

    def __getnewargs__(self) -> tuple[str, Any]:  # type: ignore[override]  # with its entry
        return str(self), self.entry


def holds_tree(path: Location) -> bool:
    """Return whether a file is ASDF or JSON, by its name or else by its first bytes.

    Raises
    ------
    FileError
        If a file whose name does not tell cannot be read.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".fits", ".asdf", ".json")):
        return not name.endswith(".fits")
    stamp = files.read_stamp(path)
    with explain_errors(path), files.open_decompressed(stamp) as read:
        return is_asdf(read(0, 16))


def read_file(path: Location) -> tuple[str, dict[str, Any]]:
    """Read a file that holds a tree; arrays of an ASDF file are not read.

    Returns
    -------
    stored_as : str
        ``asdf`` or ``json``.
    tree : dict
        The tree: of ASDF as `calbatch.models.asdf.asdf_file.read_lazily` returns it.

    Raises
    ------
    FileError
        If the file is neither, is damaged, or exceeds the bounds for trees.
    StorageError
        If the server of a URL cannot be reached or fails.
    """
    stamp = files.read_stamp(path)
    with explain_errors(path), files.open_decompressed(stamp) as read:
        start = read(0, 512)
        if is_asdf(start):
            return "asdf", read_lazily(path)
        if not start.lstrip().startswith(b"{"):
            raise FileError(
                path, f"is neither ASDF nor a JSON object: it begins with {start[:16]!r}"
            )
        content = start + read(len(start), MAX_TREE_LENGTH)
    if len(content) > MAX_TREE_LENGTH:
        raise FileError(path, f"is longer than {MAX_TREE_LENGTH} bytes, which no JSON reference is")
    require_memory(path, 50 * len(content), "the tree")
    return "json", _parse_json(path, content)


def _parse_json(path: Location, content: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"is not JSON: {str(error)[:200]}") from error
    if not isinstance(tree, dict):
        raise FileError(path, "is JSON, but not an object")
    if _depth(tree, MAX_DEPTH) < 0:
        raise FileError(path, f"is nested more than {MAX_DEPTH} deep")
    return tree


def _depth(value: Any, left: int) -> int:
    """Return the levels that are left below the deepest value; negative if there are none."""
    if left < 0 or not isinstance(value, (dict, list)):
        return left
    below = value.values() if isinstance(value, dict) else value
    return min((_depth(item, left - 1) for item in below), default=left)


def make_content(
    path: Location, schema: Schema, stored_as: str, tree: Mapping[str, Any]
) -> ModelContent:
    """Return a tree as the content of a model.

    Raises
    ------
    FileError
        If the schema is for files of another format, or requires a part that is missing.
    ValidationError
        If a value is invalid and ``STRICT_VALIDATION`` is set.

    Warns
    -----
    ValidationWarning
        For each invalid value, which is left out.
    """
    if schema.stored_as != stored_as:
        found, wanted = stored_as.upper(), schema.stored_as.upper()
        raise FileError(path, f"is {found}; files of schema {schema.name!r} are {wanted}")
    content: dict[str, Any] = {n: v for n, v in tree.items() if n not in _ABOUT_THE_FILE}
    if stored_as == "json":
        content = _with_metadata(schema, content)
    meta = content.get("meta", {})
    if not isinstance(meta, dict):
        raise FileError(path, f"its meta is {meta!r:.60}, not a mapping")
    content["meta"] = meta
    _drop_invalid(schema, content, str(path))
    absent = [n for n, spec in schema.parts.items() if spec.required and content.get(n) is None]
    if absent:
        raise FileError(path, f"has no {absent[0]!r}, which files of schema {schema.name!r} need")
    lines = _history_lines(tree.get("history"))
    if lines:
        content["history"] = lines
    return ModelContent(tree=content, stored=StoredFile(path, None))


def _with_metadata(schema: Schema, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree of a JSON file with its metadata in ``meta``."""
    named = schema.keywords.keys() & set(JSON_KEYS.values())
    content: dict[str, Any] = {}
    for name, value in tree.items():
        path = JSON_KEYS.get(name)
        if path in named and isinstance(value, str) and name not in schema.parts:
            set_path(content, str(path), value)
        else:
            content[name] = value
    return content


def _history_lines(found: Any) -> list[str]:
    """Return the history of a file as lines."""
    entries = found.get("entries", []) if isinstance(found, Mapping) else found
    lines: list[str] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, str):
            lines.append(entry)
        elif isinstance(entry, Mapping) and isinstance(entry.get("description"), str):
            lines.append(HistoryText(entry["description"], entry))
    return lines


def _drop_invalid(schema: Schema, tree: dict[str, Any], where: str) -> None:
    """Remove values that the schema does not allow, with a warning for each."""
    for spec in schema.keywords.values():
        value = get_path(tree, spec.path)
        if value is None or isinstance(value, StoredArray):
            continue
        try:
            plain = validate_value(spec, value, where=where)
        except ValidationError as error:
            if not warn_or_raise(error):
                set_path(tree, spec.path, None)
            continue
        if not isinstance(value, TaggedText):
            set_path(tree, spec.path, plain)
    for name, part in schema.parts.items():
        try:
            check_part(part.node, tree.get(name), name, where)
        except ValidationError as error:
            if not warn_or_raise(error):
                tree.pop(name)


def read_arrays_of(value: Any, path: Path) -> Any:
    """Return a tree with the arrays of a file that is about to be replaced.

    Parameters
    ----------
    value : Any
        The tree, in which arrays of other files stay unread.
    path : Path
        The file.

    Raises
    ------
    FileError
        If an array cannot be read.
    """
    match value:
        case StoredArray():
            return value.load() if Path(value.stamp.path) == path.absolute() else value
        case TaggedValue(tag=tag, value=below):
            return TaggedValue(tag, read_arrays_of(below, path))
        case dict():
            return {name: read_arrays_of(below, path) for name, below in value.items()}
        case list():
            return [read_arrays_of(below, path) for below in value]
    return value


def write_file(path: Path, schema: Schema, tree: Mapping[str, Any]) -> None:
    """Write the tree of a model to a file, which is replaced if it exists.

    Raises
    ------
    FileError
        If an array that has not been read cannot be read any more, or the disk fails.
    ValidationError
        If JSON cannot hold a value, or no installed package can store an object.
    """
    history = tree.get("history")
    content = {name: value for name, value in tree.items() if name != "history"}
    if schema.stored_as == "json":
        _write_json(path, _without_metadata(content, history))
        return
    if history:
        content["history"] = {"entries": [getattr(t, "entry", {"description": t}) for t in history]}
    write_asdf(path, {name: _without_objects(value, name) for name, value in content.items()})


def _without_objects(value: Any, path: str) -> Any:
    """Return a part of a tree with tagged values in place of objects such as transforms."""
    if isinstance(value, (StoredArray, TaggedValue, np.generic, *_PLAIN)):
        return value
    if type(value) is np.ndarray:
        return value
    if isinstance(value, Mapping):
        return {name: _without_objects(below, f"{path}.{name}") for name, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_objects(below, f"{path}[{n}]") for n, below in enumerate(value)]
    return store_object(path, value)


def _without_metadata(tree: Mapping[str, Any], history: Any) -> dict[str, Any]:
    """Return the tree of a JSON file, whose metadata are beside its other parts."""
    rest = {"meta": copy_metadata(tree["meta"])}
    content: dict[str, Any] = {}
    for name, path in JSON_KEYS.items():
        value = get_path(rest, path)
        if value is not None:
            content[name] = value
            set_path(rest, path, None)
    if flatten(rest):
        content |= rest
    content |= {name: value for name, value in tree.items() if name != "meta"}
    if history:
        content["history"] = history[0] if len(history) == 1 else list(history)
    return content


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(tree, indent=4, default=_plain_array)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{path}: JSON cannot hold a value: {error}") from error
    replace_file(path, f"{text}\n".encode())


def _plain_array(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not plain data")
