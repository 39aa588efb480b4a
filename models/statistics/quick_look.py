"""Quick-looks: small images of a product, made from its sampled rows."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LOW, HIGH = 1.0, 99.5
"""Percentiles of the values that are shown as the darkest and the brightest level."""

LARGEST = 256
"""Maximum height and width of a quick-look that is read back."""


@dataclass(frozen=True, kw_only=True)
class QuickLook:
    """A small image of a product.

    Attributes
    ----------
    height, width : int
        Its size in pixels.
    low, high : float
        The values, in the product's unit, of levels 1 and 255.
    packed : bytes
        Compressed levels, row by row, one byte each; level 0 marks pixels without a usable value.
    """

    height: int
    width: int
    low: float
    high: float
    packed: bytes

    @classmethod
    def from_means(cls, means: Array) -> Self | None:
        """Return the quick-look of some values, shape (height, width); None if none is finite."""
        finite = np.isfinite(means)
        if not finite.any():
            return None
        low, high = np.percentile(means[finite].astype(np.float64), (LOW, HIGH))
        share = (np.where(finite, means, low) - low) / (high - low or 1.0)
        levels = np.where(finite, 1 + np.rint(254 * np.clip(share, 0, 1)), 0).astype(np.uint8)
        height, width = levels.shape
        packed = zlib.compress(levels.tobytes(), 1)
        return cls(height=height, width=width, low=float(low), high=float(high), packed=packed)

    def levels(self) -> Array:
        """Return the levels, uint8 of shape (height, width).

        Raises
        ------
        ValueError
            If the levels are damaged, or more than a quick-look has.
        """
        size = self.height * self.width
        if not (0 < self.height <= LARGEST and 0 < self.width <= LARGEST):
            raise ValueError(f"a quick-look of {self.height} x {self.width} pixels")
        try:
            octets = zlib.decompressobj().decompress(self.packed, size + 1)
        except zlib.error as error:
            raise ValueError("a damaged quick-look") from error
        if len(octets) != size:
            raise ValueError(f"{len(octets)} levels for a quick-look of {size} pixels")
        return np.frombuffer(octets, np.uint8).reshape(self.height, self.width)
