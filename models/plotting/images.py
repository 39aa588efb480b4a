"""Images of models: a plane of an array in an astronomer's stretch, and its flagged pixels."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from astropy.visualization import ImageNormalize
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from calbatch.models import dq as flags_of_pixels
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
from calbatch.models.plotting._flags import FlagPlane, read_with_flags
from calbatch.models.plotting._pixels import (
    Part,
    choose_array,
    choose_plane,
    choose_step,
    read_parts,
)
from calbatch.models.plotting.sky import find_wcs
from calbatch.models.plotting.stretch import Limits, choose_norm, choose_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

DQ_FIELDS = ("dq", "pixeldq", "groupdq")
"""Arrays of flags, all of which are shown."""

FEW = 2000
"""Maximum number of flagged pixels that are drawn as markers, which no scale of a figure hides."""

_BELOW = 0.55  # inches from the axes to the legend, where the labels of the axis are
_NO_VALUE = "tab:gray"
_COLOURS = mpl.colormaps["tab10"].colors + mpl.colormaps["Set2"].colors  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Plane:
    """A plane of an array, to be drawn.

    Attributes
    ----------
    name : str
        The array.
    index : tuple of int
        The index of the plane along its leading axes.
    values : ndarray, shape (rows, columns)
        Every n-th pixel of every n-th row.
    step : int
        That n.
    flags : FlagPlane, optional
        Flags of the pixels.
    """

    name: str
    index: tuple[int, ...]
    values: Array
    step: int = 1
    flags: FlagPlane | None = None

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper edge in pixels of the frame, whose centres are integers."""
        height, width = self.values.shape
        return -0.5, width * self.step - 0.5, -0.5, height * self.step - 0.5

    @property
    def title(self) -> str:
        """The array with the index of the plane, ``data[0, 4]``, and the sampling of large ones."""
        label = f"{self.name}{list(self.index)}" if self.index else self.name
        return label if self.step == 1 else f"{label}, 1 in {self.step} rows and columns"


def read_plane(
    model: DataModel,
    name: str | None = None,
    integration: int | None = None,
    group: int | None = None,
    dq: Mapping[str, int] | None = None,
) -> Plane:
    """Return a plane of an array, and its flags.

    Parameters
    ----------
    model : DataModel
        The model.
    name : str, optional
        The array; by default the primary one.
    integration, group : int, optional
        Index along the first and the second of the leading axes.
    dq : mapping, optional
        The bits of flags to read, too, by name.

    Raises
    ------
    ModelError
        If there is no such array or plane, or there are no flags.
    """
    name = choose_array(model, name)
    index = choose_plane(model, name, integration, group)
    shape = model.shape_of(name) or ()
    step = choose_step((shape[-2], shape[-1]))
    part = Part.of_plane(index, step)
    if not dq:
        values = read_parts(model, {name: part})[name]
        return Plane(name, index, values.reshape(values.shape[-2:]), step)
    fields = _find_flags(model, shape)
    values, flags = read_with_flags(model, name, part, fields, dq)
    return Plane(name, index, values, step, flags)


def _find_flags(model: DataModel, shape: tuple[int, ...]) -> dict[str, int]:
    """Return the arrays of flags of an array, and the number of leading axes that they share."""
    found = {}
    for name in DQ_FIELDS:
        own = model.shape_of(name) if name in model.schema.fields else None
        leading = len(own) - 2 if own else 0
        if own and own == (*shape[:leading], *shape[-2:]):
            found[name] = leading
    if not found:
        raise ModelError(
            f"{model._where}: has no flags of an array of shape {shape}: leave dq out, or assign "
            f"{' or '.join(n for n in DQ_FIELDS if n in model.schema.fields) or 'them'} first"
        )
    return found


def choose_flags(dq: bool | str | Sequence[str]) -> Mapping[str, int]:
    """Return the bits of the flags to show, by name: those that are named, or all.

    Raises
    ------
    ModelError
        If a name is unknown.
    """
    known = {name: bit for name, bit in flags_of_pixels.PIXEL.items() if bit}
    if isinstance(dq, (bool, np.bool_)):
        return known if dq else {}
    names = [dq] if isinstance(dq, str) else list(dq)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name).upper(), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"the flags are {', '.join(known)}"
            raise ModelError(f"dq: {name!r} is not a flag; {hint}")
    return {name: known[name] for name in names}


