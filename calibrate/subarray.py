"""Cut references to the subarrays of exposures.

Source: the rules of jwst 3.0.0's ``lib.reffile_utils`` (SUBSTRT and SUBSIZE of both files).
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.numbers import header_number
from calbatch.models.model import DataModel

log = logging.getLogger(__name__)

_ANY = ("ANY", "N/A", "MULTIPLE")


class SubarrayPlacement(NamedTuple):
    """The position of a frame on the detector: 1-based start and size, in pixels."""

    xstart: int
    ystart: int
    xsize: int
    ysize: int


def cut_to_exposure(exposure: DataModel, reference: DataModel) -> DataModel:
    """Return a reference cut to an exposure's subarray, or unchanged if they already agree.

    Raises
    ------
    ReferenceFileError
        If the reference has no position on the detector or does not cover the exposure.
    """
    _compare_detectors(exposure, reference)
    if reference.shape is None or exposure.shape is None or not _is_detector_frame(reference):
        return reference
    place = _placement(reference, "reference")
    wanted = _placement(exposure, "exposure")
    if place == wanted:
        return reference
    col, row = wanted.xstart - place.xstart, wanted.ystart - place.ystart
    fits = (
        col >= 0
        and row >= 0
        and col + wanted.xsize <= place.xsize
        and row + wanted.ysize <= place.ysize
    )
    if not fits:
        raise ReferenceFileError(
            f"{reference.path}: does not cover the exposure: it has columns {place.xstart} to "
            f"{place.xstart + place.xsize - 1} and rows {place.ystart} to "
            f"{place.ystart + place.ysize - 1}, the exposure columns {wanted.xstart} to "
            f"{wanted.xstart + wanted.xsize - 1} and rows {wanted.ystart} to "
            f"{wanted.ystart + wanted.ysize - 1}"
        )
    return reference.section(row, wanted.ysize, col, wanted.xsize)


def _compare_detectors(exposure: DataModel, reference: DataModel) -> None:
    """Warn if a reference, which must be an override, is for another instrument or detector."""
    for path, keyword in (("instrument.name", "INSTRUME"), ("instrument.detector", "DETECTOR")):
        wanted, found = (model[f"meta.{path}"] for model in (exposure, reference))
        if None not in (wanted, found) and found != wanted and found not in _ANY:
            log.warning(
                "%s: its %s is %s, but the exposure's is %s", reference.path, keyword, found, wanted
            )


def _is_detector_frame(reference: DataModel) -> bool:
    """Return whether the arrays are images of the detector, unlike e.g. an IPC kernel."""
    return min(reference.frame) > 16 or reference.meta.subarray.xsize == reference.frame[1]


def _placement(model: DataModel, role: str) -> SubarrayPlacement:
    rows, columns = model.frame
    known = [
        header_number(model, f"meta.subarray.{n}") for n in ("xstart", "ystart", "xsize", "ysize")
    ]
    xstart, ystart, *sizes = known
    if None in known:
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
    if role == "reference" and sizes != [columns, rows]:  # opening an exposure warns about its own
        log.warning(
            "%s: SUBSIZE1 x SUBSIZE2 = %s x %s, but its arrays have %s x %s pixels: using those",
            model.path, *sizes, columns, rows,
        )  # fmt: skip
    return SubarrayPlacement(xstart, ystart, columns, rows)
