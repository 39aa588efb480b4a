"""The state of persistence: the ends of windows, stored in a file between exposures.

The file is jwst's: an ASDF tree with a branch for each detector, which lists the pixels that have a
window (``rows`` and ``cols``), the time at which it ends (``vals``, in seconds since 1970), and the
length of windows (``pers_time``, in seconds).
Source: jwst 3.0.0 ``persistence.persistence_step``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import StepError
from calbatch.models.asdf.asdf_blocks import read_arrays
from calbatch.models.asdf.asdf_writer import write_asdf
from calbatch.models.tiling.plan import Region

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class OpenWindows:
    """The pixels that have a window.

    Attributes
    ----------
    rows, cols : ndarray of int64, (pixels,)
    ends : ndarray of float64, (pixels,)
        The times at which their windows end, in seconds since 1970.
    """

    rows: Array
    cols: Array
    ends: Array

    def in_region(self, region: Region) -> Array:
        """Return the ends of the windows in a region, (rows, columns); 0 without a window."""
        (r0, r1), (c0, c1) = region
        ends = np.zeros((r1 - r0, c1 - c0))
        inside = (self.rows >= r0) & (self.rows < r1) & (self.cols >= c0) & (self.cols < c1)
        ends[self.rows[inside] - r0, self.cols[inside] - c0] = self.ends[inside]
        return ends

    @classmethod
    def of_region(cls, ends: Array, region: Region) -> OpenWindows:
        """Return the windows of a region's pixels, row by row."""
        rows, cols = np.nonzero(ends)
        (first_row, _), (first_col, _) = region
        return cls(rows + first_row, cols + first_col, ends[rows, cols])

    @classmethod
    def join(cls, parts: Sequence[OpenWindows]) -> OpenWindows:
        """Return the windows of several regions, in order."""
        fields = ("rows", "cols", "ends")
        return cls(*(np.concatenate([getattr(part, f) for part in parts]) for f in fields))


BEFORE = "before"
"""The key of the windows that were open before the exposure."""

NONE = OpenWindows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def read_windows(
    path: str, detector: str, seconds: int, exposure: str, frame: tuple[int, int]
) -> OpenWindows:
    """Return the windows of a detector in a file that are open before an exposure.

    As in jwst, there are none if the file does not exist, or does not have the detector with
    windows of the same length. If they were written after the same exposure, by an attempt that
    was repeated, those that were open before it are returned.

    Raises
    ------
    FileError
        If the file is damaged.
    StepError
        If it does not list pixels of the frame.
    """
    if not Path(path).exists():
        log.info("%s does not exist: no pixel has a window yet", path)
        return NONE
    stored = read_arrays(path).get(detector)
    if stored is None:
        log.info("%s: has no windows of %s", path, detector)
        return NONE
    is_own = exposure and isinstance(stored, dict) and stored.get("filename") == exposure
    if is_own and BEFORE in stored:
        log.info("%s: was written after %s: what was open before is used", path, exposure)
        stored = stored[BEFORE]
    elif is_own:
        log.warning(
            "%s: jwst wrote it after this exposure, %s, whose own windows are used", path, exposure
        )
    names = ("rows", "cols", "vals", "pers_time")
    if not isinstance(stored, dict) or not stored.keys() >= set(names):
        raise StepError(f"{path}: {detector} lacks one of {', '.join(names)}")
    if stored["pers_time"] != seconds:
        log.info("%s: pers_time is %s, not %d: ignored", path, stored["pers_time"], seconds)
        return NONE
    rows, cols, ends = (np.atleast_1d(np.asarray(stored[name])) for name in names[:3])
    is_list = rows.ndim == 1 and rows.shape == cols.shape == ends.shape
    if not is_list or not (_are_below(rows, frame[0]) and _are_below(cols, frame[1])):
        raise StepError(
            f"{path}: the pixels of {detector} are not within {frame[0]} rows and {frame[1]} "
            "columns: the file is for exposures of another subarray"
        )
    return OpenWindows(rows.astype(np.int64), cols.astype(np.int64), ends.astype(np.float64))


def _are_below(numbers: Array, stop: int) -> bool:
    if not numbers.size:
        return True
    return numbers.dtype.kind in "iu" and bool(numbers.min() >= 0 and numbers.max() < stop)


def name_windows_file(path: str) -> Path:
    """Return the path of a file of windows: as in jwst, its suffix becomes ``.asdf``."""
    target = Path(path)
    return target if target.suffix == ".asdf" else target.parent / f"{target.stem}.asdf"


def write_windows(
    path: Path, earlier: Path, detector: str, seconds: int, exposure: str, after: OpenWindows,
    before: OpenWindows | None,
) -> None:  # fmt: skip
    """Write the windows of a detector to a file, with those of other detectors in an earlier one.

    Parameters
    ----------
    path, earlier : Path
        The file, and the one whose windows of other detectors are kept, if it exists.
    detector, seconds, exposure
        The detector, the length of windows, and the exposure's file name.
    after : OpenWindows
        The windows that are open after the exposure.
    before : OpenWindows or None
        Those that were open before it, for another attempt; jwst ignores them.

    Raises
    ------
    FileError
        If the earlier file is damaged.
    """
    kept = read_arrays(earlier) if earlier.exists() else {}
    others = {k: v for k, v in kept.items() if k not in ("asdf_library", "history")}
    own = {"filename": exposure, **_branch(after, seconds)}
    if before is not None:
        own[BEFORE] = _branch(before, seconds)
    write_asdf(path, {**others, detector: own})


def _branch(windows: OpenWindows, seconds: int) -> dict[str, Any]:
    return {
        "rows": windows.rows, "cols": windows.cols, "vals": windows.ends, "pers_time": seconds
    }  # fmt: skip
