"""The position of an exposure on its detector.

Amplifiers, column parity, top and bottom and the sides are defined in the *detector frame*, in
which a row is read pixel by pixel along the fast axis. Files are in the *science frame*: FASTAXIS
and SLOWAXIS give the science axes, 1 (columns) or 2 (rows), of the detector's axes, negative if
they run backwards. A subarray keeps the coordinates of the full frame.

Source: jwst 3.0.0 ``lib.reffile_utils`` (the transforms) and ``refpix.reference_pixels``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.models.tiling.plan import Region

AMPLIFIER = 512
"""Number of detector columns read by each of the four amplifiers."""

Array = npt.NDArray[Any]
Range = tuple[int, int]


@dataclass(frozen=True)
class DetectorPlacement:
    """The position of an exposure on its detector.

    Parameters
    ----------
    shape : tuple of int
        File rows and columns.
    origin : tuple of int
        Row and column of the first pixel in the full frame, from 0, science frame.
    fastaxis, slowaxis : int
        As in the header: one of 1 and -1 with one of 2 and -2.
    """

    shape: tuple[int, int]
    origin: tuple[int, int]
    fastaxis: int
    slowaxis: int

    @property
    def transposed(self) -> bool:
        """True if the detector's columns are file rows."""
        return abs(self.fastaxis) == 2

    @property
    def slow(self) -> Range:
        """The detector rows that the exposure covers."""
        return self._span(1 if self.transposed else 0, self.slowaxis)

    @property
    def fast(self) -> Range:
        """The detector columns that the exposure covers."""
        return self._span(0 if self.transposed else 1, self.fastaxis)

    def _span(self, dimension: int, axis: int) -> Range:
        start, size = self.origin[dimension], self.shape[dimension]
        return (start, start + size) if axis > 0 else (DETECTOR - start - size, DETECTOR - start)

    def to_detector(self, array: Array) -> Array:
        """Return a view of (..., file rows, columns) as (..., detector rows, columns)."""
        if self.transposed:
            array = array.swapaxes(-2, -1)
        return array[..., :: np.sign(self.slowaxis), :: np.sign(self.fastaxis)]

    def region(self, slow: Range, fast: Range) -> Region:
        """Return the region of the exposure inside ranges of detector rows and columns."""
        along_slow = self._local_range(slow, self.slow, self.slowaxis)
        along_fast = self._local_range(fast, self.fast, self.fastaxis)
        return Region(*((along_fast, along_slow) if self.transposed else (along_slow, along_fast)))

    def columns(self, region: Region) -> Array:
        """Return the detector column of each pixel in a region, (rows, columns)."""
        numbers = np.arange(*self.fast)[:: np.sign(self.fastaxis)]
        numbers = numbers[:, None] if self.transposed else numbers[None, :]
        rows, cols = region.within(Region((0, self.shape[0]), (0, self.shape[1])))
        return np.broadcast_to(numbers, self.shape)[rows, cols]

    @staticmethod
    def _local_range(requested: Range, covered: Range, axis: int) -> Range:
        first, last = covered
        start = min(max(requested[0], first), last)
        stop = max(min(requested[1], last), start)
        return (start - first, stop - first) if axis > 0 else (last - stop, last - start)
