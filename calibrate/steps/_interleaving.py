"""The layout of IRS2 exposures, in which reference pixels are interleaved with a frame's pixels.

IRS2 (improved reference sampling and subtraction) reads four reference pixels after every sixteen
pixels of each of the four amplifiers, and at the same time a fifth output, the reference output.
In the detector frame, each of the 2048 rows holds the 640 samples of the reference output and then
640 of each amplifier, of which 512 are pixels. Files of NIRSpec are transposed, and those of NRS2
also turned by 180 degrees, so that samples of one row of the detector lie in one file column.

Source: Moseley et al. 2010 (Proc. SPIE 7742, 77421B); Rauscher et al. 2017 (PASP 129, 105003); jwst
3.0.0 ``ipc.x_irs2`` and ``refpix.irs2_subtract_reference``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.host_copies import HostCopies
from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.models.datamodels import open_reference
from calbatch.models.fits.readers import Reader
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import Region
from calbatch.models.tiling.row_readers import SpreadRows

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]

PIXELS = 16
"""Pixels of an amplifier between two blocks of reference pixels."""
REFERENCES = 4
"""Reference pixels of a block."""
PERIOD = PIXELS + REFERENCES
BLOCKS = 512 // PIXELS
"""Blocks of reference pixels in the row of an amplifier."""
SECTION = BLOCKS * PERIOD
"""Samples of an amplifier or of the reference output in a row of the detector."""
SECTIONS = 5
ROWS = SECTIONS * SECTION
"""File rows of an IRS2 exposure."""
FRAME = (ROWS, DETECTOR)


def _split_section() -> tuple[Rows, Rows]:
    """Return the positions of pixels and of reference pixels in a section."""
    within = (np.arange(SECTION) - PIXELS // 2) % PERIOD
    return np.flatnonzero(within >= REFERENCES), np.flatnonzero(within < REFERENCES)


PIXEL_POSITIONS, REFERENCE_POSITIONS = _split_section()


@dataclass(frozen=True)
class InterleavedLayout:
    """The layout of one detector's files.

    Parameters
    ----------
    is_turned : bool
        True for NRS2: the last 640 file rows, instead of the first, hold the reference output.
    """

    is_turned: bool

    @property
    def output_rows(self) -> tuple[int, int]:
        """The file rows of the reference output."""
        return (ROWS - SECTION, ROWS) if self.is_turned else (0, SECTION)

    @property
    def amplifier_rows(self) -> tuple[int, int]:
        """The file rows of the amplifiers."""
        return (0, ROWS - SECTION) if self.is_turned else (SECTION, ROWS)

    @property
    def science_rows(self) -> Rows:
        """The file rows that remain when reference pixels have been removed."""
        starts = np.arange(*self.amplifier_rows, SECTION)
        return (starts[:, np.newaxis] + PIXEL_POSITIONS).ravel()

    @property
    def reference_rows(self) -> Rows:
        """The file rows of the reference output and of interleaved reference pixels."""
        return np.setdiff1d(np.arange(ROWS), self.science_rows)

    def science_within(self, region: Region) -> tuple[Rows, Region]:
        """Return the science rows of a region, counted from its start, and their region alone."""
        rows = self.science_rows
        first, last = np.searchsorted(rows, region.rows)
        return rows[first:last] - region.rows[0], Region((int(first), int(last)), region.cols)

    def spread(self, reader: Reader) -> Reader:
        """Return a reader that adds interleaved rows of zeros to those of a full frame."""
        return SpreadRows(reader, self.science_rows, ROWS)

    def grow_radius(self, radius: int) -> int:
        """Return the number of file rows that span ``radius`` neighbours of a science row."""
        return radius + REFERENCES * (radius // PIXELS + 1) if radius else 0


def is_interleaved(exposure: DataModel) -> bool:
    """Return whether a ramp still has the reference pixels that IRS2 interleaves."""
    shape = exposure.shape
    is_nirspec = exposure.meta.instrument.name == "NIRSPEC"
    return bool(shape) and is_nirspec and tuple(shape[-2:]) == FRAME


def layout_of(exposure: DataModel) -> InterleavedLayout:
    """Return the layout of an IRS2 exposure.

    Raises
    ------
    StepError
        If its detector or its order of pixels and reference pixels is unknown.
    """
    detector = str(exposure.meta.instrument.detector)
    if detector not in ("NRS1", "NRS2"):
        raise StepError(
            f"{exposure.path}: IRS2 readout needs DETECTOR = NRS1 or NRS2, but it is {detector}"
        )
    for path, wanted in (("nrs_normal", PIXELS), ("nrs_reference", REFERENCES)):
        found = header_number(exposure, f"meta.exposure.{path}")
        keyword = exposure.schema.keywords[f"meta.exposure.{path}"].keyword
        if found not in (None, wanted):
            raise StepError(
                f"{exposure.path}: IRS2 readout with {keyword} = {found} is not supported, only "
                f"{keyword} = {wanted}"
            )
    return InterleavedLayout(detector == "NRS2")


def open_full_frame(step: Step, exposure: DataModel, kind: str) -> Any:
    """Return a reference that covers an IRS2 exposure without its interleaved pixels.

    Raises
    ------
    SkipStep
        If the reference is N/A.
    ReferenceFileError
        If there is no such reference, or it has other rows or columns.
    """
    reference = open_reference(kind, step.get_reference_file(exposure, kind), HostCopies())
    if reference.frame != (DETECTOR, DETECTOR):
        rows, columns = reference.frame
        raise ReferenceFileError(
            f"{reference.path}: must have {DETECTOR} rows and columns for IRS2 readout, but has "
            f"{rows} rows and {columns} columns"
        )
    return reference
