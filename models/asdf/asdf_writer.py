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

from calbatch.models.asdf.asdf_file import StoredArray
from calbatch.models.asdf.tagged import ARRAY, CORE, TaggedText, TaggedValue

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
        Dicts, lists and scalars, also with tags; arrays are stored in binary blocks. Those that
        have not been read are read for it.

    Raises
    ------
    FileError
        If an array that has not been read cannot be read any more.
    """
    replace_file(Path(path), make_asdf(tree))


def replace_file(target: Path, content: bytes) -> None:
    """Write a file atomically, replacing an existing one."""
    # The name is unpredictable, so that no other user can place a link there.
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def make_asdf(tree: Mapping[str, Any]) -> bytes:
    """Return a tree as the content of an ASDF file; see `write_asdf`."""
    arrays: list[npt.NDArray[Any]] = []
    text = yaml.dump(_with_sources(tree, arrays), Dumper=_Dumper, sort_keys=False).encode()
    return b"".join([_HEAD, text, _END, *(_block(array) for array in arrays)])


class _Node(dict[str, Any]):
    """The description of an array that is stored in a block."""


class _Dumper(yaml.SafeDumper):
    """Dumper that tags descriptions of arrays, and writes repeated values without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent(dumper: yaml.SafeDumper, node: _Node) -> yaml.Node:
    return dumper.represent_mapping(f"{ARRAY}1.1.0", dict(node), flow_style=True)


def _represent_tagged(dumper: yaml.SafeDumper, tagged: TaggedValue) -> yaml.Node:
    node = dumper.represent_data(tagged.value)
    node.tag = tagged.tag
    return node


def _represent_text(dumper: yaml.SafeDumper, text: TaggedText) -> yaml.Node:
    return dumper.represent_scalar(text.tag, str(text))


def _represent_complex(dumper: yaml.SafeDumper, number: complex) -> yaml.Node:
    return dumper.represent_scalar(f"{CORE}complex-1.0.0", str(number).strip("()"))


_Dumper.add_representer(_Node, _represent)
_Dumper.add_representer(TaggedValue, _represent_tagged)
_Dumper.add_representer(TaggedText, _represent_text)
_Dumper.add_representer(complex, _represent_complex)


def _with_sources(value: Any, arrays: list[npt.NDArray[Any]]) -> Any:
    """Return a tree with descriptions in place of its arrays; append these to ``arrays``."""
    if isinstance(value, StoredArray):
        value = value.load()
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value, value.dtype.newbyteorder("<")))
        return _Node(
            source=len(arrays) - 1,
            datatype=_datatype(value.dtype),
            byteorder="little",
            shape=list(value.shape),
        )
    if isinstance(value, TaggedValue):
        return TaggedValue(value.tag, _with_sources(value.value, arrays))
    if isinstance(value, Mapping):
        return {name: _with_sources(below, arrays) for name, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_sources(below, arrays) for below in value]
    return value.item() if isinstance(value, np.generic) else value


def _datatype(dtype: np.dtype[Any]) -> Any:
    """Return the name of a type in ASDF, or the description of a record."""
    if dtype.names is not None:
        return [_describe_column(name, dtype[name]) for name in dtype.names]
    if dtype.kind in "SU":
        width = 1 if dtype.kind == "S" else 4
        return ["ascii" if dtype.kind == "S" else "ucs4", dtype.itemsize // width]
    return "bool8" if dtype.kind == "b" else dtype.name


def _describe_column(name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    column = {"name": name, "datatype": _datatype(dtype.base), "byteorder": "little"}
    return {**column, "shape": list(dtype.shape)} if dtype.shape else column


def _block(array: npt.NDArray[Any]) -> bytes:
    data = array.tobytes()
    size, rest = len(data), _BLOCK.size - _BEFORE_REST
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    header = b"\xd3BLK", rest, 0, b"\0\0\0\0", size, size, size, digest
    return _BLOCK.pack(*header) + data
