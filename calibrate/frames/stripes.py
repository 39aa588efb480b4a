"""Multistripe and superstripe readout: an exposure's rows of the detector, and their places.

In multistripe readout, MSTR_RD1 reference rows are read first, then stripes of MSTR_RD2 rows
elsewhere on the detector. The reference rows may be read again before each stripe. In superstripe
readout, each integration of the file is one stripe, and SSTR_NST successive stripes make up one
integration of the result.

Up to refpix, steps see the stripes of a superstripe exposure one below the other in a single tall
frame, the *stack*. "Rows" of the detector are counted from 0 along its slow axis, in the order in
which they are read; in an image they may be columns, and may be in reverse order.

Source: jwst 3.0.0 ``lib.stripe_utils``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.numbers import header_number, required_number
from calbatch.models.datamodels import RampModel, SuperstripeRampModel
from calbatch.models.fits.readers import ConstantReader, Reader
from calbatch.models.model import DataModel
from calbatch.models.row_selection import rearrange_frame
from calbatch.models.tiling.patches import Patch, PatchedRows, Planes
from calbatch.models.tiling.plan import Region

log = logging.getLogger(__name__)

DETECTOR = 2048
"""Rows and columns of a near-infrared detector."""

KEYWORDS = (
    "multistripe_reads1", "multistripe_skips1", "multistripe_reads2", "multistripe_skips2",
    "repeat_stripe", "interleave_reads1", "superstripe_step", "num_superstripe",
)  # fmt: skip
"""The attributes of ``meta.subarray`` that describe stripes."""

PREFIX = "meta.subarray."

Bounds = tuple[int, int]
Model = TypeVar("Model", bound=DataModel)


class Read(NamedTuple):
    """Consecutive rows of the detector, and their place in the array of a stripe.

    Attributes
    ----------
    detector, array : int
        The first of the rows, in the detector and in the array, from 0.
    rows : int
        Number of rows.
    is_reference : bool
        True for the reference rows (MSTR_RD1).
    """

    detector: int
    array: int
    rows: int
    is_reference: bool


class Orientation(NamedTuple):
    """The axes of an image along which its detector is read: FASTAXIS and SLOWAXIS."""

    fast: int
    slow: int

    @property
    def is_transposed(self) -> bool:
        """True if the detector's rows are columns of the image."""
        return abs(self.slow) == 1

    def flip(self, start: int, count: int, size: int) -> Bounds:
        """Return the bounds, in an image of ``size`` rows, of rows counted as they are read."""
        return (start, start + count) if self.slow > 0 else (size - start - count, size - start)

    def region(self, slow: Bounds, fast: Bounds) -> Region:
        """Return the region of the image with bounds along its slow and its fast axis."""
        return Region(fast, slow) if self.is_transposed else Region(slow, fast)

    def slow_and_fast(self, rows_and_columns: tuple[int, int]) -> tuple[int, int]:
        """Return (rows, columns) as (slow, fast); and (slow, fast) as (rows, columns)."""
        rows, columns = rows_and_columns
        return (columns, rows) if self.is_transposed else (rows, columns)


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """The stripes of an exposure.

    Attributes
    ----------
    orientation : Orientation
        The axes of its images.
    shape : (int, int)
        Rows and columns of the file: those of one stripe or, without superstripes, of the exposure.
    fast_start : int
        First pixel of the image along the fast axis, from 0.
    reads : tuple of tuple of Read
        The rows that are read for each stripe of a superstripe exposure; one entry otherwise.
    is_super : bool
        True for a superstripe exposure, whose stripes have to be collated.
    """

    orientation: Orientation
    shape: tuple[int, int]
    fast_start: int
    reads: tuple[tuple[Read, ...], ...]
    is_super: bool

    @property
    def count(self) -> int:
        """The number of stripes in an integration."""
        return len(self.reads)

    @property
    def repeats(self) -> int:
        """The number of times that a stripe is read in one group."""
        return sum(not read.is_reference for read in self.reads[0])

    @property
    def stack(self) -> tuple[int, int]:
        """Rows and columns of the stack."""
        return self.count * self.shape[0], self.shape[1]

    def stripe_region(self, number: int) -> Region:
        """Return the region of a stripe in the stack."""
        rows, columns = self.shape
        return Region((number * rows, (number + 1) * rows), (0, columns))

    def array_region(self, read: Read) -> Region:
        """Return the region of the rows of a read in the image of their stripe."""
        slow, fast = self.orientation.slow_and_fast(self.shape)
        return self.orientation.region(
            self.orientation.flip(read.array, read.rows, slow), (0, fast)
        )

    def stack_region(self, number: int, read: Read) -> Region:
        """Return the region of the rows of a read of a stripe in the stack."""
        first = number * self.shape[0]
        (start, stop), cols = self.array_region(read)
        return Region((first + start, first + stop), cols)

    def reference_patches(self, fast_start: int) -> Iterator[Patch]:
        """Yield the patches that place the rows of a reference in the stack.

        Parameters
        ----------
        fast_start : int
            The first pixel of the reference along the fast axis, from 0.
        """
        _, size = self.orientation.slow_and_fast(self.shape)
        start = self.fast_start - fast_start
        for number, reads in enumerate(self.reads):
            # jwst copies stripes first and reference rows after them.
            for read in sorted(reads, key=lambda read: read.is_reference):
                slow = self.orientation.flip(read.detector, read.rows, DETECTOR)
                source = self.orientation.region(slow, (start, start + size))
                yield Patch(source, self.stack_region(number, read))


