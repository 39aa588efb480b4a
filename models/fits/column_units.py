"""The units of a table's columns, by their names in any case, and their cards (TUNITn).

Source: FITS standard 4.0, section 4.3 (units) and 7.3.2 (TUNITn; TTYPEn, whose case is ignored).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from calbatch.models.errors import ValidationError, one_line
from calbatch.models.fits.astropy_hdu import is_fits_records
from calbatch.models.fits.cards import Card
from calbatch.models.schema.validate import warn_or_raise


class ColumnUnits(MutableMapping[str, str]):
    """The units of a table's columns; a column without a unit is not there.

    The case of names is ignored, and columns have the names that the table gives them.

    Parameters
    ----------
    where : str
        The model and the table, for messages.
    columns : iterable of str
        The names of the table's columns.
    units : mapping
        Units by column.
    """

    def __init__(
        self, where: str, columns: Iterable[str], units: Mapping[str, str] | None = None
    ) -> None:
        self._where = where
        self._names = {name.lower(): name for name in columns}
        self._units: dict[str, str] = {}
        self.update(units or {})

    def replace_columns(
        self, columns: Iterable[str] | None, units: Mapping[str, str] | None
    ) -> None:
        """Replace the columns and their units; for None, columns keep the units that they have."""
        former, self._units = self._units, {}
        self._names = {name.lower(): name for name in columns or ()}
        if units is None:
            units = {name: unit for name, unit in former.items() if name.lower() in self._names}
        self.update(units)

    def copy(self) -> ColumnUnits:
        """Return units of the same columns that can be changed by themselves."""
        return ColumnUnits(self._where, self._names.values(), self._units)

    def __getitem__(self, column: str) -> str:
        return self._units[self._names.get(column.lower(), column)]

    def __setitem__(self, column: str, unit: str) -> None:
        if column.lower() not in self._names:
            there = ", ".join(self._names.values()) or "none"
            raise ValidationError(
                f"{self._where}: no column {column!r} for the unit {unit!r}; "
                f"the columns are {there}"
            )
        self._units[self._names[column.lower()]] = unit

    def __delitem__(self, column: str) -> None:
        del self._units[self._names.get(column.lower(), column)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def __repr__(self) -> str:
        return repr(self._units)


def stated_units(table: Any, where: str) -> dict[str, str] | None:
    """Return the units that one of astropy's tables or records states, by column.

    Parameters
    ----------
    table : Table, FITS_rec or array
        The table.
    where : str
        The model and the table, for messages.

    Returns
    -------
    dict or None
        Units as FITS writes them; None for arrays and rows, which state none. A unit that FITS does
        not have is left out with a warning.
    """
    if is_fits_records(table):
        return {column.name: column.unit for column in table.columns if column.unit}
    if not hasattr(table, "colnames"):
        return None
    units = {name: getattr(table[name], "unit", None) for name in table.colnames}
    texts = {name: _format_unit(unit, f"{where}: {name!r}") for name, unit in units.items()}
    return {name: text for name, text in texts.items() if text}


def _format_unit(unit: Any, where: str) -> str:
    """Return a unit of astropy as FITS writes it; "" for none."""
    if unit is None:
        return ""
    try:
        return str(unit.to_string("fits"))
    except ValueError as error:
        warn_or_raise(
            ValidationError(
                f"{where}: the unit {unit} is left out, because FITS does not have it "
                f"({one_line(error)}): state it as text in `column_units`"
            )
        )
        return ""


def unit_cards(
    columns: Iterable[str] | None, units: Mapping[str, str], others: Sequence[Card]
) -> list[Card]:
    """Return the cards of the units of a table's columns, except those that other cards state.

    Parameters
    ----------
    columns : iterable of str, optional
        The names of the table's columns, in its order.
    units : mapping
        Units by the names of columns.
    others : sequence of (keyword, value, comment)
        The other cards of the header.
    """
    found = {f"TUNIT{number}": units.get(name) for number, name in enumerate(columns or (), 1)}
    stated = {keyword for keyword, _, _ in others}
    return [(k, unit, "") for k, unit in found.items() if unit and k not in stated]
