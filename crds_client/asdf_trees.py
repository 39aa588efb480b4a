"""The metadata of an ASDF file as plain data: read within bounds, tags ignored.

Enough for parameter references (``pars-<step>``) and for Roman's headers, and no more: arrays in
binary blocks are left where they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from calbatch.crds_client.errors import HeaderError, convert_errors
from calbatch.crds_client.rules.plain_yaml import load_plain

_MAX_TREE = 16 * 2**20
_MAX_VALUES = 100_000

_END = re.compile(rb"\n\.\.\.(?=\r?\n|$)")
"""As asdf has it, which refuses a file without."""


def read_tree(path: str | Path) -> dict[str, Any]:
    """Read the tree of an ASDF file.

    Raises
    ------
    HeaderError
        If the file is no ASDF file or its tree is not to be read; starts with its path.
    """
    with convert_errors(HeaderError, path), Path(path).open("rb") as stream:
        if not stream.readline(100).startswith(b"#ASDF "):
            raise HeaderError(f"{path}: not an ASDF file: it does not begin with #ASDF")
        text = _tree_text(stream.read(_MAX_TREE))
    with convert_errors(HeaderError, f"{path}: its tree cannot be read"):
        try:
            tree = load_plain(text)
        except yaml.YAMLError as error:
            said = " ".join(str(error).split())
            raise HeaderError(f"{path}: its tree is not YAML: {said}") from None
    if not isinstance(tree, dict):
        raise HeaderError(f"{path}: its tree is not a mapping")
    return tree


def _tree_text(content: bytes) -> str:
    """Cut off the binary blocks after the tree."""
    end = _END.search(content)
    if end is None and len(content) == _MAX_TREE:
        raise ValueError("its tree is too long")
    if end is None:  # whatever there is of it may be read without a fault, and be less than it said
        raise ValueError("its tree has no end mark: the file is cut short")
    return content[: end.start() + 1].decode()


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Give the plain values of a tree by dotted paths, in upper case.

    Raises
    ------
    HeaderError
        If there are absurdly many: a small file can repeat its parts without end.
    """
    flat: dict[str, Any] = {}
    pending: list[tuple[str, Mapping[str, Any]]] = [("", tree)]
    visited = 0
    while pending:
        prefix, node = pending.pop()
        visited += len(node) + 1
        if visited > _MAX_VALUES:
            raise HeaderError(f"more than {_MAX_VALUES} values")
        for key, value in node.items():
            path = f"{prefix}{key}".upper()
            if isinstance(value, Mapping):
                pending.append((f"{path}.", value))
            elif isinstance(value, str | int | float | bool):
                flat[path] = value
    return flat
