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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.asdf.asdf_tree import find_tree_end, read_tree
from calbatch.models.errors import FileError, explain_errors
from calbatch.models.storage.memory import require_memory
from calbatch.models.storage.stamps import ReadAt

_MAGIC = b"\xd3BLK"
_MAX_TEXT = 1 << 16  # characters of a cell
_FIXED = 6  # bytes of a block before its header, whose length they give
_HEADER = struct.Struct(">4x4sQQQ16s")  # compression; bytes allocated, stored, expanded; MD5
_TYPES = {
    "bool8": "?",
    **{n: n for n in ("float16", "float32", "float64", "complex64", "complex128")},
}
_TYPES |= {f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True, kw_only=True)
class BlockPlace:
    """The place of a binary block in a file, from its header.

    Attributes
    ----------
    start, end : int
        Where the block begins, header included, and where it ends.
    data : int
        Where its data begin.
    stored : int
        Bytes of the data, which may be compressed.
    size : int
        Bytes of the data without compression.
    compression : str
        Name of the compression; empty for none.
    digest : bytes
        MD5 checksum of the data; zeros for none.
    """

    start: int
    end: int
    data: int
    stored: int
    size: int
    compression: str
    digest: bytes


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


def find_blocks(read: ReadAt, start: int, length: int) -> Iterator[BlockPlace]:
    """Yield the places of blocks that follow one another, reading only their headers.

    Parameters
    ----------
    read : callable
        Reads a file: ``read(position, count)``.
    start : int
        Where the first block begins.
    length : int
        Length of the file in bytes.

    Raises
    ------
    ValueError
        If a block is cut short.
    """
    at = start
    while (head := read(at, _FIXED + _HEADER.size))[: len(_MAGIC)] == _MAGIC:
        if len(head) < _FIXED + _HEADER.size:
            raise ValueError("a block is cut short")
        (rest,) = struct.unpack(">H", head[len(_MAGIC) : _FIXED])
        if rest < _HEADER.size:
            raise ValueError("a block has no header")
        compression, allocated, stored, size, digest = _HEADER.unpack(head[_FIXED:])
        data = at + _FIXED + rest
        end = data + allocated
        if end > length or stored > allocated:
            raise ValueError("a block is cut short")
        yield BlockPlace(
            start=at,
            end=end,
            data=data,
            stored=stored,
            size=size,
            compression=compression.rstrip(b"\0").decode("latin-1"),
            digest=digest,
        )
        at = end


def read_block(read: ReadAt, place: BlockPlace) -> AsdfBlock:
    """Return a block.

    Raises
    ------
    ValueError
        If it is cut short or does not match its checksum.
    """
    content = read(place.start, place.end - place.start)
    begin = place.data - place.start
    stored = content[begin : begin + place.stored]
    if len(stored) < place.stored:
        raise ValueError("a block is cut short")
    checksum = hashlib.md5(stored, usedforsecurity=False)
    if any(place.digest) and checksum.digest() != place.digest:
        raise ValueError("a block does not match its checksum")
    return AsdfBlock(content=content, stored=stored, compression=place.compression, size=place.size)


def split_blocks(content: bytes) -> Iterator[AsdfBlock]:
    """Yield the blocks in the part of a file that follows its tree; the block index is left out.

    Raises
    ------
    ValueError
        If a block is cut short or does not match its checksum.
    """
    start = find_first_block(content)
    if start >= 0:
        for place in find_blocks(partial(_slice, content), start, len(content)):
            yield read_block(partial(_slice, content), place)


def _slice(content: bytes, position: int, count: int) -> bytes:
    return content[position : position + count]


def find_first_block(content: bytes) -> int:
    """Return where the first block begins in a part of a file; -1 if there is none."""
    return content.find(_MAGIC)


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
        return read_array(path, value, partial(_take_block, path, blocks))
    if isinstance(value, Mapping):
        return {name: _fill_arrays(path, below, blocks) for name, below in value.items()}
    if isinstance(value, list):
        return [_fill_arrays(path, below, blocks) for below in value]
    return value


def _take_block(path: str | os.PathLike[str], blocks: list[AsdfBlock], number: Any) -> AsdfBlock:
    return blocks[check_number(path, number, len(blocks))]


def check_number(path: str | os.PathLike[str], number: Any, count: int) -> int:
    """Return the number of a block, which -1 counts from the end, among the blocks of a file.

    Raises
    ------
    FileError
        If the file does not have the block.
    """
    is_number = isinstance(number, int) and not isinstance(number, bool)
    if not is_number or not -count <= number < count:
        raise FileError(path, f"an array is in block {number!r}, which the file does not have")
    return int(number) % count


def read_array(
    path: str | os.PathLike[str],
    node: Mapping[str, Any],
    take_block: Callable[[Any], AsdfBlock],
) -> npt.NDArray[Any]:
    """Return the array of an ``ndarray`` node, whose data are in the tree or in a block.

    Parameters
    ----------
    path : path
        The file, for messages.
    node : mapping
        The node.
    take_block : callable
        Returns the block of the number in the node.

    Raises
    ------
    FileError
        If the array is of a kind that cannot be read, or its block is damaged.
    ValueError, TypeError
        If the node contradicts itself or the block.
    """
    dtype, shape = describe_array(path, node)
    if "data" in node:
        numbers = node["data"] if dtype.kind in "SU" else read_numbers(node["data"])
        return np.asarray(numbers).astype(dtype).reshape(shape)
    data = _expand(path, take_block(node.get("source")))
    require_memory(path, math.prod(shape) * dtype.itemsize, "an array")
    place = int(node.get("offset", 0)), node.get("strides")
    return np.ndarray(shape, dtype, data, *place).astype(dtype.newbyteorder("="))


def describe_array(
    path: str | os.PathLike[str], node: Mapping[str, Any]
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the type, in the file's byte order, and the shape of an ``ndarray`` node.

    Raises
    ------
    FileError
        If the array is of a kind that cannot be read.
    """
    kind, shape = node.get("datatype"), node.get("shape")
    dtype = None if "mask" in node else _numpy_type(kind, node.get("byteorder", "big"))
    sizes = shape if isinstance(shape, list) else [None]
    if dtype is None or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise FileError(path, f"cannot read an array of datatype {kind!r} and shape {shape!r}")
    return dtype, tuple(sizes)


def _numpy_type(kind: Any, byteorder: Any) -> np.dtype[Any] | None:
    """Return the type of numbers, text or records; None for any other."""
    order: Any = "<" if byteorder == "little" else ">"
    match kind:
        case str() if kind in _TYPES:
            return np.dtype(_TYPES[kind]).newbyteorder(order)
        case ["ascii" | "ucs4" as encoding, int(length)] if 0 < length <= _MAX_TEXT:
            return np.dtype(f"{'S' if encoding == 'ascii' else 'U'}{length}").newbyteorder(order)
        case [{"name": str()}, *_] if all(isinstance(f, Mapping) and "name" in f for f in kind):
            fields = [
                (f, _numpy_type(f.get("datatype"), f.get("byteorder", byteorder))) for f in kind
            ]
            if all(dtype is not None for _, dtype in fields):
                return np.dtype(
                    [(f["name"], dtype, tuple(f.get("shape", ()))) for f, dtype in fields]
                )
    return None


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
