"""The ramp of one pixel: its counts against time, and the groups that are flagged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from calbatch.models import dq
from calbatch.models.errors import ModelError
from calbatch.models.plotting._figures import (
    PLAIN,
    add_legend,
    describe_model,
    describe_values,
    figure_of,
    open_axes,
    set_title,
)
from calbatch.models.plotting._pixels import Part, check_index, choose_array, read_parts
from calbatch.models.schema.meta import get_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

MARKS: Mapping[str, Mapping[str, Any]] = {
    "JUMP_DET": {"marker": "x", "color": "red", "markersize": 8},
    "SATURATED": {"marker": "^", "color": "darkorange", "markersize": 8},
    "DO_NOT_USE": {"marker": "o", "color": "black", "markersize": 11},
    "DROPOUT": {"marker": "v", "color": "purple", "markersize": 8},
    "PERSISTENCE": {"marker": "d", "color": "teal", "markersize": 10},
    "AD_FLOOR": {"marker": "_", "color": "brown", "markersize": 12},
    "CHARGELOSS": {"marker": "s", "color": "magenta", "markersize": 10},
}
"""Marker of the groups with each flag."""

_NAMED = 10
"""Maximum number of integrations that the legend names."""


class PixelRamp(NamedTuple):
    """The ramp of a pixel.

    Attributes
    ----------
    counts : ndarray, shape (integrations, groups)
        The counts.
    group_flags : ndarray of int, shape (integrations, groups)
        Flags of the groups; 0 without any.
    pixel_flags : int
        Flags of the pixel.
    """

    counts: Array
    group_flags: Array
    pixel_flags: int


def draw_ramp(
    model: DataModel,
    x: int,
    y: int,
    *,
    name: str | None = None,
    integration: int | Iterable[int] | None = None,
    ax: Any = None,
    figure: Any = None,
) -> Figure:
    """Draw the ramp of a pixel; see `calbatch.models.model.DataModel.plot`."""
    name = _choose_ramps(model, name)
    integrations, groups, height, width = model.shape_of(name) or ()
    column, row = check_pixel(model, "x", x, width), check_pixel(model, "y", y, height)
    chosen = choose_integrations(model, integration, integrations)
    ramp = read_ramp(model, name, column, row)
    times, label = find_times(model, groups)
    axes = open_axes(ax, figure)
    for number, colour in zip(chosen, _choose_colours(len(chosen)), strict=True):
        shown = f"integration {number}" if len(chosen) <= _NAMED else None
        axes.plot(times, ramp.counts[number], ".-", color=colour, label=shown, zorder=2)
    _mark_groups(axes, times, ramp, chosen)
    flags = ", ".join(n for n, bit in dq.PIXEL.items() if ramp.pixel_flags & bit)
    title = f"{describe_model(model)}: pixel x={column}, y={row}"
    set_title(axes, f"{title}\n{flags}")
    axes.set_xlabel(label)
    axes.set_ylabel(describe_values(model, name), **PLAIN)
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        add_legend(axes, handles, labels)
    return figure_of(axes)


def _choose_ramps(model: DataModel, name: str | None) -> str:
    chosen = choose_array(model, name)
    shape = model.shape_of(chosen) or ()
    if len(shape) != 4:
        raise ModelError(
            f"{model._where}: {chosen} of shape {shape} has no ramps; plot(x, y) needs "
            "(integrations, groups, rows, columns), and plot() shows an image"
        )
    return chosen


def check_pixel(model: DataModel, axis: str, value: Any, length: int) -> int:
    """Return the column or the row of a pixel, which is not counted from the end.

    Raises
    ------
    ModelError
        If it is not an integer within the frame.
    """
    found = check_index(model, axis, value, length)
    if found != value:
        raise ModelError(f"{model._where}: {axis}={value} is not in the frame, 0 to {length - 1}")
    return found


def choose_integrations(
    model: DataModel, integration: int | Iterable[int] | None, count: int
) -> list[int]:
    """Return the integrations to draw: one, several, or by default all.

    Raises
    ------
    ModelError
        If one of them does not exist.
    """
    if integration is None:
        return list(range(count))
    several = integration if isinstance(integration, Iterable) else [integration]
    return [check_index(model, "integration", each, count) for each in several]


def read_ramp(model: DataModel, name: str, x: int, y: int) -> PixelRamp:
    """Return the ramp of a pixel, and its flags; only its tile is read or computed."""
    shape = model.shape_of(name) or ()
    row, column = slice(y, y + 1), slice(x, x + 1)
    every = (slice(None), slice(None))
    parts = {name: Part(every, row, column)}
    if "groupdq" in model.schema.fields and model.shape_of("groupdq") == shape:
        parts["groupdq"] = Part(every, row, column)
    flags = next((n for n in ("pixeldq", "dq") if n in model.schema.fields), "")
    if flags and model.shape_of(flags) == shape[-2:]:
        parts[flags] = Part((), row, column)
    found = read_parts(model, parts)
    counts = found[name][..., 0, 0]
    none = np.zeros((*counts.shape, 1, 1), np.uint8)
    group_flags = found.get("groupdq", none)[..., 0, 0]
    return PixelRamp(counts, group_flags, int(found[flags].item()) if flags in found else 0)


def find_times(model: DataModel, groups: int) -> tuple[Array, str]:
    """Return the time of each group since the first one, or its number if TGROUP is unknown."""
    interval = get_path(model._content.tree, "meta.exposure.group_time")
    numbers = np.arange(groups)
    if isinstance(interval, (int, float)) and np.isfinite(interval) and interval > 0:
        return numbers * float(interval), "time since the first group (s)"
    return numbers, "group"


def _choose_colours(count: int) -> list[Any]:
    return [mpl.colormaps["viridis"](share) for share in np.linspace(0, 0.85, count)]


def _mark_groups(axes: Axes, times: Array, ramp: PixelRamp, chosen: list[int]) -> None:
    """Mark the groups with each flag."""
    for name, style in MARKS.items():
        numbers, groups = np.nonzero(ramp.group_flags[chosen] & dq.GROUP[name])
        if groups.size:
            counts = ramp.counts[chosen][numbers, groups]
            axes.plot(
                times[groups], counts, linestyle="", fillstyle="none", label=name, zorder=3, **style
            )
