"""Dark reference resampled to the groups of an exposure.

Equations are numbered in docs/steps/dark_current.md. Source: stcal 1.20 ``dark_sub``.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.fits.readers import Reader
from calbatch.models.fits.row_runs import Window
from calbatch.models.jit import inner_view_kernel, kernel, view_kernel

Array = npt.NDArray[Any]
Bounds = tuple[int, int]


@view_kernel
def subtract_levels(levels: Array, integration: Array, data: Array) -> None:
    """Subtract from each integration its level, in place: ``data - levels[integration]`` (D1)."""
    ints, groups, rows, _ = data.shape
    for group in range(groups):
        for y in range(rows):
            for i in range(ints):
                subtract_known(levels[integration[i], group, y], data[i, group, y])


# Loops along a row are separate functions so that all of them are vectorized.


@inner_view_kernel
def subtract_known(level: Array, values: Array) -> None:
    """Subtract a row of levels, in place; NaN counts as zero."""
    for x in range(values.size):
        dark = level[x]
        values[x] -= dark if dark == dark else np.float32(0)


@kernel
def _add_plane(plane: Array, total: Array) -> None:
    for x in range(plane.size):
        value = plane[x]
        total[x] += value if value == value else np.float32(0)


@kernel
def _add_extrapolated(last: Array, previous: Array, steps: float, total: Array) -> None:
    for x in range(last.size):
        value = (last[x] - previous[x]) * steps + last[x]
        total[x] += value if value == value else 0.0


class DarkLevels(Reader):
    """Reader of the level to subtract from each group: the average of a dark's frames.

    Frame ``N - 1 + s``, past the last frame ``N - 1``, is extrapolated from the last two frames:
    ``dark[N - 1] + s * (dark[N - 1] - dark[N - 2])`` (D2), in double precision as in stcal, which
    rounds when it averages.

    Parameters
    ----------
    dark : Reader
        The dark, (..., frames, rows, columns).
    groups : int
        Groups of the exposure.
    step : int
        Frames from the start of one group to the start of the next.
    count : int
        Frames averaged in a group.
    averages : bool
        True if groups are averages, of one frame or more.

    Attributes
    ----------
    frames : int
        Frames of the dark.
    missing : int
        Frames that have to be extrapolated.
    """

    def __init__(self, dark: Reader, groups: int, step: int, count: int, *, averages: bool) -> None:
        self.frames = dark.shape[-3]
        self.missing = max(0, (groups - 1) * step + count - self.frames)
        shape = (*dark.shape[:-3], groups, *dark.shape[-2:])
        super().__init__(shape, "f8" if self.missing and not averages else "f4")
        self._dark, self._step, self._count = dark, step, count

    def _source(self) -> Hashable | None:
        dark = self._dark.key()
        return None if dark is None else (dark, self._step, self._count)

    def _fetch(self, window: Window, dtype: np.dtype[Any]) -> Array:
        """Return the levels of a window, with one group's frames in memory at a time."""
        rows, cols = span_of(window.rows), span_of(window.cols)
        levels = np.empty(window.shape, dtype)
        for place in np.ndindex(window.shape[:-2]):
            *lead, group = (axis[i] for axis, i in zip(window.leading, place, strict=True))
            frames = DarkFrames(self._dark, tuple(lead), rows, cols)
            start = group * self._step
            levels[place] = self._average(frames, start, start + self._count)
        return levels

    def _average(self, frames: "DarkFrames", start: int, stop: int) -> Array:
        real = frames.read(start, min(stop, self.frames))
        total = np.zeros(real.shape[1:], "f8" if self.missing else "f4")
        for plane in real:
            _add_plane(plane.ravel(), total.ravel())
        if stop > self.frames:
            previous, last = frames.read(self.frames - 2, self.frames)
            for frame in range(max(start, self.frames), stop):
                steps = float(frame - self.frames + 1)
                _add_extrapolated(last.ravel(), previous.ravel(), steps, total.ravel())
        return total / total.dtype.type(stop - start)


def span_of(indices: range) -> Bounds:
    """Return start and stop of consecutive indices."""
    return indices.start, indices.stop


@dataclass(frozen=True)
class DarkFrames:
    """A window of one integration of a dark."""

    dark: Reader
    lead: tuple[int, ...]
    rows: Bounds
    cols: Bounds

    def read(self, start: int, stop: int) -> Array:
        """Return frames ``start`` to ``stop``, (frames, rows, columns)."""
        index = (*(slice(i, i + 1) for i in self.lead), slice(start, max(start, stop)))
        frames = self.dark.planes(index).read(self.rows, self.cols)
        return frames.reshape(-1, *frames.shape[-2:])
