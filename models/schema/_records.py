"""Specifications of what a schema names: metadata, arrays, tables and parts of trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from calbatch.models.schema._datatypes import ColumnSpec
from calbatch.models.schema.source import SchemaNode

PRIMARY = "PRIMARY"
"""Name of a file's first HDU."""


@dataclass(frozen=True)
class KeywordSpec:
    """Specification of a metadata value.

    Attributes
    ----------
    path : str
        Dotted path in the model: ``meta.instrument.name``.
    keyword, hdu : str
        FITS keyword, None for metadata without one, and the extension of its card.
    title : str
        Short description; the comment of the FITS card.
    type : str, optional
        JSON type of the value.
    enum, pattern, minimum, maximum
        Restrictions on the value.
    others : mapping
        The schema's other rules (``anyOf``, ``items``, ...), as JSON schema.
    default : Any
        The schema's default, for information: reading unset metadata gives None.
    required : bool
        True if a file without the value is invalid.
    """

    path: str
    keyword: str | None = None
    hdu: str = PRIMARY
    title: str = ""
    type: str | None = None
    enum: tuple[Any, ...] | None = None
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    others: Mapping[str, Any] = field(default_factory=dict)
    default: Any = None
    required: bool = False

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The names in the path."""
        return tuple(self.path.split("."))

    @cached_property
    def branches(self) -> tuple[str, ...]:
        """The dotted paths of the enclosing branches, outermost first."""
        return tuple(".".join(self.parts[:n]) for n in range(1, len(self.parts)))


@dataclass(frozen=True)
class FieldSpec:
    """Specification of an array or table.

    Attributes
    ----------
    name, hdu, title : str
        Attribute of the model, name of the FITS extension, and short description.
    dtype : numpy.dtype, optional
        Type in memory, in native byte order; for a table, the type of a row.
    ndim, max_ndim : int, optional
        Required or maximum number of dimensions.
    default : Any, optional
        Fill value of an absent array.
    columns : tuple of ColumnSpec, optional
        Columns of a table; None for an array.
    required : bool
        True if a file without the field is invalid.
    """

    name: str
    hdu: str
    title: str = ""
    dtype: np.dtype[Any] | None = None
    ndim: int | None = None
    max_ndim: int | None = None
    default: Any = None
    columns: tuple[ColumnSpec, ...] | None = None
    required: bool = False

    @property
    def is_table(self) -> bool:
        """True for a table."""
        return self.columns is not None


@dataclass(frozen=True)
class PartSpec:
    """Specification of a part of a file that holds a tree, beside its metadata.

    Attributes
    ----------
    name, title : str
        Attribute of the model, and short description.
    node : SchemaNode
        The part's schema.
    required : bool
        True if a file without the part is invalid.
    """

    name: str
    title: str
    node: SchemaNode
    required: bool = False
