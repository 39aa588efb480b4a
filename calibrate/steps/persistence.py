"""Persistence: flag groups that earlier saturation may still affect.

Source: jwst 3.0.0 ``persistence`` step.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import FailStep, StepError
from calbatch.calibrate.numbers import required_number
from calbatch.calibrate.parameters import Boolean, Float, Integer, Text
from calbatch.calibrate.products import lock_folder, publish_file
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._persistence_state import (
    NONE,
    OpenWindows,
    name_windows_file,
    read_windows,
    write_windows,
)
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import OpenWindowsModel, RampModel
from calbatch.models.dq import DO_NOT_USE, PERSISTENCE, SATURATED
from calbatch.models.fits.readers import Reader
from calbatch.models.model import DataModel
from calbatch.models.tiling.graphs import delayed_value
from calbatch.models.tiling.plan import REGION, Region

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Windows = OpenWindows | Array
"""Open windows, or the time at which the window of each pixel ends."""

MJD_OF_1970 = 40587.0
DAY = 86400.0


class PersistenceStep(Step):
    """Flag the groups of a pixel for some time after it has saturated.

    A window opens when a pixel saturates or exceeds a threshold, and lasts ``persistence_time``.
    A batch takes the exposures of a detector and subarray in order of time, and hands the windows
    that are open at the end of one on to the next; outside batches, files do.
    """

    cal_step = "persistence"
    writes_at_once = ("save_persistence",)
    groups_by = (
        "meta.instrument.detector",
        *(f"meta.subarray.{name}" for name in ("xstart", "ystart", "xsize", "ysize")),
    )
    orders_by = ("meta.exposure.start_time", "meta.exposure.segment_number")
    hands_on = ("openwindows",)

    skip = Boolean(True, help="leave the exposure as it is and mark the step SKIPPED")
    persistence_time = Integer(
        None, none=True, unit="s", help="length of a window; without it, the step is FAILED"
    )
    dn_threshold = Float(
        None, none=True, unit="DN", help="counts that open a window, besides saturation"
    )
    persistence_array_file = Text(
        None, none=True, help="ASDF file with the windows that are open before the exposure"
    )
    save_persistence = Text(
        None, none=True, help="ASDF file to update with the windows that are open afterwards"
    )
    persistence_dnu = Boolean(False, help="also flag the groups DO_NOT_USE")

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with the groups in windows flagged."""
        ramp = as_ramp(exposure)
        if self.persistence_time is None or self.persistence_time <= 0:
            raise FailStep("persistence_time must be a positive number of seconds")
        self._warn_if_alone(ramp)
        detector = str(ramp.meta.instrument.detector)
        windows = self._find_windows(ramp, detector, self.persistence_time)
        rules = WindowRules(
            seconds=self.persistence_time,
            threshold=self.dn_threshold,
            flags=PERSISTENCE | (DO_NOT_USE if self.persistence_dnu else 0),
            times=group_times(ramp),
        )
        arguments: dict[str, Any] = {"windows": windows, "rules": rules, "region": REGION}
        if self.save_persistence is not None:
            self._save_windows(ramp, detector, self.persistence_time, arguments)
        if self.members:  # a batch takes the exposures in order, and another may follow
            made = ramp.map_tiles_into(
                {"windows": OpenWindowsModel}, follow_windows, ("windows.ends",),
                **arguments,
            )  # fmt: skip
            made["windows"].meta.persistence_time = self.persistence_time
            self.add_product(self.hands_on[0], made["windows"])
        return ramp.map_tiles(flag_persistence, outputs=("groupdq",), **arguments)

    def shared_files(self) -> Mapping[str, str]:
        """Return the files of windows that are given; see the base class."""
        advice = (
            "leave it out: a batch takes exposures in order, and hands the windows of each on to "
            "the next without a file"
        )
        names = ("persistence_array_file", "save_persistence")
        return {name: advice for name in names if getattr(self, name) is not None}

    def _warn_if_alone(self, ramp: RampModel) -> None:
        """Warn if neither a batch nor a file hands windows on."""
        has_file = self.persistence_array_file or self.save_persistence
        if not (self.members or has_file or self.is_trial):
            log.warning(
                "%s: persistence flags the afterglow of this exposure alone: windows are handed on "
                "within a batch of several exposures whose parameters include skip = False",
                _name_of(ramp),
            )

    def _find_windows(self, ramp: RampModel, detector: str, seconds: int) -> OpenWindows | Reader:
        """Return the windows that are open before the exposure: received, or read from a file."""
        before = self.received_state(self.hands_on[0])
        if before is None:
            path = self.persistence_array_file
            if path is None:
                return NONE
            return read_windows(path, detector, seconds, _name_of(ramp), ramp.frame)
        if before.frame != ramp.frame:
            windows, exposure = (" x ".join(map(str, m.frame)) for m in (before, ramp))
            raise StepError(
                f"{before.path}: has windows of {windows} pixels, the exposure {exposure}"
            )
        if before.meta.persistence_time != seconds:
            log.info("%s: PERSTIME is not %d: ignored", before.path, seconds)
            return NONE
        return before.rows("ends")

    def _save_windows(
        self, ramp: RampModel, detector: str, seconds: int, arguments: dict[str, Any]
    ) -> None:
        """Compute the windows that are open after the exposure, and write them to a file."""
        after = delayed_value(ramp.reduce(gather_windows, OpenWindows.join, **arguments)).compute()
        windows = arguments["windows"]
        before = windows if isinstance(windows, OpenWindows) else None
        target = name_windows_file(str(self.save_persistence))

        def write(path: Path) -> None:
            write_windows(path, target, detector, seconds, _name_of(ramp), after, before)

        with lock_folder(target.parent):  # another process may update the file, too
            publish_file(self, target, write)
        log.info("%s: %s: %d pixels have an open window", self.name, target, after.rows.size)