def stripes_of(exposure: DataModel) -> Stripes | None:
    """Return the stripes of an exposure; None if it has none.

    Raises
    ------
    StepError
        If a keyword is missing, or the keywords describe rows that the array or the detector does
        not have.
    """
    if "meta.subarray.num_superstripe" not in exposure.schema.keywords:
        return None
    first, number = (
        header_number(exposure, f"{PREFIX}{name}")
        for name in ("multistripe_reads1", "num_superstripe")
    )
    if first is None and not number and not header_number(exposure, f"{PREFIX}multistripe_reads2"):
        return None
    values = {n: int(required_number(exposure, f"{PREFIX}{n}")) for n in KEYWORDS}
    placed = {
        n: int(required_number(exposure, f"{PREFIX}{n}"))
        for n in ("xstart", "ystart", "xsize", "ysize", "fastaxis", "slowaxis")
    }
    orientation = Orientation(placed["fastaxis"], placed["slowaxis"])
    if {abs(orientation.fast), abs(orientation.slow)} != {1, 2}:
        raise StepError(
            f"{exposure.path}: FASTAXIS = {orientation.fast} and SLOWAXIS = {orientation.slow} "
            "must be two axes: 1 or -1, and 2 or -2"
        )
    slow_start, fast_start = orientation.slow_and_fast((placed["ystart"], placed["xstart"]))
    shape = placed["ysize"], placed["xsize"]
    size, _ = orientation.slow_and_fast(shape)
    _require_numbers(exposure, values, size)
    name = str(exposure.meta.subarray.name)
    start = _first_row(name, orientation, slow_start)
    reads = tuple(
        tuple(_list_reads(values, start, stripe, size)) for stripe in range(max(1, number or 0))
    )
    _require_rows(exposure, reads, size)
    if not number and exposure.shape is not None and exposure.frame != shape:
        found = exposure.frame
        raise StepError(
            f"{exposure.path}: its stripes have {shape[0]} rows and {shape[1]} columns (SUBSIZE2 "
            f"and SUBSIZE1), but the array has {found[0]} rows and {found[1]} columns"
        )
    return Stripes(
        orientation=orientation,
        shape=shape,
        fast_start=fast_start - 1,
        reads=reads,
        is_super=bool(number),
    )


def _require_numbers(exposure: DataModel, values: dict[str, int], size: int) -> None:
    """Reject numbers that no detector can have, before rows are listed by them."""
    count, step = values["num_superstripe"], values["superstripe_step"]
    if not 0 <= count <= DETECTOR:
        raise StepError(f"{exposure.path}: SSTR_NST must be 0 to {DETECTOR}, is {count}")
    if count > 1 and step <= 0:
        raise StepError(
            f"{exposure.path}: SSTR_STP must be positive, is {step}: the {count} stripes of "
            "SSTR_NST would have the same rows"
        )
    if not 0 < size <= DETECTOR:
        raise StepError(
            f"{exposure.path}: the array's size along its slow axis must be 1 to {DETECTOR}, is "
            f"{size}; check SUBSIZE1, SUBSIZE2 and SLOWAXIS"
        )


def _first_row(name: str, orientation: Orientation, start: int) -> int:
    """Return the first row that is read, by SUBSTRT of the slow axis.

    Where the slow axis runs backwards, SUBSTRT is the image's row that is read first. As in jwst,
    1 and any start of a DHS subarray mean the detector's first row: early files have wrong values.
    """
    if "DHS" in name.upper() or (orientation.slow < 0 and start == 1):
        return 0
    return DETECTOR - start if orientation.slow < 0 else start - 1


def _list_reads(values: dict[str, int], start: int, stripe: int, size: int) -> Iterator[Read]:
    """Yield the rows in the order in which the detector reads them, until the array is full."""
    first, skipped = values["multistripe_reads1"], values["multistripe_skips1"]
    rows, gap = values["multistripe_reads2"], values["multistripe_skips2"]
    advance = values["superstripe_step"] * stripe if values["num_superstripe"] else 0
    if values["num_superstripe"] and rows <= 0:
        rows = values["superstripe_step"]  # stripes without reference rows
    if rows <= 0 or first < 0:
        return
    position = start + max(first, 0) + skipped + advance
    filled = number = 0
    while filled < size:
        if first and (number == 0 or values["repeat_stripe"] > 0):
            yield Read(start, filled, first, True)
            filled += first
        yield Read(position, filled, rows, False)
        filled += rows
        number += 1
        if values["repeat_stripe"] <= 0:
            position += rows + gap
        elif values["interleave_reads1"]:
            # As in jwst, a later position of a superstripe does not count here.
            position = start + first + skipped + number * (rows + gap)


