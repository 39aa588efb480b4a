"""The binary blocks of an ASDF file.

Source of the format: ASDF standard 1.6.0.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

_MAGIC = b"\xd3BLK"
_FIXED = 6  # bytes of a block before the header whose length it gives
_HEADER = struct.Struct(">4x4sQQ8x16s")  # compression, bytes allocated and used, MD5 of the latter


class Block(NamedTuple):
    """The place of a block in a file.

    Attributes
    ----------
    start, stop : int
        The whole block.
    begin, used : int
        The first byte of its data, and their number.
    compression : str
        The method by which its data are compressed; empty if they are not.
    """

    start: int
    stop: int
    begin: int
    used: int
    compression: str


def find_blocks(content: bytes, start: int = 0) -> Iterator[Block]:
    """Yield the blocks of a file's content, without the block index.

    Parameters
    ----------
    content : bytes
        The file.
    start : int
        Where to begin: the end of the tree.

    Raises
    ------
    ValueError
        If a block is cut short, or does not match its checksum.
    """
    at = content.find(_MAGIC, start)
    while at >= 0 and content[at : at + len(_MAGIC)] == _MAGIC:
        header = content[at + _FIXED : at + _FIXED + _HEADER.size]
        if len(header) < _HEADER.size:
            raise ValueError("a block is cut short")
        (length,) = struct.unpack(">H", content[at + 4 : at + _FIXED])
        if length < _HEADER.size:
            raise ValueError("a block has no header")
        compression, allocated, used, digest = _HEADER.unpack(header)
        begin = at + _FIXED + length
        stop = begin + allocated
        if stop > len(content) or used > allocated:
            raise ValueError("a block is cut short")
        checksum = hashlib.md5(content[begin : begin + used], usedforsecurity=False)
        if any(digest) and checksum.digest() != digest:
            raise ValueError("a block does not match its checksum")
        yield Block(at, stop, begin, used, compression.rstrip(b"\0").decode("ascii", "replace"))
        at = stop
