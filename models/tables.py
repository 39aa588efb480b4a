"""Tables as plain structured arrays. They are small, and read whole by astropy."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.io.fits.verify import VerifyError

from calbatch.models.errors import FileError, ValidationError
from calbatch.models.files import opened
from calbatch.models.hdu import Hdu
from calbatch.models.schema import ColumnSpec

Table = npt.NDArray[Any]

# What astropy raises on tables whose headers make no sense.
_FAULTS = (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
           MemoryError, VerifyError)  # fmt: skip


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
    with opened(hdu.stamp), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's views on the style of a table
        try:
            with fits.open(path, memmap=False) as hdus:
                return _plain(hdus[hdu.index].data, hdu.shape[0])
        except _FAULTS as error:
            raise FileError(path, f"{hdu.label}: cannot read the table: {error}") from error


def _plain(records: fits.FITS_rec | None, rows: int) -> Table:
    """Return astropy's records as a structured array of decoded columns."""
    if records is None:
        return np.zeros(rows, np.dtype([]))
    columns = {name: _plain_column(np.asarray(records[name])) for name in records.dtype.names}
    kind = np.dtype([(name, c.dtype, c.shape[1:]) for name, c in columns.items()])
    table = np.zeros(rows, kind)
    for name, column in columns.items():
        table[name] = column
    return table


def _plain_column(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if column.dtype.kind == "U":
        return np.strings.rstrip(column)
    return column.astype(column.dtype.newbyteorder("="), copy=False)


def check_columns(table: npt.ArrayLike, columns: Sequence[ColumnSpec], where: str) -> Table:
    """Return a table with the columns that a schema wants, in its order and of its types.

    Parameters
    ----------
    table : structured ndarray
        Column names count without their case. Further columns are kept, after the wanted ones.
    columns : sequence of ColumnSpec
        What the schema says.
    where : str
        For messages: the file and the HDU.

    Raises
    ------
    ValidationError
        A column that is missing, of another shape, or with a value that its type cannot hold.
    """
    array = np.asarray(table)
    if array.dtype.names is None:
        raise ValidationError(f"{where}: a table is wanted, found an array of {array.dtype}")
    found = {name.lower(): name for name in array.dtype.names}
    missing = [spec.name for spec in columns if spec.name.lower() not in found]
    if missing:
        raise ValidationError(
            f"{where}: no column {missing[0]!r}; the columns are {', '.join(found.values())}"
        )
    cast = {
        spec.name: _cast(
            array[found.pop(spec.name.lower())], spec, f"{where}: column {spec.name!r}"
        )
        for spec in columns
    }
    cast |= {name: array[name] for name in found.values()}
    result = np.zeros(array.shape, [(name, c.dtype, c.shape[1:]) for name, c in cast.items()])
    for name, column in cast.items():
        result[name] = column
    return result


def _cast(column: npt.NDArray[Any], spec: ColumnSpec, where: str) -> npt.NDArray[Any]:
    if spec.shape is not None and column.shape[1:] != spec.shape:
        raise ValidationError(
            f"{where}: cells of shape {spec.shape} wanted, not {column.shape[1:]}"
        )
    textual = {column.dtype.kind in "SU", spec.dtype.kind in "SU"}
    if textual == {True}:
        # Wide enough for what is there: a schema's length is that of a usual value.
        width = max(spec.dtype.itemsize // (4 if spec.dtype.kind == "U" else 1), 1)
        text = column.astype(str)
        return text if text.dtype.itemsize // 4 > width else text.astype(f"U{width}")
    if len(textual) > 1 or column.dtype.kind == "O":
        raise ValidationError(f"{where}: {spec.dtype} wanted, found {column.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = column.astype(spec.dtype)
    exact = spec.dtype.kind not in "iub" or np.array_equal(cast, column)
    if not exact:
        raise ValidationError(f"{where}: holds values that {spec.dtype} cannot hold")
    return cast
