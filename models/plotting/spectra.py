"""Extracted spectra: flux against wavelength, with its error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from calbatch.models.errors import ModelError
from calbatch.models.fits.layout import read_layout
from calbatch.models.plotting._figures import (
    PLAIN,
    UNIT,
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
    axes = open_axes(ax, figure)
    for (wavelengths, flux, errors), name in zip(tables, _name_spectra(spectra), strict=True):
        shown = name if 1 < len(spectra) <= _NAMED else None
        [line] = axes.plot(wavelengths, flux, linewidth=1, drawstyle="steps-mid", label=shown)
        if errors is not None:
            axes.fill_between(
                wavelengths, flux - errors, flux + errors, step="mid", alpha=0.25,
                color=line.get_color(), linewidth=0,
            )  # fmt: skip
    set_title(axes, describe_model(model))
    units = _read_units(spectra[0])
    axes.set_xlabel(_describe_column(units, "WAVELENGTH"), **PLAIN)
    axes.set_ylabel(_describe_column(units, "FLUX"), **PLAIN)
    if 1 < len(spectra) <= _NAMED:
        for text in axes.legend(fontsize="small").get_texts():
            text.set_parse_math(False)
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


def _read_units(model: DataModel) -> dict[str, str]:
    """Return the units of columns that the header of a model's file states."""
    if model.path is None:
        return {}
    try:
        hdu = read_layout(model.path).find(model.schema.fields[TABLE].hdu)
    except ModelError:  # the table may be in memory, and its file gone
        return {}
    header = {} if hdu is None else hdu.header
    numbers = [keyword.removeprefix("TTYPE") for keyword in header if keyword.startswith("TTYPE")]
    found = {str(header[f"TTYPE{n}"]).upper(): header.get(f"TUNIT{n}") for n in numbers}
    return {name: shorten(unit, UNIT) for name, unit in found.items() if unit}


def _describe_column(units: Mapping[str, str], column: str) -> str:
    """Return a column's name in small letters, with its unit if that is known."""
    name = column.lower()
    return f"{name} ({units[column]})" if column in units else name
