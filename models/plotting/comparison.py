"""Comparison of two models: before and after a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import ModelError, format_count
from calbatch.models.plotting.plottable import Plottable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calbatch.models.model import DataModel
    from calbatch.models.plotting.stretch import Limits

Array = npt.NDArray[Any]

LARGE = 99.0
"""Percentile of the absolute differences that has the strongest colour."""


def plot(
    before: DataModel,
    after: DataModel,
    *,
    name: str | None = None,
    integration: int | None = None,
    group: int | None = None,
    stretch: str = "asinh",
    limits: Limits = "percentile",
    figure: Any = None,
) -> Figure:
    """Plot an array before and after a step on one scale, and the difference.

    Parameters
    ----------
    before, after : DataModel
        Two models with arrays of the same shape.
    name : str, optional
        The array; by default the primary one.
    integration, group : int, optional
        The plane of an array of more than two axes; by default the first integration and its last
        group.
    stretch, limits : str, str or (float, float)
        The scale that both share; see `calbatch.models.model.DataModel.plot`.
    figure : matplotlib Figure or SubFigure, optional
        Figure for the three axes; by default a new one.

    Returns
    -------
    matplotlib.figure.Figure
        The figure: before, after, and after less before.

    Raises
    ------
    TypeError
        If one of the two is not a model.
    ModelError
        If the arrays differ in shape or unit, or there is no such plane.
    """
    for model in (before, after):
        if not isinstance(model, Plottable):
            raise TypeError(
                "calbatch.plot() compares two models; open a file with calbatch.open(), instead of "
                f"passing {type(model).__name__}"
            )
    from calbatch.models.plotting import _figures, _pixels, images
    from calbatch.models.plotting import stretch as scales

    chosen = _pixels.choose_array(before, name)
    _pixels.choose_array(after, chosen)  # which raises an error if it has none
    labels = [_figures.describe_values(model, chosen) for model in (before, after)]
    _require_likeness(before, after, chosen, labels)
    planes = [images.read_plane(model, chosen, integration, group) for model in (before, after)]
    norm = scales.choose_norm([plane.values for plane in planes], stretch, limits)
    drawn = _figures.check_figure(figure or _figures.make_figure(13.5, 4.6))
    axes = drawn.subplots(1, 3, sharex=True, sharey=True)
    for each, plane, when in zip(axes, planes, ("before", "after"), strict=False):
        shown = images.show_plane(each, plane, norm, "magma")
        model = before if when == "before" else after
        title = f"{when}: {plane.title}\n{_figures.describe_model(model)}"
        _figures.set_title(each, title, 46, "small")
        images.set_labels(each)
    images.add_colour_bar(axes[1], shown, labels[0])
    _draw_difference(axes[2], planes, labels[0])
    for each in axes:
        each.label_outer()
    return _figures.figure_of(drawn)


def _require_likeness(before: DataModel, after: DataModel, name: str, labels: list[str]) -> None:
    """Raise a `ModelError` if an array of two models differs in shape or unit."""
    shapes = [model.shape_of(name) for model in (before, after)]
    where = f"{before._where} and {after._where}"
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"{where}: {name} has the shapes {shapes[0]} and {shapes[1]}, which cannot be "
            "compared; plot each of them"
        )
    if labels[0] != labels[1]:
        raise ModelError(
            f"{where}: {labels[0]} and {labels[1]} have no scale in common; plot each of them"
        )


def _draw_difference(axes: Any, planes: list[Any], label: str) -> None:
    """Draw the second plane less the first, with white for 0."""
    from matplotlib.colors import Normalize

    from calbatch.models.plotting import _figures, images

    first, second = (plane.values.astype(np.float64) for plane in planes)
    with np.errstate(all="ignore"):  # infinite values
        difference = second - first
    sizes = np.abs(difference[np.isfinite(difference) & (difference != 0)])
    limit = float(np.percentile(sizes, LARGE)) if sizes.size else 1.0
    plane = images.Plane(planes[0].name, planes[0].index, difference, planes[0].step)
    shown = images.show_plane(axes, plane, Normalize(-limit, limit), "RdBu_r")
    changed = np.count_nonzero(~np.isclose(first, second, rtol=0, atol=0, equal_nan=True))
    count = format_count(int(changed), "pixel")
    whole = f"{first.size} sampled ones" if plane.step > 1 else first.size
    _figures.set_title(axes, f"difference: {count} of {whole} changed", 46, "small")
    images.set_labels(axes)
    images.add_colour_bar(axes, shown, f"after - before: {label}")
