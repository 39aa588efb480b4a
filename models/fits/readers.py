"""Readers: arrays from which a tile reads only its rows and columns.

A reader is small and picklable: it describes the place of pixels, and `read` fetches some of them.
Files are never mapped. They are read by position, and big-endian bytes are decoded on the way.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from os import PathLike
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import FileError
from calbatch.models.fits import byteorder
from calbatch.models.fits.hdu import Hdu
from calbatch.models.fits.image_cache import decode_image
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.row_runs import Bounds, Run, Window, find_runs, gather_runs
from calbatch.models.storage.files import open_file
from calbatch.models.storage.stamps import OpenFile, Stamp

Array = npt.NDArray[Any]
Allocator = Callable[[tuple[int, ...], np.dtype[Any]], Array]


class CopyProvider(Protocol):
    """Provides decoded copies of files on a host, made once for all of its processes.

    A provider is picklable. On another host it provides copies on that host.
    """

    def __hash__(self) -> int:
        """Return a hash; equal providers have the same copies."""
        ...

    def plain_file(self, path: str) -> PathLike[str]:
        """Return a file whose images can be read by position: the file itself, or its copy."""
        ...

    def table_file(self, path: str, index: int) -> PathLike[str] | None:
        """Return an ``.npy`` file with the rows of a table; None if there can be no such copy."""
        ...


class Reader(ABC):
    """An array from which any rows and columns can be read.

    Readers are immutable: methods that narrow or convert one return a new reader.

    Parameters
    ----------
    shape : tuple of int
        (..., rows, columns); an array with a single axis counts as one row.
    dtype : dtype-like
        Native type of the pixels.

    Attributes
    ----------
    window : Window
        The part of the array that the reader sees.
    dtype : numpy.dtype
        The type of the arrays that `read` returns.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.window = Window.of(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._decoded = self.dtype
        self._flat = len(shape) == 1
        self._functions: tuple[Callable[[Array], Array], ...] = ()
        self._allocate: Allocator = byteorder.empty

    @abstractmethod
    def _fetch(self, window: Window, dtype: np.dtype[Any]) -> Array:
        """Return the pixels of a window as a new contiguous array."""

    def _with(self, **changes: Any) -> Self:
        twin = copy.copy(self)
        twin.__dict__.update(changes)
        return twin

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., rows, columns), or (columns,) of an array with a single axis."""
        return self.window.shape[1:] if self._flat else self.window.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def read(self, rows: Bounds, cols: Bounds) -> Array:
        """Return some rows and columns of every plane.

        Parameters
        ----------
        rows, cols : (int, int)
            Start and stop, counted within this reader's window.

        Returns
        -------
        ndarray, shape (..., stop - start, stop - start)
            A new C-contiguous array in native byte order.

        Raises
        ------
        FileError
            If the file is missing, changed, truncated or damaged.
        ValueError
            If rows or columns are outside the window.
        """
        (array,) = self.read_beside(rows, [cols])
        return array

    def read_beside(self, rows: Bounds, cols: Sequence[Bounds]) -> list[Array]:
        """Return several ranges of columns of the same rows, read in one pass; see `read`."""
        windows = [self.window.cut(rows, each) for each in cols]
        return [self._convert(array) for array in self._fetch_beside(windows, self._decoded)]

    def _fetch_beside(self, windows: Sequence[Window], dtype: np.dtype[Any]) -> list[Array]:
        """Return the pixels of windows that differ only in their columns."""
        return [self._fetch(window, dtype) for window in windows]

    def _convert(self, array: Array) -> Array:
        for function in self._functions:
            array = function(array)
        return np.ascontiguousarray(array, self.dtype)

    def key(self) -> Hashable | None:
        """Return a key that identifies the pixels of this reader; None if they may change."""
        source = self._source()
        key = (type(self), source, self.window, self._decoded, self.dtype, self._functions)
        try:
            hash(key)
        except TypeError:  # a function with mutable arguments
            return None
        return None if source is None else key

    def _source(self) -> Hashable | None:
        """Return a key of the source of the pixels; None if they may change."""
        return None

    def whole(self) -> Array:
        """Return the whole array; see `read`."""
        *_, rows, cols = self.window.shape
        return self.read((0, rows), (0, cols)).reshape(self.shape)

    def section(self, row0: int, nrows: int, col0: int, ncols: int) -> Self:
        """Return a reader of a rectangle of each plane, such as a subarray."""
        window = self.window.cut((row0, row0 + nrows), (col0, col0 + ncols))
        return self._with(window=window)

    def planes(self, index: slice | tuple[slice, ...]) -> Self:
        """Return a reader of some planes, given by slices of the leading axes."""
        parts = index if isinstance(index, tuple) else (index,)
        return self._with(window=self.window.take(parts))

    def into(self, allocate: Allocator) -> Self:
        """Return a reader that asks a function for the arrays into which it reads.

        Parameters
        ----------
        allocate : callable
            Takes a shape and a type, and returns a new array whose content does not matter.
        """
        return self._with(_allocate=allocate)

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Return a reader of another type, to which pixels are decoded directly if possible."""
        wanted = np.dtype(dtype)
        if not self._functions:
            return self._with(dtype=wanted, _decoded=wanted)
        return self.then(partial(np.asarray, dtype=wanted), wanted)

    def then(self, function: Callable[[Array], Array], dtype: npt.DTypeLike | None = None) -> Self:
        """Return a reader that applies a function to the arrays that it reads.

        Parameters
        ----------
        function : callable
            Takes an array, which it may modify, and returns one of the same shape. It must be
            picklable: a module-level function, or a `functools.partial` of one.
        dtype : dtype-like, optional
            The type of the returned array, if it differs.
        """
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        return self._with(_functions=(*self._functions, function), dtype=wanted)


