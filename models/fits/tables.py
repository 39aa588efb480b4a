"""Tables as structured arrays; they are small, and read as a whole.

Most have columns that FITS and NumPy store alike. astropy reads the others.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import FileError, ValidationError, format_count, one_line
from calbatch.models.fits.astropy_hdu import is_fits_records, open_astropy_hdu
from calbatch.models.fits.cards import HeaderKeywords
from calbatch.models.fits.columns import require_columns
from calbatch.models.fits.hdu import Hdu
from calbatch.models.schema.spec import ColumnSpec
from calbatch.models.storage.files import open_decompressed

if TYPE_CHECKING:
    from astropy.io import fits

Table = npt.NDArray[Any]

_PLAIN_FORM = re.compile(r"([1-9][0-9]{0,5})?([BIJKAED])")
_PLAIN_TYPES = {"B": ">u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_NAME = re.compile(r"\w+", re.ASCII)
_CODES = ("TSCAL", "TZERO", "TNULL", "TDIM")
"""Keywords, before a column's number, without which its values mean what they are."""


def read_table(hdu: Hdu) -> Table:
    """Read a table HDU, ASCII or binary.

    Parameters
    ----------
    hdu : Hdu
        A table of a layout, whose file must not have changed.

    Returns
    -------
    structured ndarray, shape (rows,)
        The rows in native types: scaled columns decoded (unsigned integers exactly), strings as U
        without trailing blanks, and variable-length cells as objects.

    Raises
    ------
    FileError
        If the file has changed, or astropy cannot read the table.
    """
    path = hdu.stamp.path
    if hdu.kind != "table":
        raise FileError(path, f"{hdu.label} is not a table")
    if hdu.dtype.itemsize == 0 and hdu.shape[0]:
        raise FileError(path, f"{hdu.label} claims {format_count(hdu.shape[0], 'row')} of no bytes")
    require_columns(hdu)
    stored = _stored_type(hdu)
    if stored is not None and hdu.shape[0]:
        with contextlib.suppress(UnicodeDecodeError):  # astropy decides about such text
            return _read_rows(hdu, stored)
    with open_astropy_hdu(hdu.stamp, hdu.index, hdu.label) as found:
        return _plain_table(found.data, hdu.shape[0])


def _read_rows(hdu: Hdu, stored: np.dtype[Any]) -> Table:
    """Return a table whose rows are stored as NumPy stores them, in big-endian types."""
    size = stored.itemsize * hdu.shape[0]
    with open_decompressed(hdu.stamp) as read_at:
        content = read_at(hdu.data_offset, size)
    if len(content) < size:
        raise FileError(hdu.stamp.path, f"{hdu.label} is truncated")
    rows = np.frombuffer(content, stored)
    return _table({name: _decode(rows[name]) for name in stored.names or ()}, rows.shape)


def _stored_type(hdu: Hdu) -> np.dtype[Any] | None:
    """Return the type of a row if all columns are plain; None if astropy has to decode them."""
    cards = hdu.keywords
    count = cards.integer("TFIELDS") if cards.text("XTENSION") == "BINTABLE" else 0
    columns = [_stored_column(cards, number) for number in range(1, count + 1)]
    plain = [column for column in columns if column is not None]
    names = {name.lower() for name, _, _ in plain}
    return np.dtype(plain) if 0 < len(names) == count else None


def _stored_column(cards: HeaderKeywords, number: int) -> tuple[str, str, tuple[int, ...]] | None:
    """Return the name, type and shape of a plain column; None for another."""
    name = ""
    with contextlib.suppress(FileError):  # astropy decides about a name that is not text
        name = cards.text(f"TTYPE{number}")
    form = _PLAIN_FORM.fullmatch(cards.text(f"TFORM{number}"))
    is_coded = any(f"{keyword}{number}" in cards for keyword in _CODES)
    if is_coded or form is None or not _NAME.fullmatch(name):
        return None
    count, code = int(form[1] or 1), form[2]
    if code == "A":
        return name, f"S{count}", ()
    return name, _PLAIN_TYPES[code], (count,) if count > 1 else ()


def _plain_table(records: fits.FITS_rec | None, rows: int) -> Table:
    """Return records of astropy as a structured array of decoded columns."""
    if records is None:
        return np.zeros(rows, np.dtype([]))
    columns = {name: _strip(np.asarray(records[name])) for name in records.dtype.names}
    return _table(columns, (rows,))


def _table(columns: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]) -> Table:
    """Return a structured array in native byte order; cells of a column may have any shape."""
    kinds = [(name, c.dtype.newbyteorder("="), c.shape[1:]) for name, c in columns.items()]
    table = np.zeros(shape, kinds)
    for name, column in columns.items():
        table[name] = column
    return table


def _decode(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a stored column with its text decoded, without trailing blanks."""
    if column.dtype.kind == "S":
        column = np.strings.decode(column, "ascii").astype(f"U{column.dtype.itemsize}")
    return _strip(column)


def _strip(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a column without trailing blanks of text; astropy leaves bytes that are not ASCII."""
    return np.strings.rstrip(column) if column.dtype.kind == "U" else column


def cast_columns(table: Any, columns: Sequence[ColumnSpec], where: str) -> Table:
    """Return a table with the columns of a schema, in its order and with its types.

    Parameters
    ----------
    table : structured ndarray, FITS_rec or list of tuples
        The table. The case of column names is ignored, tuples have the schema's columns, and other
        columns are appended after those of the schema.
    columns : sequence of ColumnSpec
        The schema's columns. Text may be longer than specified.
    where : str
        The file and the HDU, for messages.

    Returns
    -------
    structured ndarray
        The table in native types, with text as U even if the schema specifies ASCII.

    Raises
    ------
    ValidationError
        If a column is missing, has another cell shape, or has a value that its type cannot hold.
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
    """Return whether a masked array or an astropy table has masked values."""
    if isinstance(table, np.ma.MaskedArray):
        return bool(np.ma.flatten_mask(np.ma.getmaskarray(table)).any())
    return bool(getattr(table, "has_masked_values", False))


def _as_structured(table: Any, columns: Sequence[ColumnSpec], where: str) -> Table:
    if _is_masked(table):
        raise ValidationError(
            f"{where}: has masked values, whose mask would be lost: fill them (`filled()`)"
        )
    if is_fits_records(table):
        return _plain_table(table, len(table))
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
        raise ValidationError(f"{where}: must be a table, found an array of {array.dtype}")
    return array


def _cast(column: npt.NDArray[Any], spec: ColumnSpec, where: str) -> npt.NDArray[Any]:
    if spec.shape is not None and column.shape[1:] != spec.shape:
        shape = column.shape[1:]
        raise ValidationError(f"{where}: cells must have the shape {spec.shape}, not {shape}")
    textual = {column.dtype.kind in "SU", spec.dtype.kind in "SU"}
    if textual == {True}:
        return _text(column, where)
    if len(textual) > 1 or column.dtype.kind == "O":
        raise ValidationError(f"{where}: must be {spec.dtype}, found {column.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = column.astype(spec.dtype)
    if spec.dtype.kind in "iub" and not np.array_equal(cast, column):
        raise ValidationError(f"{where}: has values that {spec.dtype} cannot hold")
    return cast


def _text(column: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    try:
        return column.astype(str)
    except UnicodeDecodeError as error:
        raise ValidationError(f"{where}: has text that is not ASCII") from error
