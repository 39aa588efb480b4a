"""The contents of an ASDF file: its tree, and the arrays in its binary blocks.

Source of the format: ASDF standard 1.6.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import FileError, one_line
from calbatch.models.fits.asdf_blocks import Block, find_blocks
from calbatch.models.fits.asdf_tree import find_tree_end, read_tree

Array = npt.NDArray[Any]

MAX_LENGTH = 256 * 2**20
"""Bytes of a file with arrays; those of references have a few megabytes."""

_ORDERS = {"little": "<", "big": ">"}
_KINDS = {
    **{f"int{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"f{bits // 8}" for bits in (16, 32, 64)},
    "bool8": "?",
}  # fmt: skip


@dataclass(frozen=True)
class AsdfFile:
    """The contents of an ASDF file.

    Attributes
    ----------
    path : Path
    tree : dict
        The tree as dicts, lists and scalars, without tags. An array is a dict that describes it, or
        a list of its values.
    """

    path: Path
    tree: dict[str, Any]
    _content: bytes = field(repr=False)
    _blocks: tuple[Block, ...]

    @classmethod
    def read(cls, path: str | Path) -> AsdfFile:
        """Read a file.

        Raises
        ------
        FileError
            If it is not ASDF, is too long, cut short or damaged.
        """
        path = Path(path)
        tree = read_tree(path)
        try:
            content = _read_content(path)
            blocks = tuple(find_blocks(content, find_tree_end(content)))
        except OSError as error:
            raise FileError(path, error.strerror or str(error)) from error
        except ValueError as error:
            raise FileError(path, one_line(error)) from error
        return cls(path, tree, content, blocks)

    def numbers(self, value: Any, name: str) -> Array:
        """Return an array of the tree.

        Parameters
        ----------
        value : object
            Its entry in the tree.
        name : str
            Its name, for messages.

        Raises
        ------
        FileError
            If the entry is not an array of numbers, or the array is not stored plainly in this
            file.
        """
        try:
            found = self._load_block(value) if isinstance(value, dict) else np.array(value)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise FileError(self.path, f"{name} is not a plain array: {one_line(error)}") from error
        if found.dtype.kind not in "iufb":
            raise FileError(self.path, f"{name} is not an array of numbers")
        return found

    def _load_block(self, entry: dict[str, Any]) -> Array:
        """Return the array that an entry describes."""
        if "data" in entry:
            return np.array(entry["data"])
        if "strides" in entry or "mask" in entry:
            raise ValueError("strides and masks are not supported")
        kind = _KINDS[str(entry["datatype"])]
        dtype = np.dtype(_ORDERS[str(entry.get("byteorder", "little"))] + kind)
        block = self._blocks[entry["source"]] if self._has_block(entry["source"]) else None
        if block is None:
            raise ValueError(f"block {entry['source']!r} is missing")
        if block.compression:
            raise ValueError(f"compressed blocks ({block.compression}) are not supported")
        shape = tuple(int(length) for length in entry["shape"])
        start = int(entry.get("offset", 0))
        count = int(np.prod(shape, dtype=object))
        if min((start, *shape), default=0) < 0 or start + count * dtype.itemsize > block.used:
            raise ValueError(f"its block is too short for the shape {shape}")
        array = np.frombuffer(self._content, dtype, count, block.begin + start)
        return array.reshape(shape).astype(dtype.newbyteorder("="))

    def _has_block(self, source: Any) -> bool:
        known = len(self._blocks)
        return type(source) is int and -known <= source < known


def _read_content(path: Path) -> bytes:
    if path.stat().st_size > MAX_LENGTH:
        raise ValueError(f"it is longer than {MAX_LENGTH} bytes")
    return path.read_bytes()
