"""The binary blocks of an ASDF file, and the arrays that they hold.

Source: ASDF standard 1.6.0, block and ``core/ndarray``.
"""

from __future__ import annotations

import bz2
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.asdf.asdf_tree import find_tree_end, read_tree
from calbatch.models.errors import FileError, explain_errors
from calbatch.models.storage.memory import require_memory

_MAGIC = b"\xd3BLK"
_FIXED = 6  # bytes of a block before its header, whose length they give
_HEADER = struct.Struct(">4x4sQQQ16s")  # compression; bytes allocated, stored, expanded; MD5
_TYPES = {
    "bool8": "?",
    **{n: n for n in ("float16", "float32", "float64", "complex64", "complex128")},
}
_TYPES |= {f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True, kw_only=True)
class AsdfBlock:
    """One binary block.

    Attributes
    ----------
    content : bytes
        The block as in the file, header included.
    stored : bytes
        Its data, which may be compressed.
    compression : str
        Name of the compression; empty for none.
    size : int
        Bytes of the data without compression.
    """

    content: bytes
    stored: bytes
    compression: str
    size: int


def split_blocks(content: bytes) -> Iterator[AsdfBlock]:
    """Yield the blocks in the part of a file that follows its tree; the block index is left out.

    Raises
    ------
    ValueError
        If a block is cut short or does not match its checksum.
    """
    at = content.find(_MAGIC)
    while at >= 0 and content[at : at + len(_MAGIC)] == _MAGIC:
        header = content[at + _FIXED : at + _FIXED + _HEADER.size]
        if len(header) < _HEADER.size:
            raise ValueError("a block is cut short")
        (length,) = struct.unpack(">H", content[at + 4 : at + _FIXED])
        if length < _HEADER.size:
            raise ValueError("a block has no header")
        compression, allocated, used, size, digest = _HEADER.unpack(header)
        begin = at + _FIXED + length
        end = begin + allocated
        if end > len(content):
            raise ValueError("a block is cut short")
        stored = content[begin : begin + used]
        checksum = hashlib.md5(stored, usedforsecurity=False)
        if any(digest) and checksum.digest() != digest:
            raise ValueError("a block does not match its checksum")
        name = compression.rstrip(b"\0").decode("latin-1")
        yield AsdfBlock(content=content[at:end], stored=stored, compression=name, size=size)
        at = end


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an ASDF file: its tree as `read_tree` returns it, with arrays in place of their nodes.

    Raises
    ------
    FileError
        If the file is not ASDF or damaged, or has an array of a kind that cannot be read.
    """
    tree = read_tree(path)
    require_memory(path, 2 * Path(path).stat().st_size, "the file, read as a whole,")
    with explain_errors(path, "its arrays cannot be read"):
        content = Path(path).read_bytes()
        blocks = list(split_blocks(content[find_tree_end(content) :]))
        return {name: _fill_arrays(path, value, blocks) for name, value in tree.items()}


def _fill_arrays(path: str | os.PathLike[str], value: Any, blocks: list[AsdfBlock]) -> Any:
    if isinstance(value, Mapping) and {"datatype", "shape"} <= value.keys():
        return _read_array(path, value, blocks)
    if isinstance(value, Mapping):
        return {name: _fill_arrays(path, below, blocks) for name, below in value.items()}
    if isinstance(value, list):
        return [_fill_arrays(path, below, blocks) for below in value]
    return value


def _read_array(
    path: str | os.PathLike[str], node: Mapping[str, Any], blocks: list[AsdfBlock]
) -> npt.NDArray[Any]:
    """Return the array of an ``ndarray`` node, whose data are in the tree or in a block."""
    kind, shape = node["datatype"], node["shape"]
    sizes = shape if isinstance(shape, list) else [None]
    is_plain = isinstance(kind, str) and kind in _TYPES and "mask" not in node
    if not is_plain or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise FileError(path, f"cannot read an array of datatype {kind!r} and shape {shape!r}")
    dtype = np.dtype(_TYPES[kind])
    if "data" in node:
        return read_numbers(node["data"]).astype(dtype).reshape(shape)
    number = node.get("source")
    if not isinstance(number, int) or not -len(blocks) <= number < len(blocks):
        raise FileError(path, f"an array is in block {number!r}, which the file does not have")
    order: Any = "<" if node.get("byteorder", "big") == "little" else ">"
    data = _expand(path, blocks[number])
    require_memory(path, math.prod(shape) * dtype.itemsize, "an array")
    place = int(node.get("offset", 0)), node.get("strides")
    return np.ndarray(tuple(shape), dtype.newbyteorder(order), data, *place).astype(dtype)


def read_numbers(values: Any) -> npt.NDArray[Any]:
    """Return nested lists of a tree as an array; complex numbers are strings there.

    Raises
    ------
    ValueError
        If the lists have different lengths, or hold something other than numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind == "U":
        return np.array([complex(text) for text in array.flat]).reshape(array.shape)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{array.dtype} instead of numbers")
    return array


def _expand(path: str | os.PathLike[str], block: AsdfBlock) -> bytes:
    """Return the data of a block without compression."""
    if not block.compression:
        return block.stored
    require_memory(path, block.size, "a block")
    if block.compression == "zlib":
        return zlib.decompressobj().decompress(block.stored, block.size)
    if block.compression == "bzp2":
        return bz2.BZ2Decompressor().decompress(block.stored, block.size)
    raise FileError(path, f"cannot read arrays compressed with {block.compression!r}")
