"""Reproducible FITS files: the same input gives the same bytes."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

DATE = "2024-01-01T00:00:00.000"  # the date of every file, so that bytes do not depend on the clock

Card = tuple[str, Any, str]


@dataclass(frozen=True)
class Extension:
    """One image or table (a structured array) of a file."""

    name: str
    data: NDArray[Any]
    cards: Sequence[Card] = field(default_factory=tuple)


def write_fits(path: Path, cards: Iterable[Card], extensions: Sequence[Extension]) -> None:
    """Write a FITS file atomically, replacing an existing one.

    Parameters
    ----------
    path : Path
        The file; its folder is created if necessary.
    cards : iterable of (keyword, value, comment)
        The primary header; FILENAME and DATE are added.
    extensions : sequence of Extension
    """
    primary = fits.PrimaryHDU()
    primary.header["DATE"] = (DATE, "UTC date file created")
    primary.header["FILENAME"] = (path.name, "Name of the file")
    _add_cards(primary.header, cards)
    hdus = fits.HDUList([primary, *(_as_hdu(extension) for extension in extensions)])
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is unpredictable, so that nobody can place a link there.
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    hdus.writeto(part, output_verify="exception")
    part.replace(path)


def _as_hdu(extension: Extension) -> fits.ImageHDU | fits.BinTableHDU:
    """Return the HDU of an extension."""
    is_table = extension.data.dtype.names is not None
    hdu_type = fits.BinTableHDU if is_table else fits.ImageHDU
    hdu = hdu_type(np.ascontiguousarray(extension.data), name=extension.name)
    _add_cards(hdu.header, extension.cards)
    return hdu


def _add_cards(header: fits.Header, cards: Iterable[Card]) -> None:
    """Add cards to a header in order."""
    for keyword, value, comment in cards:
        header[keyword] = (value, comment)
