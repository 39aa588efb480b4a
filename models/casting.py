"""Arrays in the types and dimensions that a schema wants, without a changed value."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da
import numpy as np

from calbatch.models.errors import ValidationError
from calbatch.models.schema.spec import FieldSpec
from calbatch.models.tiling.tile import Array


def check_dimensions(spec: FieldSpec, ndim: int, where: str) -> None:
    """Refuse an array of other dimensions than the schema wants.

    Raises
    ------
    ValidationError
        With what was wanted and what was found.
    """
    if spec.ndim is not None and ndim != spec.ndim:
        raise ValidationError(f"{where}: must have {spec.ndim} dimensions, has {ndim}")
    if spec.max_ndim is not None and ndim > spec.max_ndim:
        raise ValidationError(f"{where}: may have {spec.max_ndim} dimensions, has {ndim}")


def check_shape(shape: tuple[Any, ...], where: str) -> None:
    """Refuse a shape that no image can have: sizes must be positive integers.

    Raises
    ------
    ValidationError
        When a size is not one.
    """
    if not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise ValidationError(f"{where}: the shape {shape} has a size that is no positive integer")


def as_array(value: Any, where: str) -> Any:
    """Return a value as an array, refusing masks and units, which arrays of models do not have.

    Parameters
    ----------
    value : array-like or dask array
        The value.
    where : str
        The model and field, for messages.

    Raises
    ------
    ValidationError
        When pixels are masked, or might be, or the value has a unit.
    """
    unit = getattr(value, "unit", None)
    if unit is not None and str(unit):
        raise ValidationError(
            f"{where}: has the unit {unit}, which arrays of models do not have: assign its `.value`"
        )
    if isinstance(value, da.Array):
        masked = isinstance(value._meta, np.ma.MaskedArray)
    else:
        masked = np.ma.is_masked(value)
        value = np.asarray(value)
    if masked:
        raise ValidationError(
            f"{where}: is a masked array, and the mask would be lost: fill it "
            "(`numpy.ma.filled`, of a dask array `dask.array.ma.filled`) and flag the masked "
            "pixels in a DQ array"
        )
    return value


def cast_array(spec: FieldSpec, array: Any, where: str) -> Any:
    """Return an array in the type of its field.

    Parameters
    ----------
    spec : FieldSpec
        What the schema says.
    array : ndarray or dask array
        The values.
    where : str
        The model and field, for messages.

    Returns
    -------
    ndarray or dask array
        Of an integer field, values that do not fit are refused: of a dask array, when it is
        computed.

    Raises
    ------
    ValidationError
        When dimensions, type or values do not fit.
    """
    check_dimensions(spec, array.ndim, where)
    wanted = spec.dtype
    if wanted is None:
        return array
    if not needs_value_check(array.dtype, wanted, where):
        return array.astype(wanted)
    if isinstance(array, da.Array):
        checked = partial(cast_exactly, dtype=wanted, where=where)
        return da.map_blocks(checked, array, dtype=wanted)
    return cast_exactly(array, wanted, where)


def needs_value_check(found: np.dtype[Any], wanted: np.dtype[Any], where: str) -> bool:
    """Return whether a cast is right for some values only, so that each has to be looked at.

    Raises
    ------
    ValidationError
        When it is never right.
    """
    if np.can_cast(found, wanted, casting="safe"):
        return False
    if found.kind in "biuf" and wanted.kind in "biu":
        return True
    if not np.can_cast(found, wanted, casting="same_kind"):
        raise ValidationError(f"{where}: {found} cannot become {wanted}")
    return False


def cast_exactly(values: Array, dtype: np.dtype[Any], where: str) -> Array:
    """Return numbers as integers of a type.

    Raises
    ------
    ValidationError
        When the type cannot hold one of them: it is negative, too large, a fraction or NaN.
    """
    low, stop = (0, 2) if dtype.kind == "b" else _range(dtype)
    if values.dtype.kind == "f":
        # Powers of two, which floats of every width hold (or which are beyond all their values).
        with np.errstate(invalid="ignore", over="ignore"):
            fine = (values >= float(low)) & (values < float(stop)) & (values == np.trunc(values))
        bad = values[~fine]
    elif values.size and not low <= int(values.min()) <= int(values.max()) < stop:
        span = np.iinfo(values.dtype)
        fits = (values >= max(low, int(span.min))) & (values <= min(stop - 1, int(span.max)))
        bad = values[~fits]
    else:
        bad = values[:0]
    if bad.size:
        raise ValidationError(
            f"{where}: {dtype} cannot hold {bad.size} of its {values.dtype} values, such as "
            f"{bad.flat[0]}"
        )
    return values.astype(dtype)


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the least value that an integer type holds, and the one after its greatest."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max) + 1
