"""Write ASDF files whose trees hold plain data and arrays.

Source: ASDF standard 1.6.0.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

_HEAD = b"""#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
"""
_END = b"...\n"
_BLOCK = struct.Struct(">4sHI4sQQQ16s")  # magic, size of the rest, flags, compression, sizes, MD5
_BEFORE_REST = 6


def write_asdf(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> None:
    """Write a tree to an ASDF file atomically, replacing an existing file.

    Parameters
    ----------
    path : path
        The file.
    tree : mapping
        Dicts, lists and scalars; arrays of numbers are stored in binary blocks.
    """
    arrays: list[npt.NDArray[Any]] = []
    text = yaml.dump(_with_sources(tree, arrays), Dumper=_Dumper, sort_keys=False).encode()
    content = b"".join([_HEAD, text, _END, *(_block(array) for array in arrays)])
    target = Path(path)
    # The name is unpredictable, so that no other user can place a link there.
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class _Node(dict[str, Any]):
    """The description of an array that is stored in a block."""


class _Dumper(yaml.SafeDumper):
    """Dumper that tags descriptions of arrays, and writes repeated values without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent(dumper: yaml.SafeDumper, node: _Node) -> yaml.Node:
    tag = "tag:stsci.edu:asdf/core/ndarray-1.1.0"
    return dumper.represent_mapping(tag, dict(node), flow_style=True)


_Dumper.add_representer(_Node, _represent)


def _with_sources(value: Any, arrays: list[npt.NDArray[Any]]) -> Any:
    """Return a tree with descriptions in place of its arrays; append these to ``arrays``."""
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value, value.dtype.newbyteorder("<")))
        return _Node(
            source=len(arrays) - 1,
            datatype="bool8" if value.dtype.kind == "b" else value.dtype.name,
            byteorder="little",
            shape=list(value.shape),
        )
    if isinstance(value, Mapping):
        return {name: _with_sources(below, arrays) for name, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_sources(below, arrays) for below in value]
    return value.item() if isinstance(value, np.generic) else value


def _block(array: npt.NDArray[Any]) -> bytes:
    data = array.tobytes()
    size, rest = len(data), _BLOCK.size - _BEFORE_REST
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    header = b"\xd3BLK", rest, 0, b"\0\0\0\0", size, size, size, digest
    return _BLOCK.pack(*header) + data
