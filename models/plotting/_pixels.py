"""Pixels to be drawn: the plane of an array that is meant, and as few reads as it takes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from dask.base import compute

from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import Reader
from calbatch.models.tiling.tile import Array

if TYPE_CHECKING:
    from calbatch.models.model import DataModel

LARGEST = 2048
"""Maximum number of rows and of columns that are drawn; of larger frames, every n-th one is."""

_AXES = ("integration", "group")


@dataclass(frozen=True)
class Part:
    """The part of an array that is drawn.

    Attributes
    ----------
    index : tuple of slice
        Indices along the leading axes.
    rows, columns : slice
        Rows and columns, in steps if only some are drawn.
    """

    index: tuple[slice, ...]
    rows: slice
    columns: slice

    @classmethod
    def of_plane(cls, index: tuple[int, ...], step: int) -> Part:
        """Return every n-th pixel of every n-th row of a plane."""
        every = slice(None, None, step)
        return cls(tuple(slice(i, i + 1) for i in index), every, every)


def choose_array(model: DataModel, name: str | None) -> str:
    """Return the name of the array to draw: the one that was named, or the primary one.

    Raises
    ------
    ModelError
        If the model has no such array, or it is a table or has fewer than two axes.
    """
    chosen = name or model.primary
    shape = model.shape_of(chosen)
    if shape is None:
        there = [n for n, s in model.schema.fields.items() if model.has(n) and not s.is_table]
        held = ", ".join(there) or "no arrays"
        raise ModelError(f"{model._where}: has no {chosen!r} to plot; it has {held}")
    if model.schema.fields[chosen].is_table or len(shape) < 2:
        raise ModelError(f"{model._where}: {chosen} is not an image: it has no rows and columns")
    return chosen


def choose_plane(
    model: DataModel, name: str, integration: int | None, group: int | None
) -> tuple[int, ...]:
    """Return the index of a plane along the leading axes of an array.

    By default, it is the first integration, and its last group.

    Raises
    ------
    ModelError
        If the array does not have such an axis, or the index is outside of it.
    """
    leading = (model.shape_of(name) or ())[:-2]
    given = (integration, group)
    if len(leading) > len(given):
        raise ModelError(
            f"{model._where}: {name} has {len(leading) + 2} axes; plots have at most 4"
        )
    for axis, value in zip(_AXES[len(leading) :], given[len(leading) :], strict=True):
        if value is not None:
            raise ModelError(
                f"{model._where}: {name} has no axis for {axis}={value}: its shape is "
                f"{model.shape_of(name)}"
            )
    return tuple(
        check_index(model, axis, default if value is None else value, length)
        for axis, value, default, length in zip(_AXES, given, (0, -1), leading, strict=False)
    )


def check_index(model: DataModel, axis: str, value: Any, length: int) -> int:
    """Return an index along an axis, counted from its start.

    Raises
    ------
    ModelError
        If it is not an integer, or outside of the axis.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ModelError(f"{model._where}: {axis} must be an integer, not {value!r}") from error
    if not -length <= number < length:
        raise ModelError(
            f"{model._where}: {axis}={number} does not exist; there are 0 to {length - 1}"
        )
    return number % length


def choose_step(frame: tuple[int, int]) -> int:
    """Return n if every n-th row and column of a frame is drawn; 1 unless the frame is large."""
    return -(-max(frame) // LARGEST)


def read_parts(model: DataModel, parts: Mapping[str, Part]) -> dict[str, Array]:
    """Return parts of arrays, each with the axes of its array.

    Pixels in files are read alone; computed arrays are computed together, so that the tiles they
    share are computed once.

    Parameters
    ----------
    model : DataModel
        The model.
    parts : mapping
        The part of each array, by its name.
    """
    found: dict[str, Any] = {}
    for name, part in parts.items():
        reader = find_reader(model, name)
        if reader is None:
            found[name] = getattr(model, name)[(*part.index, part.rows, part.columns)]
        else:
            found[name] = _read(reader, part)
    (computed,) = compute(found)
    return {name: np.asarray(array) for name, array in computed.items()}


def find_reader(model: DataModel, name: str) -> Reader | None:
    """Return the reader of an array whose pixels are in a file; None for any other."""
    return model.reader(name) if name in model._content.on_grid else None


def _read(reader: Reader, part: Part) -> npt.NDArray[Any]:
    """Return a part of an array with its axes, reading only rows that are in it."""
    planes = reader.planes(part.index)
    height, width = planes.window.shape[-2:]
    rows, columns = range(*part.rows.indices(height)), range(*part.columns.indices(width))
    if rows.step == 1:
        found = planes.read((rows.start, rows.stop), (columns.start, columns.stop))
        return found[..., :: columns.step]
    bands = (planes.read((row, row + 1), (0, width))[..., columns] for row in rows)
    return np.concatenate(list(bands), axis=-2)
