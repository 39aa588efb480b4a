"""Exposures whose header contradicts their arrays: what is told, and what is refused.

``CHECKS`` is the one table of them, and docs/models.md has it in words. Pixels go by the arrays;
a file is refused where arrays are of no use without what the header says of them. That an image is
cut short, a table's columns do not fill its rows, or an HDU is of another kind than its name says
is found before, when the layout is read and the file is opened.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from calbatch.models.errors import FileError, ValidationWarning
from calbatch.models.fits.layout import Hdu, Layout
from calbatch.models.fits.readers import RowReader
from calbatch.models.schema.meta import get_path
from calbatch.models.schema.spec import Schema

_EXPOSURES = ("level1b", "ramp", "image", "ifuimage", "cube")
_RAMPS = ("level1b", "ramp")
_SAMPLED_ROWS = 8


@dataclass(frozen=True)
class FileContents:
    """What a file says of itself.

    Attributes
    ----------
    schema : Schema
        What it was opened by.
    layout : Layout
        Its HDUs.
    found : mapping
        Field to its HDU.
    tree : mapping
        Its metadata.
    """

    schema: Schema
    layout: Layout
    found: Mapping[str, Hdu]
    tree: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the science array."""
        return self.found["data"].shape

    def number(self, path: str) -> int | None:
        """Return a whole number of the metadata, or None."""
        value = get_path(self.tree, f"meta.{path}")
        return value if type(value) is int else None

    @cached_property
    def is_striped(self) -> bool:
        """Whether rows or groups of the array are not the detector's one by one."""
        stripes = self.number("subarray.num_superstripe") or 0
        reads = self.number("subarray.multistripe_reads1")
        readpatt = str(get_path(self.tree, "meta.exposure.readpatt") or "")
        return stripes > 0 or reads is not None or "IRS2" in readpatt


def _groups(file: FileContents) -> Iterator[str]:
    wanted = file.number("exposure.ngroups")
    if file.schema.name in _RAMPS and not file.is_striped and wanted not in (None, file.shape[1]):
        yield f"NGROUPS = {wanted}, but the groups in SCI are {file.shape[1]}: calibrating those"


def _integrations(file: FileContents) -> Iterator[str]:
    if file.schema.name not in _RAMPS or file.is_striped:
        return  # of rates it was told when they were made
    first, last = (file.number(f"exposure.integration_{end}") for end in ("start", "end"))
    if first is not None and last is not None:
        wanted: int | None = last - first + 1
        said = f"INTSTART = {first} and INTEND = {last}"
    else:
        wanted = file.number("exposure.nints")
        said = f"NINTS = {wanted}"
        if (file.number("exposure.segment_total") or 1) > 1:  # NINTS counts all segments
            return
    if wanted not in (None, file.shape[0]):
        yield f"{said}, but the integrations in SCI are {file.shape[0]}: calibrating those"


def _truncated_array(file: FileContents) -> Iterator[str]:
    """Yield where an array is shorter than its header says, and its pixels go on behind it."""
    last = file.layout.hdus[-1]
    if last is file.found["data"] and not file.layout.is_clean:
        for fault in (*_groups(file), *_integrations(file)):
            said = fault.rpartition(":")[0]
            yield f"{said}, and the file goes on behind them: NAXIS3 or NAXIS4 of SCI is wrong"


def _frame(file: FileContents) -> Iterator[str]:
    sizes = file.number("subarray.xsize"), file.number("subarray.ysize")
    rows, columns = file.shape[-2:]
    if None not in sizes and sizes != (columns, rows) and not file.is_striped:
        said = f"SUBSIZE1 x SUBSIZE2 = {sizes[0]} x {sizes[1]}"
        yield f"{said}, but its arrays have {columns} x {rows} pixels"


def _missing_offset(file: FileContents) -> Iterator[str]:
    if _is_signed(file) and _mostly_negative(file.found["data"]):
        yield (
            "SCI holds 16-bit integers without BZERO = 32768, and most of the first group is "
            "below zero: the offset of unsigned counts is lost; put it back with "
            "astropy.io.fits.setval(FILE, 'BZERO', "
            f"ext={file.found['data'].index}, value=32768)"
        )


