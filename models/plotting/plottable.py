"""Models as plots; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from calbatch.models.errors import ModelError
from calbatch.models.mapping import MappedArrays

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calbatch.models.model import DataModel
    from calbatch.models.plotting.stretch import Limits


class Plottable(MappedArrays):
    """Lazy arrays that can be plotted."""

    def plot(
        self,
        x: int | None = None,
        y: int | None = None,
        *,
        name: str | None = None,
        integration: int | Iterable[int] | None = None,
        group: int | None = None,
        dq: bool | str | Sequence[str] = False,
        stretch: str | None = None,
        limits: Limits | None = None,
        wcs: bool | None = None,
        cmap: str | None = None,
        ax: Any = None,
        figure: Any = None,
    ) -> Figure:
        """Plot an image, the ramp of a pixel, or spectra.

        With ``x`` and ``y``, the counts of that pixel are drawn against time, and flagged groups
        are marked. Without, it is a plane of an array, or the extracted spectra of a model that
        has no array. Of frames with more than 2048 rows or columns, every n-th one is drawn.
        pyplot is not involved: the figure is the caller's, and notebooks display it.

        Parameters
        ----------
        x, y : int, optional
            Column and row of a pixel, counted from 0.
        name : str, optional
            The array, such as ``err``; by default the primary one.
        integration : int or iterable of int, optional
            The integration of an image, by default the first; those of a ramp, by default all. Of
            any other array with more than two axes, the index along the first one.
        group : int, optional
            The group of an image, by default the last; the index along the second of four axes.
        dq : bool, str or sequence of str
            The flags whose pixels are drawn over the image: True for all that occur, or names.
        stretch : str, optional
            The stretch of an image: ``asinh`` (the default), ``linear`` or ``log``.
        limits : str or (float, float), optional
            The lowest and the highest value of an image to tell apart: ``percentile`` (the
            default, 1 and 99.8) or ``zscale`` of up to 256 rows, or two numbers.
        wcs : bool, optional
            Whether new axes of an image have world coordinates if the header has them; by default
            they have.
        cmap : str, optional
            Colour map of matplotlib; by default ``magma``, or ``gray`` with flags.
        ax : matplotlib Axes, optional
            Axes to draw in.
        figure : matplotlib Figure or SubFigure, optional
            Figure for new axes; by default a new one.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.

        Raises
        ------
        ModelError
            If there is nothing to plot, or an argument does not fit the model.
        FileError
            If a file cannot be read.
        """
        model = cast("DataModel", self)
        place = {"ax": ax, "figure": figure}
        scale = {"stretch": stretch, "limits": limits, "wcs": wcs, "cmap": cmap}
        if x is not None and y is not None:
            from calbatch.models.plotting.pixel_ramps import draw_ramp

            self._refuse_choices("the ramp of a pixel", group=group, dq=dq or None, **scale)
            return draw_ramp(model, x, y, name=name, integration=integration, **place)
        if x is not None or y is not None:
            raise ModelError(f"{self._where}: plot(x, y) needs the column and the row of a pixel")
        from calbatch.models.plotting import images, spectra

        if name is None and not self.has(self.primary) and spectra.find_spectra(model):
            self._refuse_choices(
                "spectra", integration=integration, group=group, dq=dq or None, **scale
            )
            return spectra.draw_spectra(model, **place)
        return images.draw_image(
            model, name=name, integration=cast("int | None", integration), group=group, dq=dq,
            stretch="asinh" if stretch is None else stretch,
            limits="percentile" if limits is None else limits,
            wcs=True if wcs is None else wcs, cmap=cmap, **place,
        )  # fmt: skip

    def _refuse_choices(self, what: str, **choices: Any) -> None:
        """Raise an error if choices were made that do not apply."""
        given = [name for name, value in choices.items() if value is not None]
        if given:
            raise ModelError(f"{self._where}: {', '.join(given)} cannot be chosen for {what}")
