"""The metadata tree of an ASDF file: read within bounds, as plain data or as YAML nodes.

Tags are dropped from plain data, and arrays in binary blocks are not read.

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

from calbatch.models.asdf.tagged import TaggedText, TaggedValue, is_plain_tag
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
        content = _read_content(path)
    except OSError as error:
        raise FileError(path, error.strerror or str(error)) from error
    return parse_tree(path, content)


def parse_tree(
    path: str | os.PathLike[str], content: bytes, *, keep_tags: bool = False
) -> dict[str, Any]:
    """Return the tree at the beginning of an ASDF file's content.

    Parameters
    ----------
    path : path
        The file, for messages.
    content : bytes
        The content, of which the binary blocks may be missing.
    keep_tags : bool
        Whether to return tagged parts as `TaggedValue` and `TaggedText`.

    Raises
    ------
    FileError
        If the tree is cut short, is malformed or exceeds the bounds.
    """
    try:
        tree = load_plain(_whole_tree(content).decode(), keep_tags=keep_tags)
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
    if end < 0 and len(content) >= MAX_TREE_LENGTH:
        raise ValueError(f"it is longer than {MAX_TREE_LENGTH} bytes")
    if end < 0:  # its beginning could be read without error, and would lack values
        raise ValueError("it has no end mark: the file is cut short")
    return content[: end + 1]


def load_plain(text: str, *, keep_tags: bool = False) -> Any:
    """Return the data of a YAML document: dicts, lists and scalars.

    Parameters
    ----------
    text : str
        The document.
    keep_tags : bool
        Whether to return tagged parts as `TaggedValue` and `TaggedText`.

    Raises
    ------
    ValueError
        It exceeds the bounds, or contains itself.
    yaml.YAMLError
        It is malformed. Values that do not fit their tag raise other exceptions, too.
    """
    _PartCounter().count(text)
    return yaml.load(text, Loader=_TaggedLoader if keep_tags else _PlainLoader)


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


class _TaggedLoader(YAML_LOADER):
    """Reads the data below a tag, and keeps the tag if it has a meaning beyond plain data."""


def _construct_plain(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


def _construct_tagged(loader: Any, suffix: str, node: yaml.Node) -> Any:
    value = _construct_plain(loader, suffix, node)
    if is_plain_tag(node.tag):
        return value
    return TaggedText(value, node.tag) if isinstance(value, str) else TaggedValue(node.tag, value)


def _integer(loader: Any, node: yaml.ScalarNode) -> Any:
    return loader.construct_yaml_int(_require_short(node))


def _float(loader: Any, node: yaml.ScalarNode) -> Any:
    return loader.construct_yaml_float(_require_short(node))


def _require_short(node: yaml.ScalarNode) -> yaml.ScalarNode:
    if len(node.value) > MAX_NUMBER_LENGTH:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of {len(node.value)} digits")
    return node


_CONSTRUCTORS = ((_PlainLoader, _construct_plain), (_TaggedLoader, _construct_tagged))
for _loader, _construct in _CONSTRUCTORS:
    for _prefix in ("!", "tag:", "asdf:"):
        _loader.add_multi_constructor(_prefix, _construct)
    _loader.add_constructor("tag:yaml.org,2002:int", _integer)
    _loader.add_constructor("tag:yaml.org,2002:float", _float)
