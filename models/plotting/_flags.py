"""Flags of the pixels of a plane, all of which count, even if only some pixels are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from calbatch.models.plotting._pixels import Part, find_reader, read_parts
from calbatch.models.statistics.flag_counts import BITS, count_flags

if TYPE_CHECKING:
    from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

_BAND = 1 << 22
"""Approximate number of pixels whose flags are held at once."""


@dataclass(frozen=True)
class FlagPlane:
    """Flags of a plane.

    Attributes
    ----------
    bits : ndarray of uint32, shape (rows, columns)
        Flags of each drawn pixel, which stands for n x n pixels: those that any of them has.
    counts : mapping
        Number of pixels of the whole plane with each flag, by name.
    """

    bits: npt.NDArray[np.uint32]
    counts: Mapping[str, int]


def read_with_flags(
    model: DataModel, name: str, part: Part, fields: Mapping[str, int], dq: Mapping[str, int]
) -> tuple[Array, FlagPlane]:
    """Return the values of a plane, and the flags of all of its pixels.

    Flags in files are read in bands of rows; those that are computed are held as a whole, because
    they are computed together with the values.

    Parameters
    ----------
    model : DataModel
        The model.
    name : str
        The array of the values.
    part : Part
        The plane, of which every n-th pixel of every n-th row is drawn.
    fields : mapping
        The arrays of flags, and the number of leading axes that each shares with the values.
    dq : mapping
        The bits of the flags to count, by name.
    """
    step = part.rows.step
    parts = {f: Part(part.index[:n], slice(None), slice(None)) for f, n in fields.items()}
    computed = {f: each for f, each in parts.items() if find_reader(model, f) is None}
    found = read_parts(model, {name: part, **computed})
    values = found[name] if name not in computed else found[name][..., ::step, ::step]
    *_, height, width = model.shape_of(name) or ()
    bits = np.empty(values.shape[-2:], np.uint32)
    counts = np.zeros(BITS + 1, np.int64)
    rows = step * max(1, _BAND // max(1, width * step))
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        band = np.zeros((stop - start, width), np.uint32)
        for field, each in parts.items():
            if field in computed:
                flags = found[field][..., start:stop, :]
            else:
                flags = _read_rows(model, field, each, start, stop)
            band |= flags.reshape(band.shape).astype(np.uint32)
        counts += count_flags(band)
        bits[start // step : -(-stop // step)] = _combine(band, step)
    by_name = {flag: int(counts[bit.bit_length() - 1]) for flag, bit in dq.items()}
    return values.reshape(bits.shape), FlagPlane(bits, by_name)


def _read_rows(model: DataModel, field: str, part: Part, start: int, stop: int) -> Array:
    """Return some rows of a plane that is in a file."""
    return read_parts(model, {field: Part(part.index, slice(start, stop), part.columns)})[field]


def _combine(flags: Array, step: int) -> Array:
    """Return the flags that occur in each n x n block of pixels."""
    if step == 1:
        return flags
    for axis in (0, 1):
        flags = np.bitwise_or.reduceat(flags, range(0, flags.shape[axis], step), axis=axis)
    return flags
