"""A dark as the groups of an exposure see it.

Source: stcal 1.20 ``dark_sub``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.jit import kernel
from calbatch.models.rows import Reader

Array = npt.NDArray[Any]
Bounds = tuple[int, int]


@kernel
def subtract_levels(data: Array, levels: Array, integration: Array, result: Array) -> None:
    """Subtract from each integration the levels (integrations, groups, rows, cols) it takes."""
    ints, groups, rows, _ = data.shape
    for group in range(groups):
        for y in range(rows):
            for i in range(ints):
                level = levels[integration[i], group, y]
                _subtract(data[i, group, y], level, result[i, group, y])


# Loops along a row stand alone: only so are they all vectorized. What is NaN counts as no dark.


@kernel
def _subtract(values: Array, level: Array, result: Array) -> None:
    for x in range(values.size):
        dark = level[x]
        result[x] = values[x] - (dark if dark == dark else np.float32(0))


@kernel
def _add(plane: Array, total: Array) -> None:
    for x in range(plane.size):
        value = plane[x]
        total[x] += value if value == value else np.float32(0)


@kernel
def _add_beyond(last: Array, previous: Array, steps: float, total: Array) -> None:
    for x in range(last.size):
        value = (last[x] - previous[x]) * steps + last[x]
        total[x] += value if value == value else 0.0


@dataclass(frozen=True)
class DarkLevels:
    """Reads what to subtract from each group: a dark's frames, averaged, beyond its end too.

    Frames past the dark's last one are extrapolated by the difference of its last two, in double
    precision as in stcal, which rounds when it averages.

    Parameters
    ----------
    dark : Reader
        (..., frames, rows, columns).
    groups : int
        Groups of the exposure.
    step : int
        Frames from the begin of one group to the next.
    count : int
        Frames that a group averages.
    averages : bool
        Whether the groups are averages, of one frame or more.
    """

    dark: Reader
    groups: int
    step: int
    count: int
    averages: bool

    @property
    def frames(self) -> int:
        """How many frames the dark has."""
        return self.dark.shape[-3]

    @property
    def missing(self) -> int:
        """How many frames the dark is short of."""
        return max(0, (self.groups - 1) * self.step + self.count - self.frames)

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., groups, rows, columns)."""
        return (*self.dark.shape[:-3], self.groups, *self.dark.shape[-2:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Single precision, or double where unrounded extrapolation needs it."""
        return np.dtype("f8" if self.missing and not self.averages else "f4")

    def read(self, rows: Bounds, cols: Bounds) -> Array:
        """Return the levels of some rows and columns, holding one group's frames at a time."""
        *first, _, _ = self.shape
        levels = np.empty((*first, rows[1] - rows[0], cols[1] - cols[0]), self.dtype)
        for lead in np.ndindex(self.dark.shape[:-3]):
            frames = Frames(self.dark, lead, rows, cols)
            for group in range(self.groups):
                start = group * self.step
                levels[*lead, group] = self._average(frames, start, start + self.count)
        return levels

    def _average(self, frames: "Frames", start: int, stop: int) -> Array:
        real = frames.read(start, min(stop, self.frames))
        total = np.zeros(real.shape[1:], "f8" if self.missing else "f4")
        for plane in real:
            _add(plane.ravel(), total.ravel())
        if stop > self.frames:
            previous, last = frames.read(self.frames - 2, self.frames)
            for frame in range(max(start, self.frames), stop):
                steps = float(frame - self.frames + 1)
                _add_beyond(last.ravel(), previous.ravel(), steps, total.ravel())
        return total / total.dtype.type(stop - start)


@dataclass(frozen=True)
class Frames:
    """Some rows and columns of one of a dark's integrations."""

    dark: Reader
    lead: tuple[int, ...]
    rows: Bounds
    cols: Bounds

    def read(self, start: int, stop: int) -> Array:
        """Return some frames, (frames, rows, columns)."""
        index = (*(slice(i, i + 1) for i in self.lead), slice(start, max(start, stop)))
        frames = self.dark.planes(index).read(self.rows, self.cols)
        return frames.reshape(-1, *frames.shape[-2:])
