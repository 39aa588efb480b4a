"""Stripes of multistripe and superstripe readout, cut out of a simulated frame.

Rows of the detector are counted along its slow axis, in the order in which it reads them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.instruments import Detector

DETECTOR_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class StripePattern:
    """The rows that a detector reads in turn.

    Attributes
    ----------
    size : int
        Rows of an array, including reference rows.
    start : int
        The first row that is read, from 0.
    reads1, skips1 : int
        Reference rows at the start; rows skipped after them.
    reads2, skips2 : int
        Rows of each stripe, 0 for as many as ``step``; rows skipped between stripes.
    repeat : bool
        True if the reference rows are read again before each further stripe.
    interleave : bool
        With ``repeat``, True if each further stripe lies beyond the one before it, False if it has
        the same rows.
    step, positions : int
        Rows by which each integration of a superstripe exposure advances, and the number of these
        integrations; 0 in multistripe readout.
    whole : bool
        True if the calibrated frame of a superstripe exposure has all rows of the detector.
    """

    size: int
    start: int = 0
    reads1: int = 0
    skips1: int = 0
    reads2: int = 0
    skips2: int = 0
    repeat: bool = True
    interleave: bool = True
    step: int = 0
    positions: int = 0
    whole: bool = False

    def __post_init__(self) -> None:
        rows = self.reads2 or self.step
        if self.positions and self.size != self.reads1 + rows:
            raise ValueError("superstripes with repeated reads are not simulated")
        if self.positions and self.start + self.reads1 + self.skips1 + self.positions * rows > (
            DETECTOR_ROWS
        ):
            raise ValueError(f"stripes must lie within {DETECTOR_ROWS} rows of the detector")

    def rows(self) -> NDArray[np.intp]:
        """Return the detector's row of each row of the array, (positions, size)."""
        first = np.arange(self.start, self.start + self.reads1)
        count = self.reads2 or self.step
        begin = self.start + self.reads1 + self.skips1
        found = []
        for position in range(max(1, self.positions)):
            lines = [first, np.arange(count) + begin + position * self.step]
            stripe = 1
            while sum(map(len, lines)) < self.size:
                moved = stripe * (count + self.skips2) * (self.interleave or not self.repeat)
                lines += [first] * self.repeat + [np.arange(count) + begin + moved]
                stripe += 1
            found.append(np.concatenate(lines))
        return np.array(found)

    def calibrated_rows(self) -> NDArray[np.intp]:
        """Return the rows of the detector that a calibrated frame has."""
        if not self.positions:
            return self.rows()[0]
        if self.whole:
            return np.arange(DETECTOR_ROWS)
        science = self.rows()[:, self.reads1 :]
        return np.arange(science.min(), science.max() + 1)

    def cards(self) -> list[tuple[str, int, str]]:
        """Return the header cards of the pattern."""
        return [
            ("MSTR_RD1", self.reads1, "Multistripe: rows read at SUBSTRT1"),
            ("MSTR_SK1", self.skips1, "Multistripe: rows skipped after MSTR_RD1"),
            ("MSTR_RD2", self.reads2, "Multistripe: rows of each further stripe"),
            ("MSTR_SK2", self.skips2, "Multistripe: rows skipped between stripes"),
            ("MSTR_RPT", int(self.repeat), "Multistripe: MSTR_RD2 rows read repeatedly"),
            ("MSTR_ILV", int(self.interleave), "Multistripe: MSTR_RD1 rows between stripes"),
            ("SSTR_STP", self.step, "Superstripe: rows advanced per integration"),
            ("SSTR_NST", self.positions, "Superstripe: positions in all"),
        ]


def take_rows(array: NDArray[Any], rows: NDArray[np.intp], detector: Detector) -> NDArray[Any]:
    """Return some rows of the detector, in the order of the image.

    Parameters
    ----------
    array : ndarray, (..., rows, columns)
        All rows of the detector.
    rows : ndarray of int
        The detector's rows, in the order in which they are read.
    detector : Detector
        Its slow axis determines along which axis of the image its rows are, and in which direction.
    """
    places = rows if detector.slowaxis > 0 else DETECTOR_ROWS - 1 - rows[::-1]
    return np.take(array, places, axis=-1 if abs(detector.slowaxis) == 1 else -2)


def cut_stripes(data: NDArray[Any], pattern: StripePattern, detector: Detector) -> NDArray[Any]:
    """Return the stripes of each integration in turn.

    Parameters
    ----------
    data : ndarray, (integrations, ..., rows, columns)
        All rows of the detector.
    """
    stripes = [take_rows(data, rows, detector) for rows in pattern.rows()]
    return np.stack(stripes, axis=1).reshape(-1, *stripes[0].shape[1:])