def _name_of(ramp: RampModel) -> str:
    return ramp.path.name if ramp.path else str(ramp.meta.filename or "")


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowRules:
    """The rules for opening windows, and for flagging groups within them.

    Attributes
    ----------
    seconds : int
        Length of a window.
    threshold : float or None
        Counts (DN) above which a pixel without a window gets one; None for saturation alone.
    flags : int
        Flags of groups within windows.
    times : ndarray of float64, (integrations, groups)
        The ends of the groups, in seconds since 1970.
    """

    seconds: int
    threshold: float | None
    flags: int
    times: Array


def group_times(ramp: RampModel) -> Array:
    """Return the times at which groups end, in seconds since 1970, (integrations, groups).

    As in jwst, integrations begin at the times in INT_TIMES; those not listed there follow one
    another at intervals of EFFINTTM, starting at EXPSTART.

    Raises
    ------
    StepError
        If the header lacks a number.
    """
    integrations, groups = ramp.shape[:2]
    table = ramp.int_times if ramp.has("int_times") else None
    listed = 0 if table is None else len(table)
    duration = float(required_number(ramp, "meta.exposure.group_time", positive=True))
    times = np.empty((integrations, groups))
    for i in range(integrations):
        if table is not None and i < listed:
            now = seconds_since_1970(float(table["int_start_MJD_UTC"][i]))
        else:
            start = seconds_since_1970(float(required_number(ramp, "meta.exposure.start_time")))
            now = start + i * float(required_number(ramp, "meta.exposure.integration_time"))
        for group in range(groups):
            now += duration
            times[i, group] = now
    return times


def seconds_since_1970(days: float) -> float:
    """Return a modified Julian date in seconds since 1970-01-01."""
    return (days - MJD_OF_1970) * DAY


def flag_persistence(
    data: Array, groupdq: Array, *, windows: Windows, rules: WindowRules, region: Region
) -> Array:
    """Return group flags, with persistence flagged in the groups within windows.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).
    windows : OpenWindows, or ndarray of float64, (rows, columns)
        The windows that are open before the exposure, or the time (s since 1970) at which each
        pixel's window ends.
    rules : WindowRules
        The rules for opening windows, and for flagging groups within them.
    region : Region
        The rows and columns of the exposure that the arrays cover.
    """
    flags = groupdq.copy()
    _pass_through(data, groupdq, _ends_in(region, windows), rules, flags)
    return flags


def follow_windows(
    data: Array, groupdq: Array, *, windows: Windows, rules: WindowRules, region: Region
) -> Array:
    """Return the times (s since 1970) at which the windows after the exposure end, (rows, columns).

    Parameters
    ----------
    data, groupdq, windows, rules, region
        As for `flag_persistence`.
    """
    ends = _ends_in(region, windows)
    _pass_through(data, groupdq, ends, rules, None)
    return ends


def gather_windows(
    data: Array, groupdq: Array, *, windows: Windows, rules: WindowRules, region: Region
) -> OpenWindows:
    """Return the windows that are open after the exposure; see `flag_persistence`."""
    ends = follow_windows(data, groupdq, windows=windows, rules=rules, region=region)
    return OpenWindows.of_region(ends, region)


def _ends_in(region: Region, windows: Windows) -> Array:
    """Return the times at which the windows of a region end, in a new array."""
    return windows.in_region(region) if isinstance(windows, OpenWindows) else windows.copy()


def _pass_through(
    data: Array, groupdq: Array, ends: Array, rules: WindowRules, flags: Array | None
) -> None:
    """Follow the windows through all groups in order of time, and flag groups within them.

    As in jwst, a window is extended as long as a pixel has been saturated in exactly one group of
    the integration, and a window that would end later than one that opens now is dropped.

    Parameters
    ----------
    ends : ndarray of float64, (rows, columns)
        The times at which windows end, in seconds since 1970; modified.
    flags : ndarray or None
        Group flags, (integrations, groups, rows, columns), to modify; None to set none.
    """
    for i, times in enumerate(rules.times):
        saturated = np.zeros(ends.shape, np.uint32)
        for group, now in enumerate(times):
            ends[ends < now] = 0
            end = now + rules.seconds
            saturated += (groupdq[i, group] & SATURATED) != 0
            ends[saturated == 1] = end
            if rules.threshold is not None:
                above = data[i, group] > np.float32(rules.threshold)
                ends[above & ~(ends > 0)] = end
            ends[ends > end] = 0
            if flags is not None:
                flags[i, group][ends > 0] |= np.uint8(rules.flags)
