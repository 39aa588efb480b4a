"""The weights with which IRS2 combines the reference output and the interleaved pixels.

Source: jwst 3.0.0 ``refpix`` step; the IRS2 reference of type ``refpix``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.steps.refpix.transform import (
    SAMPLES,
    Spectrum,
    make_hermitian,
    order_frequencies,
)
from calbatch.models.errors import FileError, explain_errors
from calbatch.models.fits.layout import Hdu, read_layout
from calbatch.models.fits.tables import read_table
from calbatch.models.storage.stamps import Stamp

Array = npt.NDArray[Any]

AMPLIFIERS = 4
VALUES = 2 * SAMPLES
"""Rows of the table: real and imaginary parts alternate."""
COLUMNS = tuple(f"{name}_{n}" for name in ("alpha", "beta") for n in range(AMPLIFIERS))
LIST_COLUMNS = ("output", "odd_even", "mask")


@dataclass(frozen=True, kw_only=True)
class ReferenceWeights:
    """The weights of one detector, and its bad reference pixels.

    Attributes
    ----------
    output, interleaved : ndarray
        Hermitian complex64, (amplifiers, 45, 16384): weights of the spectra of the reference
        output and of an amplifier's own reference pixels.
    bad : tuple of (int, int, int)
        Rows of the table of bad reference pixels: output, odd_even and mask.
    """

    output: Spectrum
    interleaved: Spectrum
    bad: tuple[tuple[int, int, int], ...]


def require_weights(path: str) -> None:
    """Raise an error unless a file can be an IRS2 reference; only headers are read.

    Raises
    ------
    ReferenceFileError
        If it has no table of weights, or one of another length.
    """
    rows = _weights_hdu(path).shape[0]
    if rows != VALUES:
        raise ReferenceFileError(
            f"{path}: its IRS2 table must have {VALUES} rows, twice the number of samples of a "
            f"frame, but has {rows}"
        )


def _weights_hdu(path: str) -> Hdu:
    try:
        hdu = read_layout(path).find("IRS2")
    except FileError as error:
        raise ReferenceFileError(str(error)) from error
    if hdu is None or hdu.kind != "table":
        raise ReferenceFileError(
            f"{path}: has no IRS2 table, so it is not a refpix reference for IRS2"
        )
    return hdu


@lru_cache(maxsize=2)
def read_weights(path: str, stamp: Stamp) -> ReferenceWeights:
    """Read the weights of a reference; a process keeps those of both detectors.

    Parameters
    ----------
    path : str
        The file.
    stamp : Stamp
        Its current state: the weights are read again when it changes.

    Raises
    ------
    ReferenceFileError
        If the file has changed, lacks a column, or has values that are of another kind.
    """
    require_weights(path)
    hdu = _weights_hdu(path)
    try:
        with explain_errors(path, "its tables of IRS2 cannot be read"):
            return _read_weights(path, hdu)
    except FileError as error:
        raise ReferenceFileError(str(error)) from error


def _read_weights(path: str, weights: Hdu) -> ReferenceWeights:
    table = _columns(path, weights, COLUMNS)
    alpha, beta = (
        np.stack([_as_filter(table[f"{name}_{n}"]) for n in range(AMPLIFIERS)])
        for name in ("alpha", "beta")
    )
    hdu = read_layout(path).find("DQ")
    listed = {} if hdu is None else _columns(path, hdu, LIST_COLUMNS)
    columns = (map(int, listed[name]) for name in LIST_COLUMNS) if listed else ()
    bad = tuple(zip(*columns, strict=True))
    for number, (output, odd_even, _) in enumerate(bad, 1):
        if not 0 <= output <= AMPLIFIERS or odd_even not in (1, 2):
            raise FileError(
                path,
                f"row {number} of DQ has output {output} and odd_even {odd_even}; outputs are 0 to "
                f"{AMPLIFIERS}, and odd_even is 1 or 2",
            )
    # The files' alpha weights the reference output, beta the interleaved pixels.
    return ReferenceWeights(output=alpha, interleaved=beta, bad=bad)


def _columns(path: str, hdu: Hdu, names: tuple[str, ...]) -> dict[str, Array]:
    table = read_table(hdu)
    found = {name.lower(): table[name] for name in table.dtype.names or ()}
    missing = [name for name in names if name not in found]
    if missing:
        raise FileError(path, f"{hdu.label} lacks the columns {', '.join(missing)}")
    return found


def _as_filter(values: Array) -> Spectrum:
    """Return the Hermitian part of a table column, in the order of spectra."""
    numbers = np.asarray(values, np.float32)
    weights = order_frequencies(make_hermitian(numbers[0::2] + 1j * numbers[1::2]))
    result: Spectrum = weights.astype(np.complex64)
    return result
