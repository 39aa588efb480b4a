"""The layout of a file to be written: the extent of each HDU, and writing its bytes there."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import ModelError
from calbatch.models.fits import byteorder
from calbatch.models.fits.cards import CARD_LENGTH, pad_length, replace_foreign_bytes
from calbatch.models.fits.checksum import ALL_ONES, WORD, add, checksum, encode
from calbatch.models.fits.hdu import Hdu
from calbatch.models.fits.output_hdus import (
    CopiedHdu,
    OutputHdu,
    OutputImage,
    OutputTable,
    Updates,
    fill_checksums,
    image_header,
    table_bytes,
    update_cards,
)
from calbatch.models.fits.row_runs import Run, find_runs
from calbatch.models.storage import files
from calbatch.models.storage.local_files import READ_AHEAD, begin_flush

Array = npt.NDArray[Any]

_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Receipt:
    """Rows of a field that were written, and their contribution to DATASUM."""

    field: str
    rows: tuple[int, int]
    datasum: int


@dataclass(frozen=True, kw_only=True)
class HduExtent(ABC):
    """An HDU's extent in the file.

    Attributes
    ----------
    extname : str
        Name of the HDU; "PRIMARY" for the first.
    offset : int
        Position of the header, in bytes.
    header : bytes
        Blocks of the header, without checksums.
    data_size : int
        Size of the data in bytes, without padding.
    """

    extname: str
    offset: int
    header: bytes
    data_size: int

    @property
    def data_offset(self) -> int:
        """Position of the data."""
        return self.offset + len(self.header)

    @property
    def end(self) -> int:
        """Position of the next HDU."""
        return self.data_offset + pad_length(self.data_size)

    @abstractmethod
    def complete_data(self, descriptor: int, receipts: Sequence[Receipt]) -> int:
        """Write the missing data, and return the DATASUM of all data."""

    def complete(self, descriptor: int, receipts: Sequence[Receipt], values: Updates) -> None:
        """Write the missing data, then the header with its checksums."""
        datasum = self.complete_data(descriptor, receipts)
        header = fill_checksums(update_cards(self.header, self.extname, values), datasum)
        write_all(descriptor, memoryview(header), self.offset)


@dataclass(frozen=True, kw_only=True)
class ImageExtent(HduExtent):
    """The extent of an image, written in bands of rows.

    Attributes
    ----------
    field : str
        Name of the field in receipts.
    dtype : numpy.dtype
        Native type.
    shape : tuple of int
        (..., rows, columns); empty without data.
    """

    field: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Number of rows of a plane."""
        return self.shape[-2] if self.shape else 0

    def write_rows(
        self, descriptor: int, rows: tuple[int, int], array: Array, *, to_disk: bool = False
    ) -> Receipt:
        """Write a band of rows of every plane; with ``to_disk``, begin to flush it at once."""
        self._require_fit(rows, array)
        if not array.size:
            return Receipt(self.field, rows, 0)
        width = self.shape[-1]
        row_bytes = width * self.dtype.itemsize
        planes = [range(n) for n in self.shape[:-2]]
        runs = find_runs(planes, range(*rows), self.shape, row_bytes)
        bands = array.reshape((len(runs), -1, width))
        at_once = max(1, byteorder.SCRATCH_BYTES // row_bytes)
        scratch = byteorder.empty((min(at_once * width, array.size),), self.dtype)
        total = 0
        for values, gathered in _split_bands(bands, runs, row_bytes, at_once):
            buffer = scratch[: values.size]
            buffer.reshape(values.shape)[:] = values
            total = add(total, self._write_runs(descriptor, buffer, gathered))
        if to_disk:
            for position, size in runs:
                first = self.data_offset + position
                begin_flush(descriptor, first, first + size, self.data_offset + READ_AHEAD)
        return Receipt(self.field, rows, total)

    def _require_fit(self, rows: tuple[int, int], array: Array) -> None:
        where = f"rows {rows[0]}:{rows[1]} of {self.field!r}"
        if not 0 <= rows[0] <= rows[1] <= self.rows:
            raise ModelError(f"{where} are not within 0:{self.rows}")
        shape = (*self.shape[:-2], rows[1] - rows[0], self.shape[-1])
        found = array.shape if array.ndim > 1 else (1, *array.shape)
        if found != shape:
            raise ModelError(f"{where} must have shape {shape}, not {array.shape}")
        if array.dtype != self.dtype and not (array.dtype == bool and self.dtype == np.uint8):
            raise ModelError(f"{where} must be {self.dtype}, not {array.dtype}")

    def _write_runs(self, descriptor: int, buffer: Array, runs: Sequence[Run]) -> int:
        """Write values to runs of the data unit, encoding them in place, and return their sum."""
        byteorder.to_fits(buffer)
        octets, offset = buffer.view(np.uint8), self.data_offset
        data, done = octets.data, 0
        for position, size in runs:
            write_all(descriptor, data[done : done + size], offset + position)
            done += size
        first, _ = runs[0]
        return checksum(octets, first)

    def complete_data(self, descriptor: int, receipts: Sequence[Receipt]) -> int:
        """Check that each row was written once, and return the sum."""
        del descriptor  # all rows have been written
        mine = sorted((r for r in receipts if r.field == self.field), key=lambda r: r.rows)
        reached = 0
        for start, stop in [*(r.rows for r in mine), (self.rows, self.rows)]:
            if start > reached:
                raise ModelError(f"rows {reached}:{start} of {self.field!r} were not written")
            if start < reached:
                raise ModelError(f"rows {start}:{reached} of {self.field!r} were written twice")
            reached = stop
        return add(*(r.datasum for r in mine))


def _split_bands(
    bands: Array, runs: Sequence[Run], row_bytes: int, most: int
) -> Iterator[tuple[Array, Sequence[Run]]]:
    """Yield bands of rows, as many as have at most ``most`` rows together, or parts of each."""
    height = bands.shape[1]
    # Checksums are sums of words, so that the sum of several bands requires whole words in each.
    count = most // height if row_bytes % WORD == 0 else 0
    if count > 1:
        for first in range(0, len(bands), count):
            yield bands[first : first + count], runs[first : first + count]
        return
    for band, (position, _) in zip(bands, runs, strict=True):
        for first in range(0, height, most):
            part = band[first : first + most]
            yield part, [(position + first * row_bytes, len(part) * row_bytes)]


@dataclass(frozen=True, kw_only=True)
class TableExtent(HduExtent):
    """The extent of a table, whose data are in memory."""

    data: bytes

    def complete_data(self, descriptor: int, receipts: Sequence[Receipt]) -> int:
        """Write the data, and return their sum."""
        del receipts
        write_all(descriptor, memoryview(self.data), self.data_offset)
        return checksum(self.data)


@dataclass(frozen=True, kw_only=True)
class CopyExtent(HduExtent):
    """The extent of an HDU that is copied with its checksums.

    Its header changes only if it is not ASCII, as FITS requires; see `_ascii_header`.
    """

    hdu: Hdu

    def complete_data(self, descriptor: int, receipts: Sequence[Receipt]) -> int:
        """Copy header and data in small pieces."""
        del receipts
        header, last, total = self.hdu.raw_header, self.hdu.end, 0
        place = self.offset + len(header) - self.hdu.data_offset
        with files.open_decompressed(self.hdu.stamp) as read_at:
            for at in range(self.hdu.data_offset, last, _COPY_BYTES):
                data = read_at(at, min(_COPY_BYTES, last - at))
                write_all(descriptor, memoryview(data), place + at)
                total = total if header.isascii() else add(total, checksum(data))
        header = header if header.isascii() else _ascii_header(header, total)
        write_all(descriptor, memoryview(header), self.offset)
        return 0

    def complete(self, descriptor: int, receipts: Sequence[Receipt], values: Updates) -> None:
        """Copy the HDU without changing its header."""
        if values:
            source = self.hdu.stamp.path
            raise ModelError(f"{self.extname} is copied from {source} and cannot be updated")
        self.complete_data(descriptor, receipts)


def _ascii_header(raw: bytes, datasum: int) -> bytes:
    """Return a header with question marks for non-ASCII bytes, and a new CHECKSUM."""
    header = replace_foreign_bytes(raw)
    for at in range(0, len(header), CARD_LENGTH):
        if header[at : at + 11] == b"CHECKSUM= '":
            start = at + 11
            header = header[:start] + b"0" * 16 + header[start + 16 :]
            value = encode(ALL_ONES - add(datasum, checksum(header)))
            return header[:start] + value.encode("ascii") + header[start + 16 :]
    return header


def write_all(descriptor: int, data: memoryview, position: int) -> None:
    """Write all bytes of a buffer at a position."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], position + done)


def lay_out(hdus: Iterable[OutputHdu]) -> Iterator[HduExtent]:
    """Yield the extents of the HDUs of a file.

    Raises
    ------
    ModelError
        If the first HDU is not an image, or FITS cannot hold an HDU.
    """
    offset = 0
    for index, hdu in enumerate(hdus):
        if index == 0 and not isinstance(hdu, OutputImage):
            raise ModelError("the first HDU of a file must be an OutputImage")
        extent = _make_extent(hdu, offset, primary=index == 0)
        yield extent
        offset = extent.end


def _make_extent(output: OutputHdu, offset: int, *, primary: bool) -> HduExtent:
    match output:
        case OutputImage():
            shape = output.shape or ()
            size = output.pixel_type.itemsize * math.prod(shape) if shape else 0
            name = "PRIMARY" if primary else output.extname.upper()
            frame = (1, *shape) if len(shape) == 1 else shape
            header = image_header(output, primary)
            return ImageExtent(
                extname=name,
                offset=offset,
                header=header,
                data_size=size,
                field=output.name,
                dtype=output.pixel_type,
                shape=frame,
            )
        case OutputTable():
            header, data = table_bytes(output)
            return TableExtent(
                extname=output.extname.upper(),
                offset=offset,
                header=header,
                data_size=len(data),
                data=data,
            )
        case CopiedHdu():
            return CopyExtent(
                extname=output.hdu.name,
                offset=offset,
                header=b"",
                data_size=output.size,
                hdu=output.hdu,
            )
