"""Tables as plain structured arrays. They are small, and read whole by astropy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from calbatch.models.errors import FileError, ValidationError, one_line
from calbatch.models.fits.astropy_hdu import open_astropy_hdu
from calbatch.models.fits.columns import require_columns
from calbatch.models.fits.hdu import Hdu
from calbatch.models.schema.spec import ColumnSpec

Table = npt.NDArray[Any]


def read_table(hdu: Hdu) -> Table:
    """Read a table HDU, ASCII or binary.

    Parameters
    ----------
    hdu : Hdu
        Of a layout; the file must still be the same.

    Returns
    -------
    structured ndarray, shape (rows,)
        Native types; scaled columns decoded (TZERO's unsigned integers exactly), strings without
        trailing blanks (U), cells of varying length as objects.

    Raises
    ------
    FileError
        The file has changed, or astropy cannot read the table.
    """
    path = hdu.stamp.path
    if hdu.kind != "table":
        raise FileError(path, f"{hdu.label} holds no table")
    if hdu.dtype.itemsize == 0 and hdu.shape[0]:
        raise FileError(path, f"{hdu.label} claims {hdu.shape[0]} rows of no bytes")
    require_columns(hdu)
    with open_astropy_hdu(hdu.stamp, hdu.index, hdu.label) as found:
        return _plain(found.data, hdu.shape[0])


def _plain(records: fits.FITS_rec | None, rows: int) -> Table:
    """Return astropy's records as a structured array of decoded columns."""
    if records is None:
        return np.zeros(rows, np.dtype([]))
    columns = {name: _plain_column(np.asarray(records[name])) for name in records.dtype.names}
    return _table(columns, (rows,))


def _table(columns: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]) -> Table:
    """Return a structured array of columns, which may have cells of any shape."""
    table = np.zeros(shape, [(name, c.dtype, c.shape[1:]) for name, c in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def _plain_column(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if column.dtype.kind == "U":
        return np.strings.rstrip(column)
    return column.astype(column.dtype.newbyteorder("="), copy=False)


def cast_columns(table: Any, columns: Sequence[ColumnSpec], where: str) -> Table:
    """Return a table with the columns that a schema wants, in its order and of its types.

    Parameters
    ----------
    table : structured ndarray, FITS_rec or list of tuples
        Column names count without their case; tuples have the schema's columns. Further columns are
        kept, after the wanted ones.
    columns : sequence of ColumnSpec
        What the schema says. Text may be longer than it says.
    where : str
        For messages: the file and the HDU.

    Returns
    -------
    structured ndarray
        Native types; text is U, whether the schema says ASCII or not.

    Raises
    ------
    ValidationError
        A column that is missing, of another shape, or with a value that its type cannot hold.
    """
    array = _as_structured(table, columns, where)
    found = {name.lower(): name for name in array.dtype.names or ()}
    missing = [spec.name for spec in columns if spec.name.lower() not in found]
    if missing:
        there = ", ".join(found.values())
        raise ValidationError(f"{where}: no column {missing[0]!r}; the columns are {there}")
    cast = {
        spec.name: _cast(array[found.pop(spec.name.lower())], spec, f"{where}: {spec.name!r}")
        for spec in columns
    }
    cast |= {name: array[name] for name in found.values()}
    return _table(cast, array.shape)


def _is_masked(table: Any) -> bool:
    """Return whether a masked array, or a table of astropy's, has values that are masked."""
    if isinstance(table, np.ma.MaskedArray):
        return bool(np.ma.flatten_mask(np.ma.getmaskarray(table)).any())
    return bool(getattr(table, "has_masked_values", False))


def _as_structured(table: Any, columns: Sequence[ColumnSpec], where: str) -> Table:
    if _is_masked(table):
        raise ValidationError(
            f"{where}: has masked values, and the mask would be lost: fill them (`filled()`)"
        )
    if isinstance(table, fits.FITS_rec):
        return _plain(table, len(table))
    if isinstance(table, list):
        kinds = [(spec.name, spec.dtype, spec.shape or ()) for spec in columns]
        try:
            return np.array(table, kinds)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValidationError(
                f"{where}: the rows do not fit the columns: {one_line(error)}"
            ) from error
    array = np.asarray(table)
    if array.dtype.names is None:
        raise ValidationError(f"{where}: a table is wanted, found an array of {array.dtype}")
    return array


def _cast(column: npt.NDArray[Any], spec: ColumnSpec, where: str) -> npt.NDArray[Any]:
    if spec.shape is not None and column.shape[1:] != spec.shape:
        raise ValidationError(f"{where}: cells of {spec.shape} wanted, not {column.shape[1:]}")
    textual = {column.dtype.kind in "SU", spec.dtype.kind in "SU"}
    if textual == {True}:
        return _text(column, where)
    if len(textual) > 1 or column.dtype.kind == "O":
        raise ValidationError(f"{where}: {spec.dtype} wanted, found {column.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = column.astype(spec.dtype)
    if spec.dtype.kind in "iub" and not np.array_equal(cast, column):
        raise ValidationError(f"{where}: holds values that {spec.dtype} cannot hold")
    return cast


def _text(column: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    try:
        return column.astype(str)
    except UnicodeDecodeError as error:
        raise ValidationError(f"{where}: holds text that is not ASCII") from error
