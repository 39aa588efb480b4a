"""Casting arrays to the types of a schema without changing values, and checks of their shape."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np

from calbatch.models.errors import ValidationError
from calbatch.models.schema.spec import FieldSpec
from calbatch.models.tiling.tile import Array


def is_dask_array(value: Any) -> bool:
    """Return whether a value is a dask array, without the slow import of dask.array."""
    # another thread may still be importing it, without the class
    kind = getattr(sys.modules.get("dask.array"), "Array", None)
    return kind is not None and isinstance(value, kind)


def check_dimensions(spec: FieldSpec, ndim: int, where: str) -> None:
    """Raise an error if an array does not have the number of dimensions that a schema requires.

    Raises
    ------
    ValidationError
        If it does not; the message states the required and the actual number.
    """
    if spec.ndim is not None and ndim != spec.ndim:
        raise ValidationError(f"{where}: must have {spec.ndim} dimensions, has {ndim}")
    if spec.max_ndim is not None and ndim > spec.max_ndim:
        raise ValidationError(f"{where}: may have {spec.max_ndim} dimensions, has {ndim}")


def check_shape(shape: tuple[Any, ...], where: str) -> None:
    """Raise an error if a size of an image is not a positive integer.

    Raises
    ------
    ValidationError
        If one is not; the message states the shape.
    """
    if not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise ValidationError(
            f"{where}: every size in the shape {shape} must be a positive integer"
        )


def as_array(value: Any, where: str) -> Any:
    """Return a value as an array; masks and units, which models do not keep, are an error.

    Parameters
    ----------
    value : array-like or dask array
        The value.
    where : str
        The model and field, for messages.

    Raises
    ------
    ValidationError
        If elements are masked (of a dask array, if they might be), or the value has a unit.
    """
    unit = getattr(value, "unit", None)
    if unit is not None and str(unit):
        raise ValidationError(
            f"{where}: has the unit {unit}, which would be lost: assign its `.value`"
        )
    if is_dask_array(value):
        masked = isinstance(value._meta, np.ma.MaskedArray)
    else:
        masked = np.ma.is_masked(value)
        value = np.asarray(value)
    if masked:
        raise ValidationError(
            f"{where}: is a masked array, and its mask would be lost: fill it "
            "(`numpy.ma.filled`, or `dask.array.ma.filled` for a dask array) and flag the masked "
            "pixels in a DQ array"
        )
    return value


def cast_array(spec: FieldSpec, array: Any, where: str) -> Any:
    """Return an array in the type of its field.

    Parameters
    ----------
    spec : FieldSpec
        The field's specification.
    array : ndarray or dask array
        The values.
    where : str
        The model and field, for messages.

    Returns
    -------
    ndarray or dask array
        The array in the field's type. Values that an integer field cannot hold are an error; in
        a dask array they are found when it is computed.

    Raises
    ------
    ValidationError
        If dimensions, type or values do not fit.
    """
    check_dimensions(spec, array.ndim, where)
    wanted = spec.dtype
    if wanted is None:
        return array
    if not needs_value_check(array.dtype, wanted, where):
        return array.astype(wanted)
    if is_dask_array(array):
        import dask.array as da  # slow to import; the user has done so

        checked = partial(cast_exactly, dtype=wanted, where=where)
        return da.map_blocks(checked, array, dtype=wanted)
    return cast_exactly(array, wanted, where)


def needs_value_check(found: np.dtype[Any], wanted: np.dtype[Any], where: str) -> bool:
    """Return whether a cast is exact for some values only, so that each must be checked.

    Raises
    ------
    ValidationError
        If the cast is never allowed.
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
        If the type cannot hold one of them, because it is out of range, a fraction or NaN.
    """
    low, stop = (0, 2) if dtype.kind == "b" else _range(dtype)
    if values.dtype.kind == "f":
        # Both limits are powers of two, which floats of any width hold exactly or which exceed
        # their range. A lower limit beyond the range would become -inf, and accept it.
        least = max(float(low), float(np.finfo(values.dtype).min))
        with np.errstate(invalid="ignore", over="ignore"):
            fine = (values >= least) & (values < float(stop)) & (values == np.trunc(values))
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
    """Return the lowest value of an integer type, and its highest value plus one."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max) + 1
