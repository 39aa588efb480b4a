"""Figures and axes: they belong to the caller alone, and show any text as it is."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from calbatch.models.errors import ModelError, escape_text
from calbatch.models.schema.meta import get_path

if TYPE_CHECKING:
    from calbatch.models.model import DataModel

PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
"""Options of texts from headers and file names, in which dollar signs do not begin formulas."""

UNIT = 30
"""Maximum number of characters of a unit."""


class NotebookFigure(Figure):
    """A figure that notebooks display as an image, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def make_figure(width: float, height: float) -> NotebookFigure:
    """Return a figure of a size in inches."""
    return NotebookFigure(figsize=(width, height), layout="constrained")


def open_axes(ax: Any, figure: Any, projection: Any = None) -> Axes:
    """Return the axes to draw in: the given ones, or new ones, in the given figure or a new one.

    Parameters
    ----------
    ax : matplotlib Axes, optional
        Axes.
    figure : matplotlib Figure or SubFigure, optional
        Figure for new axes.
    projection : WCS, optional
        World coordinates of new axes.

    Raises
    ------
    ModelError
        If both are given.
    TypeError
        If either is something else.
    """
    if ax is not None and figure is not None:
        raise ModelError("plot() draws in given axes or in a given figure: leave out one of them")
    if ax is not None:
        if not isinstance(ax, Axes):
            raise TypeError(f"ax must be axes of matplotlib, not {type(ax).__name__}")
        return ax
    return check_figure(figure or make_figure(6.4, 5.4)).add_subplot(projection=projection)


def check_figure(figure: Any) -> FigureBase:
    """Return a figure, or a part of one; raise a `TypeError` for anything else."""
    if not isinstance(figure, FigureBase):
        raise TypeError(f"figure must be a figure of matplotlib, not {type(figure).__name__}")
    return figure


def figure_of(part: Axes | FigureBase) -> Figure:
    """Return the whole figure to which axes, or a part of a figure, belong."""
    while not isinstance(part, Figure):
        part = part.figure
    return part


def set_title(axes: Axes, text: str, width: int = 60, size: str = "medium") -> None:
    """Set the title of axes, in lines of up to a number of characters."""
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, width)]
    axes.set_title("\n".join(lines), fontsize=size, **PLAIN)


def add_legend(axes: Axes, handles: Sequence[Artist], labels: Sequence[str], **place: Any) -> None:
    """Add a legend of artists, whose labels are shown as they are.

    Labels are set after the legend is made: some versions of matplotlib leave out artists whose
    labels begin with an underscore.
    """
    legend = axes.legend(handles=handles, labels=["label"] * len(labels), fontsize="small", **place)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set(text=label, **PLAIN)


def shorten(text: object, longest: int = 80) -> str:
    """Return text as one line, without control characters and cut to a length."""
    plain = escape_text(str(text).strip())
    return plain if len(plain) <= longest else f"{plain[:longest]}…"


def describe_model(model: DataModel) -> str:
    """Return the name of the file, the item of a list and the product that a model is."""
    tree, content = model._content.tree, model._content
    path = model.path
    file = PurePath(path).name if path is not None else type(model).__name__
    item = tree.get("name")
    stored = content.stored is not None and content.stored.node is content.node
    product = "" if stored or path is None else content.product
    words = (product, "of" if product else "", file, item or "")
    return " ".join(shorten(word) for word in words if word)


def describe_values(model: DataModel, name: str) -> str:
    """Return the name of an array, with its unit if the header has one."""
    hdu = model.schema.fields[name].hdu
    specs = model.schema.by_card.get(hdu.upper(), {}).get("BUNIT", ())
    found = (get_path(model._content.tree, spec.path) for spec in specs)
    unit = next((value for value in found if value is not None), model.get_card("BUNIT", hdu=hdu))
    return f"{name} ({shorten(unit, UNIT)})" if unit else name
