"""Reproducible FITS and ASDF files: the same input gives the same bytes."""

import secrets
import struct
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

_ASDF = "tag:stsci.edu:asdf/"
_ROOT = b"!core/asdf-1.1.0"


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
    _write_atomically(path, lambda part: hdus.writeto(part, output_verify="exception"))


def write_asdf(path: Path, tree: Mapping[str, Any]) -> None:
    """Write an ASDF file atomically, replacing an existing one.

    Parameters
    ----------
    path : Path
        The file; its folder is created if necessary.
    tree : mapping
        Nested mappings of texts, numbers and arrays; each array is written to a block.
    """
    blocks: list[NDArray[Any]] = []
    dumper: Any = type("_ArrayDumper", (yaml.SafeDumper,), {})
    dumper.add_representer(np.ndarray, lambda own, array: _describe_array(own, array, blocks))
    text = yaml.dump(
        dict(tree),
        Dumper=dumper,
        encoding="utf-8",
        version=(1, 1),
        tags={"!": _ASDF},
        explicit_start=True,
        explicit_end=True,
    )
    content = b"#ASDF 1.0.0\n#ASDF_STANDARD 1.6.0\n" + text.replace(b"\n---", b"\n--- " + _ROOT, 1)
    content += b"".join(map(_as_block, blocks))
    _write_atomically(path, lambda part: part.write_bytes(content))


def _describe_array(
    dumper: yaml.SafeDumper, array: NDArray[Any], blocks: list[NDArray[Any]]
) -> yaml.MappingNode:
    """Return the node of an array and add the array to the blocks."""
    blocks.append(array)
    node = {
        "source": len(blocks) - 1,
        "datatype": "bool8" if array.dtype == np.bool_ else array.dtype.name,
        "byteorder": "little",
        "shape": list(array.shape),
    }
    return dumper.represent_mapping(f"{_ASDF}core/ndarray-1.1.0", node)


def _as_block(array: NDArray[Any]) -> bytes:
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    size = len(data)
    header = struct.pack(">8x3Q16x", size, size, size)  # bytes allocated, stored and expanded
    return b"\xd3BLK" + struct.pack(">H", len(header)) + header + data


def _write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is unpredictable, so that nobody can place a link there.
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
