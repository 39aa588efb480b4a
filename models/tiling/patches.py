"""Read frames that consist of regions of other frames."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models.fits.readers import Reader
from calbatch.models.fits.row_runs import Bounds, Window
from calbatch.models.tiling.tile import Array, Region


class Planes(NamedTuple):
    """Every ``step``-th index of a leading axis, beginning with ``start``."""

    axis: int
    start: int
    step: int

    def select(self) -> tuple[slice, ...]:
        """Return the index of the planes in an array."""
        return (*(slice(None) for _ in range(self.axis)), slice(self.start, None, self.step))


@dataclass(frozen=True)
class Patch:
    """A region of one frame, and the region of another frame in which its pixels lie.

    Attributes
    ----------
    source, target : Region
        The regions, of the same shape.
    taken : Planes, optional
        The planes that are taken from the source; all by default.
    placed : Planes, optional
        The planes of the target into which they are put; all by default.
    block : Region, optional
        A region of the source that is read once for all patches inside it. These must take the same
        planes.
    """

    source: Region
    target: Region
    taken: Planes | None = None
    placed: Planes | None = None
    block: Region | None = None

    def cut(self, window: Region) -> tuple[Region, Region]:
        """Return the parts of source and target inside a window of the target; may be empty."""
        rows, cols = (_intersect(t, w) for t, w in zip(self.target, window, strict=True))
        return Region(
            _shift(rows, self.source.rows[0] - self.target.rows[0]),
            _shift(cols, self.source.cols[0] - self.target.cols[0]),
        ), Region(rows, cols)


def _intersect(first: Bounds, second: Bounds) -> Bounds:
    start = max(first[0], second[0])
    return start, max(start, min(first[1], second[1]))


def _shift(bounds: Bounds, distance: int) -> Bounds:
    return bounds[0] + distance, bounds[1] + distance


class PatchedRows(Reader):
    """Reader of a frame that consists of patches of another reader's frame.

    Where patches overlap, later ones replace earlier ones, as assignments in that order would.

    Parameters
    ----------
    inner : Reader
        The array that the patches are taken from.
    patches : sequence of Patch
        The patches.
    shape : tuple of int
        (..., rows, columns). If no patch has ``taken`` or ``placed``, the leading axes are those of
        ``inner``.
    fill : scalar
        Value of pixels outside all patches.
    """

    def __init__(
        self, inner: Reader, patches: Sequence[Patch], shape: tuple[int, ...], fill: Any = 0
    ) -> None:
        super().__init__(shape, inner.dtype)
        self._inner, self._patches, self._fill = inner, tuple(patches), fill
        self._all = shape[:-2]
        self._keeps_planes = not any(p.taken or p.placed for p in self._patches)
        bounds = [(*p.target.rows, *p.target.cols) for p in self._patches]
        self._targets = np.array(bounds, np.intp).reshape(-1, 4)

    def _source(self) -> Hashable | None:
        inner = self._inner.key()
        return None if inner is None else (inner, self._patches, repr(self._fill))

    def _fetch(self, window: Window, dtype: np.dtype[Any]) -> Array:
        wanted = tuple(slice(a.start, a.stop, a.step) for a in window.leading)
        inner, leading = self._inner, self._all
        if self._keeps_planes and wanted:
            inner, leading = inner.planes(wanted), window.shape[:-2]
        region = Region(
            (window.rows.start, window.rows.stop), (window.cols.start, window.cols.stop)
        )
        result: npt.NDArray[Any] = np.full((*leading, *region.shape), self._fill, dtype)
        blocks: dict[Region, Array] = {}
        for patch in self._overlapping(region):
            source, target = patch.cut(region)
            planes = patch.placed.select() if patch.placed else ()
            place = result[planes][..., *target.within(region)]
            place[...] = _read(inner, patch, source, blocks).reshape(place.shape)
        return result if self._keeps_planes else np.ascontiguousarray(result[wanted])

    def _overlapping(self, region: Region) -> Iterator[Patch]:
        """Yield the patches that have pixels in a region, in order."""
        (top, bottom), (left, right) = region
        t = self._targets
        inside = (t[:, 0] < bottom) & (t[:, 1] > top) & (t[:, 2] < right) & (t[:, 3] > left)
        for number in np.flatnonzero(inside):
            yield self._patches[number]


def _read(inner: Reader, patch: Patch, source: Region, blocks: dict[Region, Array]) -> Array:
    """Return the pixels of a region of a patch's source; ``blocks`` holds blocks read before."""
    part = inner.planes(patch.taken.select()) if patch.taken else inner
    if patch.block is None:
        return part.read(*source)
    if patch.block not in blocks:
        blocks[patch.block] = part.read(*patch.block)
    return blocks[patch.block][..., *source.within(patch.block)]
