"""Collate the superstripes of an exposure: put them at their places on the detector.

Source: jwst 3.0.0 ``lib.stripe_utils``, ``collate_superstripes`` and the functions that it calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.frames.stripes import DETECTOR, KEYWORDS, Read, Stripes
from calbatch.calibrate.numbers import header_number, required_number
from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps._ramps import has_zero_frame
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import REFERENCE_PIXEL
from calbatch.models.fits.readers import ConstantReader, Reader
from calbatch.models.row_selection import rearrange_frame
from calbatch.models.tiling.patches import Patch, PatchedRows, Planes

Array = npt.NDArray[Any]

WHOLE_DETECTOR = ("SUB17STRIPE_SOSS", "SUB60STRIPE_SOSS", "SUB204STRIPE_SOSS", "SUB680STRIPE_SOSS")
"""Subarrays whose frame has all rows of the detector, even those that are never read."""

FILL = {"data": np.nan, "groupdq": 0, "pixeldq": REFERENCE_PIXEL, "zeroframe": np.nan}
"""The values of pixels that are never read."""

TIMES = ("MJD_UTC", "BJD_TDB")

MOST_TIMES = 1_000_000
"""Maximum number of reads whose times are listed, as a table of the product."""

SAMPLE_TIME = 1e-5  # s
ROW_OVERHEAD = 12  # samples


class CollatedFrame(NamedTuple):
    """The position and size of the collated frame.

    Attributes
    ----------
    first_row, rows : int
        The first row of the detector, from 0, and the number of rows.
    start : int
        SUBSTRT of the slow axis.
    shape : (int, int)
        Rows and columns of the image.
    """

    first_row: int
    rows: int
    start: int
    shape: tuple[int, int]


def collated_frame(stripes: Stripes, subarray: str) -> CollatedFrame:
    """Return the frame that spans all stripes; for some subarrays, all rows of the detector."""
    slow_and_fast = stripes.orientation.slow_and_fast
    first, stop = 0, DETECTOR
    if subarray not in WHOLE_DETECTOR:
        reads = [read for reads in stripes.reads for read in reads if not read.is_reference]
        first = min(read.detector for read in reads)
        stop = max(read.detector + read.rows for read in reads)
    start, _ = stripes.orientation.flip(first, stop - first, DETECTOR)
    _, fast = slow_and_fast(stripes.shape)
    rows, columns = slow_and_fast((stop - first, fast))
    return CollatedFrame(first, stop - first, start + 1, (rows, columns))


def collate_stripes(ramp: RampModel, stripes: Stripes, frame: CollatedFrame) -> RampModel:
    """Return a ramp with the stripes of a stack at their places on the detector.

    No pixels are read yet.

    Each repeated read of a stripe becomes a group. Pixels that are never read are NaN and
    REFERENCE_PIXEL. Integrations are renumbered, their times combined, and the keywords of stripes
    removed.

    Raises
    ------
    StepError
        If INT_TIMES does not have the times of all stripes.
    """
    ramp = ramp.copy()
    for name, dtype, shape in (
        ("pixeldq", np.uint32, ramp.frame), ("groupdq", np.uint8, ramp.shape),
    ):  # fmt: skip
        if not ramp.has(name):
            ramp.set_reader(name, ConstantReader(shape, np.dtype(dtype), 0))
    zero, repeats = has_zero_frame(ramp), stripes.repeats

    def place(name: str, reader: Reader) -> Reader | None:
        if name not in FILL or (name == "zeroframe" and not zero):
            return None
        leading = reader.shape[:-2]
        grouped = len(leading) == 2 and repeats > 1
        if grouped:
            leading = (leading[0], leading[1] * repeats)
        patches = list(_collating_patches(stripes, frame, grouped))
        return PatchedRows(reader, patches, (*leading, *frame.shape), FILL[name])

    collated = rearrange_frame(ramp, frame.shape, place)
    collated.group = None  # a row for each group of each stripe
    _set_description(collated, ramp, stripes, frame)
    return collated


def _collating_patches(stripes: Stripes, frame: CollatedFrame, grouped: bool) -> Iterator[Patch]:
    """Yield the patches in the order in which jwst assigns them."""
    _, fast = stripes.orientation.slow_and_fast(stripes.shape)
    for repeat, number, read in _science_reads(stripes):
        slow = stripes.orientation.flip(read.detector - frame.first_row, read.rows, frame.rows)
        placed = Planes(1, repeat, stripes.repeats) if grouped else None
        target = stripes.orientation.region(slow, (0, fast))
        block = stripes.stripe_region(number) if stripes.repeats > 1 else None
        yield Patch(stripes.stack_region(number, read), target, placed=placed, block=block)


def _science_reads(stripes: Stripes) -> Iterator[tuple[int, int, Read]]:
    """Yield the repetition and the stripe of each read, except reads of reference rows."""
    for repeat in range(stripes.repeats):
        for number, reads in enumerate(stripes.reads):
            yield repeat, number, [read for read in reads if not read.is_reference][repeat]


def stripe_of_row(stripes: Stripes, frame: CollatedFrame) -> Array:
    """Return the number of the stripe that reads each row, (repeats, rows); -1 for none."""
    found = np.full((stripes.repeats, frame.rows), -1, np.intp)
    for repeat, number, read in _science_reads(stripes):
        slow = stripes.orientation.flip(read.detector - frame.first_row, read.rows, frame.rows)
        found[repeat, slice(*slow)] = number
    return found


# -- metadata ----------------------------------------------------------------------------------


def _set_description(
    collated: RampModel, stack: RampModel, stripes: Stripes, frame: CollatedFrame
) -> None:
    """Set the metadata of a collated frame: numbers, times and position."""
    exposure, count = collated.meta.exposure, stripes.count
    first = header_number(stack, "meta.exposure.integration_start") or 1
    last = header_number(stack, "meta.exposure.integration_end") or exposure.nints
    exposure.integration_start = _divide_up(first, count)
    exposure.integration_end = None if last is None else _divide_up(last, count)
    exposure.nints = None if exposure.nints is None else _divide_up(exposure.nints, count)
    exposure.ngroups = collated.shape[1]
    if stripes.repeats > 1:
        exposure.read_times = read_times_of_stripes(stack, stripes)
    for name in KEYWORDS:
        collated[f"meta.subarray.{name}"] = None
    place = collated.meta.subarray
    place.ysize, place.xsize = frame.shape
    if stripes.orientation.is_transposed:
        place.xstart = frame.start
    else:
        place.ystart = frame.start
    times = stack.int_times
    if times is not None and len(times):
        if len(times) % count:
            raise StepError(
                f"{stack.path}: INT_TIMES needs a multiple of SSTR_NST = {count} rows, but has "
                f"{len(times)}"
            )
        collated.int_times = combine_times(times, count, _divide_up(first, count))
        collated.int_times_stripe = number_times(times, count, _divide_up(first, count))


def _divide_up(number: int, count: int) -> int:
    return -(-number // count)


def combine_times(times: Array, count: int, first: int) -> Array:
    """Return the times of integrations from those of their stripes.

    Parameters
    ----------
    times : ndarray
        The table INT_TIMES, with one row per stripe.
    count : int
        Stripes in an integration.
    first : int
        Number of the first integration.
    """
    result = times[::count].copy()
    result["integration_number"] = first + np.arange(len(result))
    for scale in TIMES:
        start, end = result[f"int_start_{scale}"], times[f"int_end_{scale}"][count - 1 :: count]
        result[f"int_end_{scale}"] = end
        result[f"int_mid_{scale}"] = start + (end - start) / 2
    return result


def number_times(times: Array, count: int, first: int) -> Array:
    """Return the table INT_TIMES_STRIPE: times with the numbers of integration and stripe.

    Parameters
    ----------
    times, count, first
        As for `combine_times`.
    """
    kinds = [(name, times.dtype[name]) for name in times.dtype.names or ()]
    result = np.empty(len(times), [kinds[0], ("stripe_number", np.int32), *kinds[1:]])
    for name, _ in kinds:
        result[name] = times[name]
    result["integration_number"] = first + np.arange(len(times)) // count
    result["stripe_number"] = np.arange(len(times)) % count + 1
    return result


def read_times_of_stripes(exposure: RampModel, stripes: Stripes) -> list[list[float]]:
    """Return the times (s) of the frames averaged in each group of a collated ramp.

    A frame begins with a reset of the stripe alone. The first read of the stripe follows the reset,
    and its repetitions follow without a pause.

    Raises
    ------
    StepError
        If the header lacks NFRAMES or GROUPGAP, or there are more than ``MOST_TIMES`` times.
    """
    slow, fast = stripes.orientation.slow_and_fast(stripes.shape)
    outputs = int(header_number(exposure, "meta.exposure.noutputs") or 1)
    frames = int(required_number(exposure, "meta.exposure.nframes", positive=True))
    gap = int(required_number(exposure, "meta.exposure.groupgap"))
    if exposure.shape[1] * stripes.repeats * frames > MOST_TIMES:
        raise StepError(
            f"{exposure.path}: {exposure.shape[1]} groups of NFRAMES = {frames} frames with "
            f"{stripes.repeats} reads of each stripe are more than {MOST_TIMES} reads"
        )
    extra_rows = 1 if outputs == 4 else 2 if outputs == 1 and fast >= 9 else 3
    extra_samples = 1 if outputs == 4 else 0
    row = fast / outputs + ROW_OVERHEAD
    rows = 0
    for read in stripes.reads[0]:
        rows += read.rows
        if not read.is_reference:
            break
    frame_time = (row * (slow + extra_rows) + extra_samples) * SAMPLE_TIME
    reset_time = (row * (rows + extra_rows) + extra_samples) * SAMPLE_TIME
    intervals = [reset_time, *[row * rows * SAMPLE_TIME] * (slow // rows - 1)]
    found, now = [], 0.0
    for _ in range(exposure.shape[1]):
        for interval in intervals:
            found.append([now + interval + frame * frame_time for frame in range(frames)])
            now += interval
        now += frame_time * (frames - 1 + gap)
    return found
