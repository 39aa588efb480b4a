"""Readers that place or choose the rows of other arrays."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import Reader
from calbatch.models.fits.row_runs import Window
from calbatch.models.tiling.plan import (
    OperationNode,
    PlanNode,
    SourceNode,
    SourcePixels,
    apply_operations,
)
from calbatch.models.tiling.pruning import required_operations
from calbatch.models.tiling.tile import Array, Region, RegionReads

Rows = npt.NDArray[np.intp]


class SpreadRows(Reader):
    """Reader that spreads the rows of an array over a taller frame; all other rows are zero.

    Parameters
    ----------
    inner : Reader
        The array.
    rows : ndarray of int
        The rows of the frame in which the array's rows lie, in ascending order.
    height : int
        Number of rows of the frame.
    """

    def __init__(self, inner: Reader, rows: Rows, height: int) -> None:
        super().__init__((*inner.shape[:-2], height, inner.shape[-1]), inner.dtype)
        self._inner, self._rows = inner, rows

    def _source(self) -> Hashable | None:
        inner = self._inner.key()
        return None if inner is None else (inner, self._rows.tobytes())

    def _fetch(self, window: Window, dtype: np.dtype[Any]) -> Array:
        top, bottom = window.rows.start, window.rows.stop
        first, last = (int(n) for n in np.searchsorted(self._rows, (top, bottom)))
        result = np.zeros(window.shape, dtype)
        index = tuple(slice(a.start, a.stop, a.step) for a in window.leading)
        part = self._inner.planes(index) if index else self._inner
        found = part.read((first, last), (window.cols.start, window.cols.stop))
        result[..., self._rows[first:last] - top, :] = found.reshape(
            *window.shape[:-2], last - first, window.shape[-1]
        )
        return result


class ChosenRows(Reader):
    """Reader of some rows of a field at the end of a chain of operations.

    The operations that the field depends on run on just the rows and columns that are read. A frame
    that loses rows in the middle of a chain can thus become the source of a second plan.

    Parameters
    ----------
    tip : PlanNode
        The end of the chain.
    name : str
        The field's name in its tiles.
    shape, dtype
        The shape and the type of the field at the end of the chain.
    rows : ndarray of int
        The rows, in ascending order.

    Raises
    ------
    ModelError
        If the chain has an assigned dask array, or an operation that takes a value of the frame.
    """

    def __init__(
        self, tip: PlanNode, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, rows: Rows
    ) -> None:
        super().__init__((*shape[:-2], rows.size, shape[-1]), dtype)
        if not all(isinstance(node, (OperationNode, SourceNode)) for node in tip.ancestry()):
            raise ModelError(
                f"{name} was assigned as an array before rows are removed from its frame; assign "
                "it after that"
            )
        required = required_operations([name], tip)
        if any(part.reductions for part in required):
            raise ModelError(
                f"{name} depends on values of the whole frame before rows are removed from it"
            )
        self._pixels: SourcePixels = tip.source.pixels
        self._operations = tuple(part.op for part in required)
        self._name, self._rows = name, rows

    def _fetch(self, window: Window, dtype: np.dtype[Any]) -> Array:
        (array,) = self._fetch_beside([window], dtype)
        return array

    def _fetch_beside(self, windows: Sequence[Window], dtype: np.dtype[Any]) -> list[Array]:
        rows = self._rows[windows[0].rows.start : windows[0].rows.stop]
        if not rows.size:
            return [np.empty(window.shape, dtype) for window in windows]
        span = (int(rows[0]), int(rows[-1]) + 1)
        regions = [Region(span, (w.cols.start, w.cols.stop)) for w in windows]
        radius = sum(op.radius for op in self._operations)
        reads = RegionReads([region.grow(radius, self._pixels.frame) for region in regions])
        values: Mapping[str, Any] = {}
        found = []
        for window, region in zip(windows, regions, strict=True):
            tile = self._pixels.tile(region, radius, reads)
            whole = apply_operations(self._operations, tile, values).core_rows(self._name)
            planes = whole[tuple(slice(a.start, a.stop, a.step) for a in window.leading)]
            found.append(planes[..., rows - span[0], :].astype(dtype, copy=False))
        return found