_COLUMN_SCRATCH_BYTES = 1 << 20
"""Size of the buffer through which rows pass of which only some columns are decoded."""


class RowReader(Reader):
    """Reads the rows of an image HDU by position, or decodes the whole image if necessary.

    Parameters
    ----------
    hdu : Hdu
        An image of a layout, whose file must not change before it is read.
    copies : CopyProvider, optional
        Provides decoded copies; by default each process decodes the data itself.

    Raises
    ------
    FileError
        If the HDU is not an image.
    """

    def __init__(self, hdu: Hdu, copies: CopyProvider | None = None) -> None:
        if hdu.kind not in ("image", "compressed"):
            raise FileError(hdu.stamp.path, f"{hdu.label} is not an image")
        super().__init__(hdu.shape, hdu.dtype)
        self._stamp, self._index, self._offset = hdu.stamp, hdu.index, hdu.data_offset
        self._full = self.window.shape
        self._native = hdu.dtype
        plain = hdu.kind == "image" and not hdu.pixels.is_scaled and not hdu.stamp.is_gzipped
        self._in_place = plain
        self._copies = copies

    @property
    def path(self) -> str:
        """The file."""
        return self._stamp.path

    def _source(self) -> Hashable:
        return self._stamp, self._index

    def _fetch(self, window: Window, dtype: np.dtype[Any]) -> Array:
        (array,) = self._fetch_beside([window], dtype)
        return array

    def _fetch_beside(self, windows: Sequence[Window], dtype: np.dtype[Any]) -> list[Array]:
        if not self._in_place:
            return [self._decode(window, dtype) for window in windows]
        found = [self._allocate(window.shape, dtype) for window in windows]
        outs = [
            (array.reshape(-1, array.shape[-1]), window.cols)
            for array, window in zip(found, windows, strict=True)
            if array.size
        ]
        if outs:
            self._read_rows(windows[0], outs)
        return found

    def _decode(self, window: Window, dtype: np.dtype[Any]) -> Array:
        if self._copies is None:
            image = decode_image(self._stamp, self._index).reshape(self._full)
            return np.array(image[window.index()], dtype, order="C")
        try:
            return _copy_reader(self._copies, self._stamp, self._index)._fetch(window, dtype)
        except FileError:  # another process has removed the copy
            _copy_reader.cache_clear()
            return _copy_reader(self._copies, self._stamp, self._index)._fetch(window, dtype)

    def _read_rows(self, window: Window, outs: Sequence[tuple[Array, range]]) -> None:
        """Read the rows of a window.

        ``outs`` are tables with all rows of the planes, and the columns of the image that each
        receives.
        """
        width = self._full[-1]
        row_bytes = width * self._native.itemsize
        (out, cols), *others = outs
        is_wide = any(len(columns) > width // 4 for _, columns in outs)
        scratch_bytes = byteorder.SCRATCH_BYTES if is_wide else _COLUMN_SCRATCH_BYTES
        at_once = max(1, scratch_bytes // row_bytes)
        straight = not others and out.dtype == self._native and len(cols) == width
        scratch_rows = 0 if straight else min(at_once, len(out))
        scratch = byteorder.empty((scratch_rows * width,), self._native)
        found = find_runs(window.leading, window.rows, self._full, row_bytes)
        runs = [(self._offset + position, size) for position, size in found]
        first = 0
        with open_file(self._stamp, [(start, start + size) for start, size in runs]) as file:
            for gathered in gather_runs(runs, at_once * row_bytes):
                stop = first + sum(size for _, size in gathered) // row_bytes
                rows = out[first:stop] if straight else scratch[: (stop - first) * width]
                _fill(rows.reshape(-1), file, gathered)
                if straight:
                    byteorder.to_native(rows.reshape(-1))
                else:
                    parts = [(table[first:stop], columns) for table, columns in outs]
                    _decode_columns(rows.reshape(-1, width), parts)
                first = stop


def _fill(buffer: Array, file: OpenFile, runs: Sequence[Run]) -> None:
    """Read runs of a file into a buffer, one after the other."""
    octets, filled = buffer.view(np.uint8).data, 0
    for position, size in runs:
        file.read_into(octets[filled : filled + size], position)
        filled += size


def _decode_columns(stored: Array, outs: Sequence[tuple[Array, range]]) -> None:
    """Convert columns of stored rows for each output; the rows change if there is only one."""
    for out, columns in outs:
        part = stored[:, columns.start : columns.stop]
        # Only the requested columns are decoded, in place if there is a single output.
        words = part.copy() if len(outs) > 1 else np.ascontiguousarray(part)
        byteorder.to_native(words.reshape(-1))
        out[:] = words


@lru_cache(maxsize=64)
def _copy_reader(copies: CopyProvider, stamp: Stamp, index: int) -> RowReader:
    """Return the reader of an image in its file's copy, with the window of the original."""
    return RowReader(read_layout(copies.plain_file(stamp.path)).hdus[index])


class ConstantReader(Reader):
    """Reads a constant, in place of an array that a file does not have.

    Parameters
    ----------
    shape : tuple of int
        (..., rows, columns).
    dtype : dtype-like
        Native type.
    value : scalar
        The constant.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike, value: Any) -> None:
        super().__init__(shape, dtype)
        self._value = value

    def _fetch(self, window: Window, dtype: np.dtype[Any]) -> Array:
        return np.full(window.shape, self._value, dtype)


class ArrayReader(Reader):
    """Reads an array in memory, which it never changes and which is pickled with it.

    Parameters
    ----------
    array : array-like
        An array with at least one axis.
    """

    def __init__(self, array: npt.ArrayLike) -> None:
        values = np.asarray(array)
        super().__init__(values.shape, values.dtype.newbyteorder("="))
        self._array = values.reshape(self.window.shape)

    def _fetch(self, window: Window, dtype: np.dtype[Any]) -> Array:
        return np.array(self._array[window.index()], dtype, order="C")


def warm_kernels() -> None:
    """Compile the kernels that reading uses, or load them from numba's cache."""
    byteorder.warm_kernels()
