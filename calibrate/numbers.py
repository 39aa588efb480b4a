"""Read numbers of a header that steps calculate with.

A card of another type, such as ``NFRAMES = '1'``, is an error. Treating it as absent would
calibrate the exposure as a different kind of exposure.
"""

from __future__ import annotations

from typing import Any

from calbatch.calibrate.errors import StepError
from calbatch.models.model import DataModel


def header_number(model: DataModel, path: str) -> Any:
    """Return a number or logical value of the metadata, or None if the header lacks the card.

    Parameters
    ----------
    model : DataModel
        An exposure or a reference.
    path : str
        Metadata path, e.g. ``meta.exposure.nframes``.

    Raises
    ------
    StepError
        If the card holds a value of another type.
    """
    value = model[path]
    if value is None or isinstance(value, str):
        fault = model.misread_reason(path)
        if fault:
            raise StepError(f"{model.path or type(model).__name__}: {fault}")
    return value


def required_number(model: DataModel, path: str, *, positive: bool = False) -> Any:
    """Return a number of the metadata, which must be present.

    Parameters
    ----------
    model : DataModel
        An exposure or a reference.
    path : str
        Metadata path, e.g. ``meta.exposure.group_time``.
    positive : bool
        True if the number must be above zero.

    Raises
    ------
    StepError
        If the header lacks the card, or its value is not such a number.
    """
    value = header_number(model, path)
    where, keyword = model.path or type(model).__name__, model.schema.keywords[path].keyword
    if value is None:
        raise StepError(f"{where}: the header lacks {keyword}")
    if positive and not value > 0:
        raise StepError(f"{where}: {keyword} must be positive, is {value}")
    return value
