"""Quick-looks as PNG images in text, small enough for all of them to fit into a report."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models.statistics.quick_look import QuickLook

Array = npt.NDArray[Any]

LARGEST_TOTAL = 32_000_000
"""Maximum number of characters of all images of a report."""

_OVERHEAD = 150
"""Bytes of a PNG image besides its pixels, which need not shrink when they are compressed."""


class ImageFormat(NamedTuple):
    """The size, in pixels, that images do not exceed, and their bits per pixel."""

    size: int
    bits: int

    def longest(self) -> int:
        """Return the maximum number of characters of an image."""
        return 4 * (self.size * (self.size * self.bits // 8 + 1) + _OVERHEAD) // 3 + 4


FORMATS = (
    ImageFormat(96, 8),
    ImageFormat(96, 4),
    ImageFormat(64, 4),
    ImageFormat(48, 4),
    ImageFormat(32, 4),
)
"""Formats of images, the best one first."""


def choose_format(count: int, total: int = LARGEST_TOTAL) -> ImageFormat | None:
    """Return the best format in which a number of images fits; None if there is none."""
    fitting = (each for each in FORMATS if count * each.longest() <= total)
    return next(fitting, None)


def draw_quick_looks(looks: Iterable[tuple[str, QuickLook]]) -> Iterator[tuple[str, str]]:
    """Yield the file name and the image of each quick-look, without damaged ones.

    Parameters
    ----------
    looks : iterable of (str, QuickLook)
        Paths of products, and their quick-looks.
    """
    for path, look in looks:
        with suppress(ValueError):
            yield path.rpartition("/")[2], draw_png(look, FORMATS[0])


def draw_png(look: QuickLook, form: ImageFormat) -> str:
    """Return a quick-look as a PNG image in base 64, without values where it is transparent.

    Source: PNG specification, third edition.

    Raises
    ------
    ValueError
        If the quick-look is damaged.
    """
    levels = _shrink(look.levels(), form.size)
    height, width = levels.shape
    if form.bits == 4:
        levels = _pack_nibbles(np.where(levels, 1 + (levels.astype(np.int64) - 1) * 15 // 255, 0))
    lines = np.zeros((height, 1 + levels.shape[1]), np.uint8)  # each line's filter is 0: none
    lines[:, 1:] = levels
    chunks = (
        (b"IHDR", struct.pack(">II5B", width, height, *(form.bits, 0, 0, 0, 0))),
        (b"tRNS", b"\0\0"),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    )
    image = b"\x89PNG\r\n\x1a\n" + b"".join(_chunks(chunks))
    return base64.b64encode(image).decode("ascii")


def _chunks(chunks: tuple[tuple[bytes, bytes], ...]) -> Iterator[bytes]:
    for kind, data in chunks:
        yield struct.pack(">I", len(data)) + kind + data
        yield struct.pack(">I", zlib.crc32(kind + data))


def _shrink(levels: Array, size: int) -> Array:
    """Return levels with at most ``size`` rows and columns, evenly chosen."""
    for axis in (0, 1):
        count = levels.shape[axis]
        number = min(count, size)
        levels = levels.take((2 * np.arange(number) + 1) * count // (2 * number), axis=axis)
    return levels


def _pack_nibbles(levels: Array) -> Array:
    """Return levels below 16 as two in each byte, the left one in its upper half."""
    padded = np.pad(levels.astype(np.uint8), ((0, 0), (0, levels.shape[1] % 2)))
    return (padded[:, ::2] << 4) | padded[:, 1::2]
