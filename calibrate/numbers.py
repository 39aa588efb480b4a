"""The numbers of a header that steps calculate with.

A card that holds something else, such as ``NFRAMES = '1'``, is not the same as none: going on as
if it were absent would calibrate the exposure as another kind of exposure.
"""

from __future__ import annotations

from typing import Any

from calbatch.calibrate.errors import StepError
from calbatch.models.model import DataModel


def header_number(model: DataModel, path: str) -> Any:
    """Return a number or logical value of the metadata, or None where the header has no such card.

    Parameters
    ----------
    model : DataModel
        An exposure or a reference.
    path : str
        Such as ``meta.exposure.nframes``.

    Raises
    ------
    StepError
        The card is there and holds something else.
    """
    value = model[path]
    if value is None or isinstance(value, str):
        fault = model.misread(path)
        if fault:
            raise StepError(f"{model.path or type(model).__name__}: {fault}")
    return value


def required_number(model: DataModel, path: str, *, positive: bool = False) -> Any:
    """Return a number of the metadata that must be there.

    Parameters
    ----------
    model : DataModel
        An exposure or a reference.
    path : str
        Such as ``meta.exposure.group_time``.
    positive : bool
        Whether it must be above zero.

    Raises
    ------
    StepError
        There is no such card, or its value is no such number.
    """
    value = header_number(model, path)
    where, keyword = model.path or type(model).__name__, model.schema.keywords[path].keyword
    if value is None:
        raise StepError(f"{where}: the header lacks {keyword}")
    if positive and not value > 0:
        raise StepError(f"{where}: {keyword} must be positive, is {value}")
    return value
