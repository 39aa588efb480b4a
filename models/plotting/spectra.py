"""Extracted spectra: flux against wavelength, with its error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from calbatch.models.errors import ModelError
from calbatch.models.plotting._figures import (
    PLAIN,
    UNIT,
    add_legend,
    describe_model,
    figure_of,
    open_axes,
    set_title,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calbatch.models.model import DataModel

TABLE = "spec_table"
LIST = "spec"
_NAMED = 10
"""Maximum number of spectra that the legend names."""


def find_spectra(model: DataModel) -> list[DataModel]:
    """Return the models that hold a table of a spectrum: the model itself, or items of its list."""
    if model.has(TABLE):
        return [model]
    return [item for item in getattr(model, LIST) if item.has(TABLE)] if model.has(LIST) else []


def draw_spectra(model: DataModel, *, ax: Any = None, figure: Any = None) -> Figure:
    """Draw the spectra of a model; see `calbatch.models.model.DataModel.plot`."""
    spectra = find_spectra(model)
    tables = [_take_columns(each) for each in spectra]
    labels = [_describe_column(model, spectra, column) for column in ("WAVELENGTH", "FLUX")]
    axes = open_axes(ax, figure)
    lines = []
    for wavelengths, flux, errors in tables:
        [line] = axes.plot(wavelengths, flux, linewidth=1, drawstyle="steps-mid")
        lines.append(line)
        if errors is not None:
            axes.fill_between(
                wavelengths, flux - errors, flux + errors, step="mid", alpha=0.25,
                color=line.get_color(), linewidth=0,
            )  # fmt: skip
    set_title(axes, describe_model(model))
    axes.set_xlabel(labels[0], **PLAIN)
    axes.set_ylabel(labels[1], **PLAIN)
    if 1 < len(spectra) <= _NAMED:
        add_legend(axes, lines, list(_name_spectra(spectra)))
    return figure_of(axes)


def _take_columns(model: DataModel) -> tuple[Any, Any, Any]:
    """Return wavelengths, fluxes and, if they are there, the errors of the fluxes."""
    table = getattr(model, TABLE)
    columns = {name.upper(): name for name in table.dtype.names or ()}
    wanted = [columns.get(name) for name in ("WAVELENGTH", "FLUX")]
    if None in wanted or any(table[name].ndim != 1 for name in wanted):
        raise ModelError(
            f"{model._where}: {TABLE} has no columns WAVELENGTH and FLUX of one number per row; "
            f"it has {', '.join(columns)}: plot its columns with matplotlib"
        )
    error = next((columns[n] for n in ("FLUX_ERROR", "ERROR") if n in columns), None)
    return *(table[name] for name in wanted), None if error is None else table[error]


def _name_spectra(spectra: list[DataModel]) -> Iterator[str]:
    """Yield a name for each spectrum: that of its slit or source, or else its number."""
    for number, each in enumerate(spectra):
        tree = each._content.tree
        found = (tree.get(name) for name in ("name", "source_id"))
        yield shorten(next((value for value in found if value not in (None, "")), number))


def _describe_column(model: DataModel, spectra: list[DataModel], column: str) -> str:
    """Return a column's name in small letters, with the unit that all spectra have, if any."""
    units = sorted({_find_unit(each, column) for each in spectra})
    if len(units) > 1:
        found = ", ".join(shorten(unit, UNIT) or "no unit" for unit in units)
        raise ModelError(
            f"{model._where}: {column} has no scale in common, because its units are {found}; "
            f"plot the spectra one by one, such as model.{LIST}[0].plot()"
        )
    name = column.lower()
    return f"{name} ({shorten(units[0], UNIT)})" if units[0] else name


def _find_unit(model: DataModel, column: str) -> str:
    """Return the unit of a column of a spectrum, whose name may have any case; "" without one."""
    units = model.column_units(TABLE)
    return next((unit for name, unit in units.items() if name.upper() == column), "")