def draw_image(
    model: DataModel,
    *,
    name: str | None = None,
    integration: int | None = None,
    group: int | None = None,
    dq: bool | str | Sequence[str] = False,
    stretch: str,
    limits: Limits,
    wcs: bool,
    cmap: str | None = None,
    ax: Any = None,
    figure: Any = None,
) -> Figure:
    """Draw a plane of an array; see `calbatch.models.model.DataModel.plot`."""
    chosen = choose_flags(dq)
    plane = read_plane(model, name, integration, group, chosen)
    norm = choose_norm([plane.values], stretch, limits)
    has_frame = plane.name in model._content.on_grid
    sky = find_wcs(model) if wcs and ax is None and has_frame else None
    axes = open_axes(ax, figure, sky)
    image = show_plane(axes, plane, norm, cmap or ("gray" if chosen else "magma"))
    set_title(axes, f"{describe_model(model)}: {plane.title}")
    set_labels(axes, sky)
    add_colour_bar(axes, image, describe_values(model, plane.name))
    if chosen:
        _draw_flags(axes, plane, chosen)
    return figure_of(axes)


def show_plane(axes: Axes, plane: Plane, norm: Normalize, cmap: str) -> AxesImage:
    """Show a plane in axes, row 0 at the bottom, and values that are not finite in grey."""
    colours = _find_colours(cmap).with_extremes(bad=_NO_VALUE)
    values = np.ma.masked_invalid(plane.values)
    return axes.imshow(
        values, origin="lower", interpolation="nearest", extent=plane.extent, norm=norm,
        cmap=colours,
    )  # fmt: skip


def _find_colours(cmap: str) -> Colormap:
    try:
        return mpl.colormaps[cmap]
    except KeyError as error:
        near = difflib.get_close_matches(str(cmap), list(mpl.colormaps), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"cmap {cmap!r} is not a colour map of matplotlib{hint}") from error


def set_labels(axes: Axes, sky: Any = None) -> None:
    """Label axes with the coordinates of the sky, or with those of pixels, counted from 0."""
    names = ("column (x)", "row (y)") if sky is None else (sky.wcs.lngtyp, sky.wcs.lattyp)
    first, second = names if sky is None or sky.wcs.lng == 0 else names[::-1]
    axes.set_xlabel(first, **PLAIN)
    axes.set_ylabel(second, **PLAIN)


def add_colour_bar(axes: Axes, image: AxesImage, label: str) -> None:
    """Add a colour bar with a label, as high as the image."""
    place = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    bar = axes.figure.colorbar(image, cax=place)
    bar.set_label(label, **PLAIN)
    if isinstance(image.norm, ImageNormalize):  # matplotlib's ticks would crowd at one end
        ticks = choose_ticks(image.norm)
        bar.set_ticks(ticks, labels=[f"{tick:.10g}" for tick in ticks])


def _draw_flags(axes: Axes, plane: Plane, chosen: Mapping[str, int]) -> None:
    """Draw the pixels with each flag that occurs in a colour of its own, and a legend."""
    assert plane.flags is not None
    patches: list[Patch] = []
    labels: list[str] = []
    for name, bit in chosen.items():
        count = plane.flags.counts[name]
        if count:
            colour = _COLOURS[len(patches) % len(_COLOURS)]
            mask = (plane.flags.bits & np.uint32(bit)) != 0
            _draw_mask(axes, plane, mask, colour, name)
            patches.append(Patch(color=colour))
            labels.append(f"{name}: {count}")
    if not patches:
        patches.append(Patch(alpha=0))
        labels.append("none of the flags occurs")
    below = ScaledTranslation(0, -_BELOW, figure_of(axes).dpi_scale_trans)
    add_legend(
        axes, patches, labels, loc="upper left", bbox_to_anchor=(0.0, 0.0), ncols=2,
        bbox_transform=axes.transAxes + below, borderaxespad=0,
    )  # fmt: skip


def _draw_mask(axes: Axes, plane: Plane, mask: Array, colour: Any, name: str) -> None:
    if np.count_nonzero(mask) <= FEW:
        rows, columns = np.nonzero(mask)
        size = 200 / max(mask.shape)
        middle = (plane.step - 1) / 2
        axes.plot(
            columns * plane.step + middle, rows * plane.step + middle, marker="s", linestyle="",
            color=colour, markersize=min(max(size, 1.5), 8), label=name,
        )  # fmt: skip
        return
    shown = np.ma.masked_where(~mask, mask.astype(np.uint8))
    axes.imshow(
        shown, origin="lower", interpolation="nearest", extent=plane.extent, alpha=0.8,
        cmap=ListedColormap([colour]), label=name,
    )  # fmt: skip
