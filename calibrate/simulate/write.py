"""Reproducible FITS and ASDF files: the same input gives the same bytes."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits
from numpy.typing import NDArray

DATE = "2024-01-01T00:00:00.000"  # the date of every file, so that bytes do not depend on the clock

Card = tuple[str, Any, str]

_ASDF_START = """#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
"""


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
    _write_whole(path, lambda part: hdus.writeto(part, output_verify="exception"))


def write_asdf(path: Path, tree: Mapping[str, Any]) -> None:
    """Write an ASDF file without binary blocks atomically, replacing an existing one."""
    text = yaml.safe_dump(dict(tree), default_flow_style=None, width=100, sort_keys=True)
    _write_whole(path, lambda part: part.write_text(f"{_ASDF_START}{text}...\n"))


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is unpredictable, so that no other user can place a link there.
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    write(part)
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
