"""Frame, orientation, amplifiers and timing of an exposure's readout.

Images are in the science frame (file rows and columns). A detector is read along its fast axis by
one or four amplifiers at a time, line by line along its slow axis; FASTAXIS and SLOWAXIS are the
image axes and directions of these (jwst 3.0.0: ``science_detector_frame_transform``).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.instruments import IRS2, READPATTS, SUBARRAYS, Detector
from calbatch.calibrate.simulate.spec import SimulationSpec
from calbatch.calibrate.simulate.stripe_pattern import DETECTOR_ROWS, StripePattern

SAMPLE_TIME = 1.0e-5  # s between pixels on one amplifier

# IRS2: each of the five sections of 640 file rows, the reference output and four amplifiers, has
# blocks of four reference pixels between sixteen pixels; all samples of the reference output are
# references (Rauscher et al. 2017, PASP 129, 105003).
ROWS, SECTION = 3200, 640
PERIOD, FIRST, BLOCK = 20, 8, 4
NORMAL = PERIOD - BLOCK
INTERLEAVED_LINE = 712  # samples in which a line is read
EDGE = 4  # width of the frame of reference pixels


@dataclass(frozen=True)
class Frame:
    """A rectangle of the detector, in rows and columns of the full frame, counted from 0."""

    row: int
    nrows: int
    col: int
    ncols: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.nrows, self.ncols

    @property
    def rows(self) -> NDArray[np.intp]:
        """Row numbers in the full frame."""
        return np.arange(self.row, self.row + self.nrows)

    @property
    def cols(self) -> NDArray[np.intp]:
        """Column numbers in the full frame."""
        return np.arange(self.col, self.col + self.ncols)

    def within(self, other: "Frame") -> tuple[slice, slice]:
        """Return the slices that cut this frame out of an array covering ``other``."""
        row, col = self.row - other.row, self.col - other.col
        return slice(row, row + self.nrows), slice(col, col + self.ncols)


@dataclass(frozen=True, kw_only=True)
class ReadoutPlan:
    """The readout of one exposure: frame, amplifiers, groups and times (seconds)."""

    detector: Detector
    frame: Frame
    subarray: str
    noutputs: int
    nints: int
    ngroups: int
    readpatt: str
    nframes: int
    groupgap: int
    frame_time: float
    zero_frame: bool = False
    stripes: StripePattern | None = None

    @property
    def is_interleaved(self) -> bool:
        """True if reference pixels are interleaved with the frame's pixels (IRS2)."""
        return self.readpatt in IRS2

    def as_stored(self) -> "ReadoutPlan":
        """Return the readout as the file has it, with the frame of one stripe.

        Where the slow axis runs backwards, the frame begins with the row that is read first, as in
        headers, and so may seem to lie beyond the detector.
        """
        if self.stripes is None:
            return self
        nints = self.nints * max(1, self.stripes.positions)
        return replace(self, nints=nints, frame=_stripe_frame(self, self.stripes))

    def as_calibrated(self) -> "ReadoutPlan":
        """Return the readout of the calibrated frame, in which stripes are at their places."""
        if self.stripes is None or not self.stripes.positions:
            return self.as_stored()
        rows = self.stripes.calibrated_rows()
        start = rows[0] if self.detector.slowaxis > 0 else DETECTOR_ROWS - 1 - rows[-1]
        return replace(self, frame=_place_along_slow(self, int(start), len(rows)))

    @property
    def group_time(self) -> float:
        """Seconds from one group to the next."""
        return (self.nframes + self.groupgap) * self.frame_time

    @property
    def total_frames(self) -> int:
        """Number of frames from the reset to the last read of an integration."""
        return self.ngroups * self.nframes + (self.ngroups - 1) * self.groupgap

    @property
    def full_frame(self) -> Frame:
        """The whole detector."""
        return Frame(0, self.detector.shape[0], 0, self.detector.shape[1])

    @property
    def is_full(self) -> bool:
        """True if the whole detector is read."""
        return self.frame == self.full_frame

    def group_of(self, frame_number: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the first group that includes charge which arrived before a frame's read.

        It is ``ngroups`` for charge that arrived after the last read.
        """
        group, within = np.divmod(frame_number, self.nframes + self.groupgap)
        return group + (within >= self.nframes)


def plan_readout(spec: SimulationSpec) -> ReadoutPlan:
    """Return the readout that a spec describes.

    Raises
    ------
    ValueError
        If the subarray does not fit on the detector, or the pattern reads full frames only.
    """
    detector = spec.device
    readpatt = spec.readpatt or _matching_pattern(spec)
    nframes, groupgap = READPATTS[detector.instrument][readpatt]
    nframes = nframes if spec.nframes is None else spec.nframes
    groupgap = groupgap if spec.groupgap is None else spec.groupgap
    frame = _find_frame(spec)
    full = frame.shape == detector.shape
    if readpatt in IRS2 and not full:
        raise ValueError(f"{readpatt} reads the full frame, not a subarray")
    noutputs = spec.noutputs or (4 if full or _spans_amplifiers(detector, frame) else 1)
    noutputs = 5 if readpatt in IRS2 else noutputs
    plan = ReadoutPlan(
        detector=detector,
        frame=frame,
        subarray=spec.subarray,
        noutputs=noutputs,
        nints=spec.nints,
        ngroups=spec.ngroups,
        readpatt=readpatt,
        nframes=nframes,
        groupgap=groupgap,
        frame_time=_frame_time(detector, frame, noutputs),
        zero_frame=spec.zero_frame,
        stripes=spec.stripes,
    )
    return replace(plan, frame_time=_frame_time(detector, plan.as_stored().frame, noutputs))


def _stripe_frame(readout: ReadoutPlan, stripes: StripePattern) -> Frame:
    """Return the frame of one stripe, from the row that is read first."""
    forwards = readout.detector.slowaxis > 0
    start = stripes.start if forwards else DETECTOR_ROWS - 1 - stripes.start
    return _place_along_slow(readout, start, stripes.size)


def _place_along_slow(readout: ReadoutPlan, start: int, size: int) -> Frame:
    """Return the frame of a readout with other bounds along the slow axis."""
    if abs(readout.detector.slowaxis) == 1:
        return replace(readout.frame, col=start, ncols=size)
    return replace(readout.frame, row=start, nrows=size)


def _matching_pattern(spec: SimulationSpec) -> str:
    """Return the pattern with the spec's frames and gap, otherwise the detector's default."""
    usual = spec.device.family.readpatt
    if spec.nframes is None and spec.groupgap is None:
        return usual
    readout = (spec.nframes or 1, spec.groupgap or 0)
    patterns = READPATTS[spec.device.instrument]
    return next((name for name, frames in patterns.items() if frames == readout), usual)


def _find_frame(spec: SimulationSpec) -> Frame:
    """Return the frame of a spec's subarray, checked against the detector."""
    detector = spec.device
    rows, cols = spec.shape or detector.shape
    row, col = 1, 1
    if spec.subarray in SUBARRAYS[detector.instrument]:
        nrows, ncols, row, col = SUBARRAYS[detector.instrument][spec.subarray]
        rows, cols = spec.shape or (nrows, ncols)
    row, col = spec.corner or (row, col)
    if (
        row < 1
        or col < 1
        or row + rows - 1 > detector.shape[0]
        or col + cols - 1 > detector.shape[1]
    ):
        raise ValueError(
            f"{rows} rows x {cols} columns from row {row}, column {col} do not fit on "
            f"{detector.name}, which has {detector.shape[0]} x {detector.shape[1]}"
        )
    return Frame(row - 1, rows, col - 1, cols)


def _spans_amplifiers(detector: Detector, frame: Frame) -> bool:
    """Return whether four amplifiers read a subarray: always for MIRI, full width for NIRCam."""
    if detector.instrument == "MIRI":
        return True
    return detector.instrument == "NIRCAM" and frame.ncols == detector.shape[1]


def _frame_time(detector: Detector, frame: Frame, noutputs: int) -> float:
    """Return the time to read one frame in seconds, overheads included."""
    if detector.instrument == "MIRI":
        return round((frame.ncols / 4 + 13) * frame.nrows * SAMPLE_TIME, 6)
    if noutputs == 5:
        return round((INTERLEAVED_LINE * frame.nrows + 714) * SAMPLE_TIME, 6)
    slow, fast = frame.shape if abs(detector.fastaxis) == 1 else frame.shape[::-1]
    return round((fast / noutputs + 12) * (slow + 1) * SAMPLE_TIME, 6)


def fast_index(detector: Detector, frame: Frame) -> NDArray[np.intp]:
    """Return the position of each image column or row along the detector's fast axis."""
    along = frame.cols if abs(detector.fastaxis) == 1 else frame.rows
    length = detector.shape[1] if abs(detector.fastaxis) == 1 else detector.shape[0]
    return along if detector.fastaxis > 0 else length - 1 - along


def slow_index(detector: Detector, frame: Frame) -> NDArray[np.intp]:
    """Return the position of each image row or column along the detector's slow axis."""
    along = frame.cols if abs(detector.slowaxis) == 1 else frame.rows
    length = detector.shape[1] if abs(detector.slowaxis) == 1 else detector.shape[0]
    return along if detector.slowaxis > 0 else length - 1 - along


def reference_pixels(detector: Detector, frame: Frame) -> NDArray[np.bool_]:
    """Return the mask of the frame's reference pixels, shape (rows, cols).

    Near-infrared detectors have four rows and columns along all edges, MIRI's imager four columns
    at the left and right edges.
    """
    rows, cols = detector.shape
    at_side = (frame.cols < EDGE) | (frame.cols >= cols - EDGE)
    at_end = (frame.rows < EDGE) | (frame.rows >= rows - EDGE)
    if detector.instrument == "MIRI":
        at_end[:] = False
    return at_end[:, np.newaxis] | at_side


def reference_rows(fastaxis: int) -> NDArray[np.bool_]:
    """Return True for file rows of reference pixels, the reference output included.

    ``fastaxis`` is positive where the reference output comes first in the file.
    """
    position = np.arange(ROWS)
    interleaved = (position % SECTION - FIRST) % PERIOD < BLOCK
    output = position < SECTION if fastaxis > 0 else position >= ROWS - SECTION
    return interleaved | output


def science_rows(fastaxis: int) -> NDArray[np.intp]:
    """Return the file rows of the frame's pixels."""
    return np.flatnonzero(~reference_rows(fastaxis))
