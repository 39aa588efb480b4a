"""The metadata of an ASDF file as plain data: read with YAML's safe loader, tags ignored.

Enough for parameter references (``pars-<step>``) and for Roman's headers, and no more: arrays in
binary blocks are left where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from calbatch.crds_client.errors import HeaderError

_MAX_TREE = 64 * 2**20
_MAX_VALUES = 100_000


class _PlainLoader(yaml.SafeLoader):
    """Reads what a tag is on, and forgets the tag."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


_PlainLoader.add_multi_constructor("!", _plain)
_PlainLoader.add_multi_constructor("tag:", _plain)


def read_tree(path: str | Path) -> dict[str, Any]:
    """Read the tree of an ASDF file.

    Raises
    ------
    HeaderError
        If the file is no ASDF file or its tree is not to be read; starts with its path.
    """
    try:
        with Path(path).open("rb") as stream:
            if not stream.readline(100).startswith(b"#ASDF "):
                raise HeaderError(f"{path}: not an ASDF file: it does not begin with #ASDF")
            text = _tree_text(stream.read(_MAX_TREE))
        tree = yaml.load(text, Loader=_PlainLoader)
    except (OSError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as error:
        raise HeaderError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise HeaderError(f"{path}: its tree is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise HeaderError(f"{path}: its tree is not a mapping")
    return tree


def _tree_text(content: bytes) -> str:
    """Cut off the binary blocks after the tree."""
    end = content.find(b"\n...")
    if end < 0 and len(content) == _MAX_TREE:
        raise ValueError("its tree is too long")
    return (content if end < 0 else content[: end + 1]).decode()


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
