"""The metadata tree of an ASDF file: read within bounds, as plain data or as YAML nodes.

Tags are ignored in plain data, and arrays in binary blocks are not read.

A few lines of YAML can stand for an endless tree, because aliases and merge keys repeat earlier
parts. The events of a document are therefore counted before anything is built from them, each alias
as often as the parts that it stands for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from calbatch.models.errors import FileError, one_line

MAX_PARTS = 200_000
"""Scalars, sequences and mappings of a tree, aliases expanded. A part takes half a kilobyte."""

MAX_DEPTH = 100
"""Levels of a tree: a WCS has some 30; libyaml overflows the stack at many thousands."""

MAX_NUMBER_LENGTH = 100
"""Characters: reading a number to base 60 takes time quadratic in its length."""

MAX_TREE_LENGTH = 16 * 2**20
"""Bytes of the tree of a file."""

YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_END = re.compile(rb"\n\.\.\.(?=\r?\n|$)")
"""The end mark of a tree, as asdf reads it."""


def read_tree(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the tree of an ASDF file as dicts, lists and scalars.

    Raises
    ------
    FileError
        If the file is not ASDF or cut short, or its tree is malformed or exceeds the bounds.
    """
    try:
        tree = load_plain(_whole_tree(_read_content(path)).decode())
    except OSError as error:
        raise FileError(path, error.strerror or str(error)) from error
    except yaml.YAMLError as error:
        raise FileError(path, f"its tree is not YAML: {one_line(error)}") from None
    except (FileError, MemoryError):
        raise
    except Exception as error:  # from damaged YAML, PyYAML raises exceptions of many kinds
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        message = f"its tree cannot be read: {kind}{one_line(error)[:300]}"
        raise FileError(path, message) from error
    if not isinstance(tree, dict):
        raise FileError(path, "its tree is not a mapping")
    return tree


def _read_content(path: str | os.PathLike[str]) -> bytes:
    """Return the beginning of an ASDF file after its first line."""
    with Path(path).open("rb") as stream:
        if stream.readline(100).startswith(b"#ASDF "):
            return stream.read(MAX_TREE_LENGTH)
    raise FileError(path, "not an ASDF file: it does not begin with #ASDF")


def find_tree_end(content: bytes, start: int = 0) -> int:
    """Return the position of the tree's end mark; -1 if there is none."""
    match = _END.search(content, start)
    return match.start() if match else -1


def _whole_tree(content: bytes) -> bytes:
    """Return the text of the tree, without the binary blocks after it."""
    end = find_tree_end(content)
    if end < 0 and len(content) == MAX_TREE_LENGTH:
        raise ValueError(f"it is longer than {MAX_TREE_LENGTH} bytes")
    if end < 0:  # its beginning could be read without error, and would lack values
        raise ValueError("it has no end mark: the file is cut short")
    return content[: end + 1]


def load_plain(text: str) -> Any:
    """Return the data of a YAML document: dicts, lists and scalars.

    Raises
    ------
    ValueError
        It exceeds the bounds, or contains itself.
    yaml.YAMLError
        It is malformed. Values that do not fit their tag raise other exceptions, too.
    """
    _PartCounter().count(text)
    return yaml.load(text, Loader=_PlainLoader)


def compose_tree(text: str | bytes) -> yaml.Node | None:
    """Return the root node of a YAML document, with its tags; None if it is empty.

    Raises
    ------
    ValueError
        It exceeds the bounds, or contains itself.
    yaml.YAMLError
        It is malformed.
    """
    _PartCounter().count(text)
    return yaml.compose(text, Loader=YAML_LOADER)


class _PartCounter:
    """Counts the parts of a YAML document, with aliases expanded."""

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = []  # anchor, and the count before it
        self._sizes: dict[str, int | None] = {}  # by anchor; None while its node is open
        self._total = 0

    def count(self, text: str | bytes) -> None:
        """Raise an error if the document exceeds the bounds."""
        for event in yaml.parse(text, Loader=YAML_LOADER):
            if isinstance(event, yaml.AliasEvent):
                self._add_alias(event.anchor or "")
            elif isinstance(event, yaml.ScalarEvent):
                self._total += 1
                self._note(event.anchor, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = self._open.pop()
                self._note(anchor, self._total - before)
            if self._total > MAX_PARTS:
                raise ValueError(f"more than {MAX_PARTS} values, repeated ones counted again")

    def _begin(self, anchor: str | None) -> None:
        self._note(anchor, None)
        self._open.append((anchor, self._total))
        self._total += 1
        if len(self._open) > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")

    def _note(self, anchor: str | None, size: int | None) -> None:
        if anchor is not None:
            self._sizes[anchor] = size

    def _add_alias(self, anchor: str) -> None:
        size = self._sizes.get(anchor, 1)  # the loader rejects an undefined one
        if size is None:
            raise ValueError(f"{anchor!r} contains itself")
        self._total += size


class _PlainLoader(YAML_LOADER):
    """Reads the data below a tag and drops the tag."""


def _construct_plain(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


def _integer(loader: Any, node: yaml.ScalarNode) -> Any:
    return loader.construct_yaml_int(_require_short(node))


def _float(loader: Any, node: yaml.ScalarNode) -> Any:
    return loader.construct_yaml_float(_require_short(node))


def _require_short(node: yaml.ScalarNode) -> yaml.ScalarNode:
    if len(node.value) > MAX_NUMBER_LENGTH:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of {len(node.value)} digits")
    return node


_PlainLoader.add_multi_constructor("!", _construct_plain)
_PlainLoader.add_multi_constructor("tag:", _construct_plain)
_PlainLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _float)
