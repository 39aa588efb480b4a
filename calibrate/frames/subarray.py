"""Cut references to the subarrays of exposures.

Source: the rules of jwst 3.0.0's ``lib.reffile_utils`` (SUBSTRT and SUBSIZE of both files).
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.frames.stripes import DETECTOR, Stripes, cut_to_stripes, stripes_of
from calbatch.calibrate.numbers import header_number
from calbatch.models.model import DataModel

log = logging.getLogger(__name__)

_ANY = ("ANY", "N/A", "MULTIPLE")

_INTERLEAVED = (3200, 2048)
"""Rows and columns of references for IRS2 readout, whose SUBSIZE is that of the detector."""


class SubarrayPlacement(NamedTuple):
    """The position of a frame on the detector: 1-based start and size, in pixels."""

    xstart: int
    ystart: int
    xsize: int
    ysize: int

    def contains(self, other: SubarrayPlacement) -> bool:
        """Return whether another frame lies inside this one."""
        (x0, y0, xsize, ysize), (x, y, columns, rows) = self, other
        return 0 <= x - x0 <= xsize - columns and 0 <= y - y0 <= ysize - rows

    def describe(self) -> str:
        """Return the columns and rows of the frame."""
        return (
            f"columns {self.xstart} to {self.xstart + self.xsize - 1} and rows {self.ystart} to "
            f"{self.ystart + self.ysize - 1}"
        )


def cut_to_exposure(exposure: DataModel, reference: DataModel) -> DataModel:
    """Return a reference cut to an exposure's subarray, or unchanged if they already agree.

    Raises
    ------
    ReferenceFileError
        If the reference has no position on the detector or does not cover the exposure.
    """
    _compare_detectors(exposure, reference)
    if not reference.shape or exposure.shape is None or not _is_detector_frame(reference):
        return reference
    covered, required = _placement(reference, "reference"), _placement(exposure, "exposure")
    stripes = stripes_of(exposure)
    if covered == required and not (stripes and stripes.is_super):
        return reference
    if stripes is not None:
        return _cut_to_stripes(reference, covered, stripes)
    if not covered.contains(required):
        raise ReferenceFileError(
            f"{reference.path}: does not cover the exposure: it has {covered.describe()}, the "
            f"exposure {required.describe()}"
        )
    row, col = required.ystart - covered.ystart, required.xstart - covered.xstart
    return reference.section(row, required.ysize, col, required.xsize)


def _cut_to_stripes(
    reference: DataModel, covered: SubarrayPlacement, stripes: Stripes
) -> DataModel:
    """Return a reference on the rows that an exposure's stripes have."""
    slow_and_fast = stripes.orientation.slow_and_fast
    (slow, fast), (slow_size, fast_size) = (
        slow_and_fast((covered.ystart, covered.xstart)),
        slow_and_fast((covered.ysize, covered.xsize)),
    )
    _, wanted = slow_and_fast(stripes.shape)
    start = stripes.fast_start - (fast - 1)
    if (slow, slow_size) != (1, DETECTOR) or not 0 <= start <= fast_size - wanted:
        raise ReferenceFileError(
            f"{reference.path}: does not cover the exposure, whose stripes need all {DETECTOR} "
            f"rows of the detector and {wanted} pixels of each from {stripes.fast_start + 1} on: "
            f"it has {covered.describe()}"
        )
    return cut_to_stripes(reference, stripes, fast - 1)


def _compare_detectors(exposure: DataModel, reference: DataModel) -> None:
    """Warn if a reference, which must be an override, is for another instrument or detector."""
    for path, keyword in (("instrument.name", "INSTRUME"), ("instrument.detector", "DETECTOR")):
        expected, actual = (model[f"meta.{path}"] for model in (exposure, reference))
        if None not in (expected, actual) and actual != expected and actual not in _ANY:
            log.warning(
                "%s: its %s is %s, but the exposure's is %s",
                reference.path,
                keyword,
                actual,
                expected,
            )


def _is_detector_frame(reference: DataModel) -> bool:
    """Return whether the arrays are images of the detector, unlike e.g. an IPC kernel."""
    return min(reference.frame) > 16 or reference.meta.subarray.xsize == reference.frame[1]


def _placement(model: DataModel, role: str) -> SubarrayPlacement:
    rows, columns = model.frame
    values = [
        header_number(model, f"meta.subarray.{n}") for n in ("xstart", "ystart", "xsize", "ysize")
    ]
    xstart, ystart, *sizes = values
    if None in values:
        full = (1024, 1032) if model.meta.instrument.name == "MIRI" else (2048, 2048)
        if role == "exposure" or (rows, columns) != full:
            raise ReferenceFileError(
                f"{model.path}: the {role}'s position on the detector is unknown: its {columns} x "
                f"{rows} pixels need SUBSTRT1, SUBSTRT2, SUBSIZE1 and SUBSIZE2"
            )
        return SubarrayPlacement(1, 1, columns, rows)
    if xstart < 1 or ystart < 1:
        raise ReferenceFileError(
            f"{model.path}: SUBSTRT1 = {xstart}, SUBSTRT2 = {ystart}: must be at least 1"
        )
    is_interleaved = (rows, columns) == _INTERLEAVED and sizes == [2048, 2048]
    if (
        role == "reference" and sizes != [columns, rows] and not is_interleaved
    ):  # opening an exposure warns about its own
        log.warning(
            "%s: SUBSIZE1 x SUBSIZE2 = %s x %s, but its arrays have %s x %s pixels: using those",
            model.path, *sizes, columns, rows,
        )  # fmt: skip
    return SubarrayPlacement(xstart, ystart, columns, rows)
