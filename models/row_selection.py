"""Make models whose frames consist of the rows, or of regions, of another model's frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import numpy.typing as npt

from calbatch.models.arrays import GridField
from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import Reader
from calbatch.models.tiling.plan import PlanNode, SourceNode
from calbatch.models.tiling.row_readers import ChosenRows

if TYPE_CHECKING:
    from calbatch.models.datamodels import RampModel
    from calbatch.models.model import DataModel

Model = TypeVar("Model", bound="DataModel")


def select_rows(model: RampModel, rows: npt.NDArray[np.intp]) -> RampModel:
    """Return a model that has only some rows of each array, without reading anything.

    Its frame, and therefore its tiles, are smaller. The operations recorded so far run again
    whenever its pixels are read.

    Parameters
    ----------
    model : RampModel
        The model, whose arrays must not depend on assigned dask arrays or reductions.
    rows : ndarray of int
        The rows, in ascending order.

    Raises
    ------
    ModelError
        If the arrays depend on such arrays or reductions, or the rows are not in ascending order
        or lie outside the frame.
    """
    frame = model.frame
    if np.any(np.diff(rows) <= 0) or rows[0] < 0 or rows[-1] >= frame[0]:
        raise ModelError(f"{model.path}: cannot select rows that are not in order within {frame}")
    part = model.copy()
    content = part._content
    tip = cast("PlanNode", content.node)
    fields = content.on_grid
    content.node = SourceNode(
        {p.key: ChosenRows(tip, p.key, p.shape, p.dtype, rows) for p in fields.values()},
        (rows.size, frame[1]),
    )
    content.on_grid = {
        name: replace(p, shape=(*p.shape[:-2], rows.size, frame[1])) for name, p in fields.items()
    }
    return part


def rearrange_frame(
    model: Model, frame: tuple[int, int], place: Callable[[str, Reader], Reader | None]
) -> Model:
    """Return a model whose pixels are moved to another frame, without reading any pixels.

    Parameters
    ----------
    model : DataModel
        The model, whose arrays must not depend on assigned dask arrays or reductions.
    frame : (int, int)
        Rows and columns of the result.
    place : callable
        Takes the name of a field and a reader of it, and returns a reader with the new rows and
        columns; None drops the field.

    Raises
    ------
    ModelError
        If an array depends on such arrays or reductions.
    """
    part = model.copy()
    content = part._content
    tip = cast("PlanNode", content.node)
    every = np.arange(model.frame[0])
    readers = {}
    for name, p in content.on_grid.items():
        reader = model.reader(name) or ChosenRows(tip, p.key, p.shape, p.dtype, every)
        moved = place(name, reader)
        if moved is not None:
            readers[name] = moved
    content.node = SourceNode(readers, frame)
    content.on_grid = {name: GridField(name, r.shape, r.dtype) for name, r in readers.items()}
    return part
