"""ASDF files opened lazily: the tree with its tags is read, the arrays in blocks when asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.asdf.asdf_blocks import (
    AsdfBlock,
    BlockPlace,
    check_number,
    describe_array,
    find_blocks,
    find_first_block,
    read_array,
    read_block,
    split_blocks,
)
from calbatch.models.asdf.asdf_tree import MAX_TREE_LENGTH, find_tree_end, parse_tree
from calbatch.models.asdf.tagged import ARRAY, TaggedValue
from calbatch.models.errors import FileError, explain_errors
from calbatch.models.storage import files
from calbatch.models.storage.memory import require_memory
from calbatch.models.storage.stamps import ReadAt, Stamp

_FIRST_READ = 1 << 16
_SIGNATURE = b"#ASDF "


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array of an ASDF file that has not been read.

    Attributes
    ----------
    stamp : Stamp
        The file.
    node : mapping
        The array's node in the tree.
    place : BlockPlace, optional
        The block that holds its data; None if these are in the tree.
    """

    stamp: Stamp
    node: Mapping[str, Any]
    place: BlockPlace | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return describe_array(self.stamp.path, self.node)[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's type in memory."""
        return describe_array(self.stamp.path, self.node)[0].newbyteorder("=")

    def load(self) -> npt.NDArray[Any]:
        """Read the array.

        Raises
        ------
        FileError
            If the file has changed since it was opened or is damaged, or the array is of a kind
            that cannot be read.
        """
        path = self.stamp.path
        with explain_errors(path, "an array cannot be read"):
            if self.place is None:
                return read_array(path, self.node, lambda _: _no_block(path))
            place = self.place
            require_memory(path, place.end - place.start, "a block")
            with files.open_decompressed(self.stamp) as read:
                block = read_block(read, place)
            return read_array(path, self.node, lambda _: block)

    def __deepcopy__(self, memo: dict[int, Any]) -> StoredArray:
        return self


def _no_block(path: str) -> Any:
    raise FileError(path, "an array has neither data nor a block")


def is_asdf(start: bytes) -> bool:
    """Return whether a file's first bytes are those of an ASDF file."""
    return start.startswith(_SIGNATURE)


def read_lazily(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the tree of an ASDF file, but none of the arrays in its blocks.

    Parameters
    ----------
    path : path or URL
        The file, which may be gzipped.

    Returns
    -------
    dict
        The tree: dicts, lists and scalars, with `StoredArray` for arrays, and `TaggedValue` and
        `TaggedText` for what has another tag.

    Raises
    ------
    FileError
        If the file is not ASDF or damaged, its tree exceeds the bounds, or an array is outside the
        file.
    StorageError
        If the server of a URL cannot be reached or fails.
    """
    stamp = files.read_stamp(path)
    with explain_errors(stamp.path), files.open_decompressed(stamp) as read:
        content = _read_tree_content(read)
        if not is_asdf(content):
            raise FileError(stamp.path, "not an ASDF file: it does not begin with #ASDF")
        tree = parse_tree(stamp.path, content, keep_tags=True)
        places = _find_places(stamp, read, content)
        return {
            name: _place_arrays(value, partial(_stored_array, stamp, places=places))
            for name, value in tree.items()
        }


def read_content(where: str, content: bytes) -> dict[str, Any]:
    """Return the tree of the content of an ASDF file, with its tags and arrays.

    Parameters
    ----------
    where : str
        The content's name, for messages.
    content : bytes
        The content.

    Raises
    ------
    FileError
        If it is damaged, or has an array of a kind that cannot be read.
    """
    tree = parse_tree(where, content, keep_tags=True)
    with explain_errors(where):
        blocks = list(split_blocks(content[find_tree_end(content) :]))
        return {
            name: _place_arrays(value, partial(_read_node, where, blocks=blocks))
            for name, value in tree.items()
        }


def _read_node(where: str, node: Any, blocks: list[AsdfBlock]) -> npt.NDArray[Any]:
    if isinstance(node, list):
        return np.asarray(node)
    return read_array(where, node, lambda n: blocks[check_number(where, n, len(blocks))])


def _read_tree_content(read: ReadAt) -> bytes:
    """Return the beginning of a file, up to the end of its tree or further."""
    length = _FIRST_READ
    while True:
        content = read(0, length)
        end = find_tree_end(content)
        is_mark = 0 <= end < len(content) - 5  # else the next byte may belong to the line
        if is_mark or len(content) < length or length >= MAX_TREE_LENGTH:
            return content
        length = min(4 * length, MAX_TREE_LENGTH)


def _find_places(stamp: Stamp, read: ReadAt, content: bytes) -> list[BlockPlace]:
    end = find_tree_end(content)
    found = find_first_block(read(end, _FIRST_READ))  # padding may precede it
    if found < 0:
        return []
    # The length of a gzipped file's content is unknown; reading a block beyond it fails then.
    length = 1 << 62 if stamp.is_gzipped else stamp.size
    return list(find_blocks(read, end + found, length))


def _place_arrays(value: Any, make: Callable[[Any], Any]) -> Any:
    """Return a value with what ``make`` returns in place of the arrays' nodes."""
    match value:
        case TaggedValue(tag=tag, value=node) if tag.startswith(ARRAY):
            return make(node)
        case TaggedValue(tag=tag, value=below):
            return TaggedValue(tag, _place_arrays(below, make))
        case dict():
            return {name: _place_arrays(below, make) for name, below in value.items()}
        case list():
            return [_place_arrays(below, make) for below in value]
    return value


def _stored_array(stamp: Stamp, node: Any, *, places: list[BlockPlace]) -> StoredArray:
    if isinstance(node, list):  # numbers in the tree, without a description
        return _inline_array(stamp, node)
    if not isinstance(node, Mapping):
        raise FileError(stamp.path, f"an array is {node!r:.60}, not a mapping or a list")
    if "data" in node:
        return StoredArray(stamp, node, None)
    place = places[check_number(stamp.path, node.get("source"), len(places))]
    _check_extent(stamp, node, place)
    return StoredArray(stamp, node, place)


def _inline_array(stamp: Stamp, values: list[Any]) -> StoredArray:
    found = np.asarray(values)
    if found.dtype.kind not in "biufU":
        raise FileError(stamp.path, "an array in the tree does not consist of numbers or text")
    names = {"b": "bool8", "i": "int64", "u": "uint64", "f": "float64"}
    kind = names.get(found.dtype.kind) or ["ucs4", max(1, found.dtype.itemsize // 4)]
    return StoredArray(stamp, {"data": values, "datatype": kind, "shape": [*found.shape]}, None)


def _check_extent(stamp: Stamp, node: Mapping[str, Any], place: BlockPlace) -> None:
    """Raise an error if an array is larger than its block; strides are checked when it is read."""
    try:
        dtype, shape = describe_array(stamp.path, node)
    except FileError:
        return  # other arrays of the file can be read
    needed = 0 if node.get("strides") else math.prod(shape) * dtype.itemsize
    offset = node.get("offset", 0)
    if not isinstance(offset, int) or not 0 <= offset <= place.size - needed:
        raise FileError(
            stamp.path, f"an array of {needed} bytes is outside its block of {place.size} bytes"
        )
