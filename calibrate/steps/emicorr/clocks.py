"""Clocks of MIRI's readout, and the phases of a periodic signal when its pixels are read.

Times are in samples of 10 microseconds. Four amplifiers read four neighbouring columns at once.

Source: jwst 3.0.0 ``emicorr``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

SAMPLE_TIME = 10.0e-6
"""Seconds."""
AMPLIFIERS = 4
ROWS = 1024
"""Rows of the detector."""
SKIPPED_ROW = 7.0
"""Samples for skipping a row outside the subarray."""
AFTER_RESET = ("FASTR1", "SLOWR1")
"""Readout patterns in which a frame is reset between integrations."""


@dataclass(frozen=True)
class Clocks:
    """Numbers of samples that a row takes, and that a frame takes when it is reset."""

    row: float
    frame: float


SUBARRAY_CLOCKS = {
    "BRIGHTSKY": Clocks(162, 86528),
    "FULL_FAST": Clocks(271, 277504),
    "FULL_SLOW": Clocks(2333, 2388992),
    "MASK1065": Clocks(82, 23968),
    "MASK1140": Clocks(82, 23968),
    "MASK1550": Clocks(82, 23968),
    "MASKLYOT": Clocks(90, 32400),
    "SLITLESSPRISM": Clocks(28, 15904),
    "SUB128": Clocks(44, 11904),
    "SUB256": Clocks(96, 29952),
    "SUB64": Clocks(28, 8512),
}
"""The clocks of each subarray, for corrections without a reference."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The times at which the pixels of an exposure are read.

    Attributes
    ----------
    shape : tuple of int
        Integrations, groups, rows, columns.
    samples : int
        Samples for each pixel: 1 in fast patterns, 9 in slow ones.
    clocks : Clocks
        The clocks of the subarray.
    has_reset_frame : bool
        True if a frame is reset between integrations.
    """

    shape: tuple[int, int, int, int]
    samples: int
    clocks: Clocks
    has_reset_frame: bool

    @property
    def frame_samples(self) -> float:
        """Number of samples from one frame to the next."""
        return self.shape[2] * self.clocks.row + (ROWS - float(self.shape[2])) * SKIPPED_ROW

    def offsets(self, rows: tuple[int, int]) -> Float64:
        """Return the times since the first pixel of the frame in samples, (rows, columns / 4)."""
        along = np.arange(self.shape[3] // AMPLIFIERS) * self.samples
        return np.asarray(np.arange(*rows)[:, None] * float(self.clocks.row) + along, np.float64)

    def phases(self, rows: tuple[int, int], period: float) -> Float64:
        """Return the phases of the first group in periods, below 1, (rows, columns / 4)."""
        return np.asarray(self.offsets(rows) / period % 1)

    def group_shift(self, period: float) -> float:
        """Return the change of phase from one group to the next, in periods."""
        return self.frame_samples / period % 1

    def integration_shift(self, period: float) -> float:
        """Return the change of phase from one integration to the next, in periods."""
        reset = self.clocks.frame if self.has_reset_frame else 0
        return self.group_shift(period) * self.shape[1] + reset / period


def period_of(frequency: float) -> float:
    """Return the period in samples of a frequency in Hz."""
    return (1.0 / frequency) / SAMPLE_TIME