def _require_rows(exposure: DataModel, reads: tuple[tuple[Read, ...], ...], size: int) -> None:
    """Reject stripes that do not fill the array, or that lie outside the detector."""
    filled = sum(read.rows for read in reads[0])
    if filled != size:
        raise StepError(
            f"{exposure.path}: the stripes that MSTR_RD1, MSTR_RD2 and SSTR_STP describe have "
            f"{filled} rows, but the array has {size} along its slow axis"
        )
    for read in (read for stripe in reads for read in stripe):
        if read.detector < 0 or read.detector + read.rows > DETECTOR:
            raise StepError(
                f"{exposure.path}: a stripe would have rows {read.detector} to "
                f"{read.detector + read.rows - 1} of the detector, which has {DETECTOR}; check "
                "MSTR_SK1, MSTR_SK2, SSTR_STP and the subarray's start"
            )


# -- the stack ---------------------------------------------------------------------------------


def is_stack(exposure: DataModel, stripes: Stripes) -> bool:
    """Return whether an exposure is the stack of a superstripe readout."""
    return stripes.is_super and exposure.frame == stripes.stack


def stack_stripes(exposure: Model, stripes: Stripes) -> Model:
    """Return a superstripe exposure as a stack, without reading any pixels.

    Raises
    ------
    StepError
        If its array does not consist of whole integrations of such stripes.
    """
    if is_stack(exposure, stripes) and not isinstance(exposure, SuperstripeRampModel):
        return exposure
    integrations, shape = exposure.shape[0], exposure.frame
    if shape != stripes.shape or integrations % stripes.count:
        raise StepError(
            f"{exposure.path}: superstripe readout with SSTR_NST = {stripes.count} needs a "
            f"multiple of {stripes.count} integrations of {stripes.shape[0]} rows and "
            f"{stripes.shape[1]} columns, but the array has {integrations} of {shape[0]} rows and "
            f"{shape[1]} columns"
        )

    def place(name: str, reader: Reader) -> Reader | None:
        leading = () if name == "pixeldq" else (integrations // stripes.count, *reader.shape[1:-2])
        return None if name == "refout" else stack_reader(reader, stripes, leading)

    return rearrange_frame(exposure, stripes.stack, place)


def stack_reader(reader: Reader, stripes: Stripes, leading: tuple[int, ...] = ()) -> Reader:
    """Return an array of stripes as a stack.

    Parameters
    ----------
    reader : Reader
        The array. Its first axis runs over the stripes of the first integration, then over those of
        the next.
    stripes : Stripes
        The stripes.
    leading : tuple of int, optional
        The leading axes of the result; none by default, for an array with one plane per stripe.
    """
    inner = Region((0, stripes.shape[0]), (0, stripes.shape[1]))
    patches = [
        Patch(inner, stripes.stripe_region(number), taken=Planes(0, number, stripes.count))
        for number in range(stripes.count)
    ]
    return PatchedRows(reader, patches, (*leading, *stripes.stack))


def restore_file_layout(result: Any) -> Any:
    """Return a stack with one stripe per integration, as in files; other results unchanged."""
    if not isinstance(result, RampModel) or not result.meta.subarray.num_superstripe:
        return result
    stripes = stripes_of(result)
    if stripes is None or not is_stack(result, stripes):
        return result
    if not result.has("pixeldq"):
        result = result.copy()
        result.set_reader("pixeldq", ConstantReader(stripes.stack, np.dtype(np.uint32), 0))
    count, outer = stripes.count, Region((0, stripes.shape[0]), (0, stripes.shape[1]))
    patches = [
        Patch(stripes.stripe_region(number), outer, placed=Planes(0, number, count))
        for number in range(count)
    ]

    def place(name: str, reader: Reader) -> Reader:
        planes, *others = reader.shape[:-2] or (1,)
        return PatchedRows(reader, patches, (planes * count, *others, *stripes.shape))

    return SuperstripeRampModel(rearrange_frame(result, stripes.shape, place))


def cut_to_stripes(reference: Any, stripes: Stripes, fast_start: int) -> Any:
    """Return a reference cut to the rows of an exposure or, for superstripes, of its stack.

    As in jwst, inverse polynomials of a linearity reference are left out.

    Parameters
    ----------
    reference : DataModel
        A reference that covers all rows of the detector.
    stripes : Stripes
        The stripes of the exposure.
    fast_start : int
        First pixel of the reference along the fast axis, from 0.
    """
    patches = tuple(stripes.reference_patches(fast_start))

    def place(name: str, reader: Reader) -> Reader | None:
        if name == "inv_coeffs":
            return None
        return PatchedRows(reader, patches, (*reader.shape[:-2], *stripes.stack))

    return rearrange_frame(reference, stripes.stack, place)
