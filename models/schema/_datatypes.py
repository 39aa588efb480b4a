"""The types of arrays and of table columns in schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calbatch.models.errors import SchemaError

_DATATYPES = {
    **{name: np.dtype(name) for name in ("int8", "int16", "int32", "int64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    **{name: np.dtype(name) for name in ("float32", "float64", "complex64", "complex128")},
    "bool8": np.dtype(bool),
}


@dataclass(frozen=True)
class ColumnSpec:
    """Specification of a table column: name, element type, cell shape (None: any) and unit."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None = None
    unit: str | None = None


def read_datatype(
    definition: Any,
) -> tuple[np.dtype[Any] | None, tuple[ColumnSpec, ...] | None]:
    """Return the type of an array, or that of a table's rows and its columns.

    Raises
    ------
    SchemaError
        If a type is unknown, or a column lacks its name or type.
    """
    if definition is None:
        return None, None
    if isinstance(definition, list) and all(isinstance(column, Mapping) for column in definition):
        columns = tuple(_column(column) for column in definition)
        return np.dtype([(c.name, c.dtype, c.shape or ()) for c in columns]), columns
    return _scalar(definition), None


def _column(definition: Mapping[str, Any]) -> ColumnSpec:
    if "name" not in definition or "datatype" not in definition:
        raise SchemaError(f"a column needs a name and a datatype, found {dict(definition)!r}")
    shape = tuple(definition["shape"]) if "shape" in definition else None
    unit = definition.get("unit")
    return ColumnSpec(str(definition["name"]), _scalar(definition["datatype"]), shape, unit)


def _scalar(definition: Any) -> np.dtype[Any]:
    match definition:
        case str() if definition in _DATATYPES:
            return _DATATYPES[definition]
        case ["ascii", int(length)]:
            return np.dtype(f"S{length}")
        case ["ucs4", int(length)]:
            return np.dtype(f"U{length}")
    allowed = ", ".join(_DATATYPES)
    raise SchemaError(f"unknown datatype {definition!r}: one of {allowed}, [ascii, n], [ucs4, n]")