def _signed_counts(file: FileContents) -> Iterator[str]:
    if _is_signed(file):
        yield "SCI holds 16-bit integers without BZERO = 32768: its counts are taken as signed"


def _is_signed(file: FileContents) -> bool:
    return file.schema.name in _RAMPS and file.found["data"].dtype == np.int16


def _mostly_negative(science: Hdu) -> bool:
    reader = RowReader(science).planes((slice(0, 1), slice(0, 1)))
    rows, columns = reader.shape[-2:]
    start = max(0, (rows - _SAMPLED_ROWS) // 2)
    sample = reader.read((start, min(rows, start + _SAMPLED_ROWS)), (0, columns))
    return 2 * int(np.count_nonzero(sample < 0)) > sample.size


def _planes(file: FileContents) -> Iterator[str]:
    """Yield where an array that belongs to each science pixel has another shape."""
    if file.schema.name in _RAMPS:
        return
    for name in ("err", "dq", "var_poisson", "var_rnoise", "var_flat"):
        hdu = file.found.get(name)
        if hdu is not None and hdu.shape != file.shape:
            yield f"{hdu.name} has the shape {hdu.shape}, SCI has {file.shape}"


def unusable_fields(file: FileContents) -> Iterator[tuple[str, str]]:
    """Yield fields of a ramp that are left out, as jwst leaves them out, and why."""
    if file.schema.name not in _RAMPS:
        return
    shape = file.shape
    wanted = {
        **{"pixeldq": shape[-2:], "groupdq": shape},
        **{"zeroframe": (shape[0], *shape[-2:]), "refout": shape[:2]},
    }
    for name, expected in wanted.items():
        hdu = file.found.get(name)
        if hdu is not None and hdu.shape[: len(expected)] != expected:
            what = f"{hdu.name} has the shape {hdu.shape}, SCI has {shape}"
            yield name, f"{what}: {hdu.name} is left out"


def _surplus_flag_bits(file: FileContents) -> Iterator[str]:
    """Yield flags that are stored in more bits than they have."""
    for name, hdu in file.found.items():
        wanted = file.schema.fields[name].dtype
        if name.endswith("dq") and wanted is not None and hdu.dtype.itemsize > wanted.itemsize:
            bits = 8 * wanted.itemsize
            yield f"{hdu.name} is stored as {hdu.dtype}: flags beyond {bits} bits are left out"


def _times(file: FileContents) -> Iterator[str]:
    hdu = file.found.get("int_times")
    if hdu is None or not hdu.shape[0] or file.schema.name not in _RAMPS or file.is_striped:
        return
    if hdu.shape[0] not in (file.shape[0], file.number("exposure.nints")):
        yield f"INT_TIMES has {hdu.shape[0]} rows, but SCI has {file.shape[0]} integrations"


def _repeats(file: FileContents) -> Iterator[str]:
    named = {spec.hdu.upper() for spec in file.schema.fields.values()}
    count = Counter((h.name, h.version) for h in file.layout.hdus if h.name in named)
    for (name, version), times in count.items():
        if times > 1:
            yield f"it has {times} extensions {name} of EXTVER {version}: the first counts"


@dataclass(frozen=True)
class Check:
    """A contradiction: what finds it, and whether the file is refused for it or goes on."""

    find: Callable[[FileContents], Iterator[str]]
    refused: bool = False


CHECKS = (
    Check(_truncated_array, refused=True),
    Check(_missing_offset, refused=True),
    Check(_planes, refused=True),
    Check(_signed_counts),
    Check(_groups),
    Check(_integrations),
    Check(_frame),
    Check(_surplus_flag_bits),
    Check(_times),
    Check(_repeats),
    Check(lambda file: (why for _, why in unusable_fields(file))),
)
"""Those that end it come first."""


def check_contradictions(file: FileContents) -> None:
    """Refuse an exposure that contradicts itself, or warn of it: one warning a contradiction.

    Raises
    ------
    FileError
        The first contradiction that no array can be trusted after.
    """
    if file.schema.name not in _EXPOSURES or "data" not in file.found:
        return
    for one in CHECKS:
        for fault in one.find(file):
            if one.refused:
                raise FileError(file.layout.path, fault)
            warnings.warn(f"{file.layout.path}: {fault}", ValidationWarning, stacklevel=4)
