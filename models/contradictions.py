"""Contradictions between the header of an exposure and its arrays: warnings and errors.

``CHECKS`` is the table of all checks, which docs/models.md describes. Pixels follow the arrays,
with a warning. A file is refused if its arrays are useless without the contradicted header values.
Truncated images, tables whose columns do not fill their rows, and HDUs of the wrong kind are found
earlier, when the layout is read and the file is opened.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from calbatch.models.errors import FileError, ValidationError, ValidationWarning, format_count
from calbatch.models.fits.layout import Hdu, Layout
from calbatch.models.fits.readers import RowReader
from calbatch.models.schema.meta import get_path
from calbatch.models.schema.spec import Schema

_RAMPS = ("level1b", "ramp", "superstripe_ramp")
_EXPOSURES = (*_RAMPS, "image", "ifuimage", "cube")
_PLANES = ("err", "dq", "var_poisson", "var_rnoise", "var_flat")
_SAMPLED_ROWS = 8


@dataclass(frozen=True)
class FileContents:
    """The HDUs and metadata of a file.

    Attributes
    ----------
    schema : Schema
        The schema with which the file was opened.
    layout : Layout
        The file's layout.
    field_hdus : mapping
        The HDU of each field.
    tree : mapping
        The metadata.
    """

    schema: Schema
    layout: Layout
    field_hdus: Mapping[str, Hdu]
    tree: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the science array."""
        return self.field_hdus["data"].shape

    def number(self, path: str) -> int | None:
        """Return an integer of the metadata, or None."""
        value = get_path(self.tree, f"meta.{path}")
        return value if type(value) is int else None

    @cached_property
    def is_striped(self) -> bool:
        """True if rows or groups of the array do not correspond to the detector's one to one."""
        stripes = self.number("subarray.num_superstripe") or 0
        reads = self.number("subarray.multistripe_reads1")
        readpatt = str(get_path(self.tree, "meta.exposure.readpatt") or "")
        return stripes > 0 or reads is not None or "IRS2" in readpatt


def _groups(file: FileContents) -> Iterator[str]:
    ngroups = file.number("exposure.ngroups")
    if file.schema.name in _RAMPS and not file.is_striped and ngroups not in (None, file.shape[1]):
        groups = file.shape[1]
        yield f"NGROUPS = {ngroups}, but the group count of SCI is {groups}: calibrating these"


def _integrations(file: FileContents) -> Iterator[str]:
    if file.schema.name not in _RAMPS or file.is_striped:
        return  # rates were checked as ramps
    first, last = (file.number(f"exposure.integration_{end}") for end in ("start", "end"))
    if first is not None and last is not None:
        integrations: int | None = last - first + 1
        claim = f"INTSTART = {first} and INTEND = {last}"
    else:
        integrations = file.number("exposure.nints")
        claim = f"NINTS = {integrations}"
        if (file.number("exposure.segment_total") or 1) > 1:  # NINTS counts all segments
            return
    if integrations not in (None, file.shape[0]):
        yield f"{claim}, but the integration count of SCI is {file.shape[0]}: calibrating these"


def _truncated_array(file: FileContents) -> Iterator[str]:
    """Yield contradictions of a last HDU that is followed by further pixels."""
    last = file.layout.hdus[-1]
    if last is file.field_hdus["data"] and not file.layout.is_clean:
        for fault in (*_groups(file), *_integrations(file)):
            claim = fault.rpartition(":")[0]
            yield f"{claim}, and more data follow: NAXIS3 or NAXIS4 of SCI is wrong"
        for fault in _frame(file):
            yield f"{fault}, and more data follow: NAXIS1 or NAXIS2 of SCI is wrong"


def _frame(file: FileContents) -> Iterator[str]:
    sizes = file.number("subarray.xsize"), file.number("subarray.ysize")
    rows, columns = file.shape[-2:]
    if None not in sizes and sizes != (columns, rows) and not file.is_striped:
        claim = f"SUBSIZE1 x SUBSIZE2 = {sizes[0]} x {sizes[1]}"
        yield f"{claim}, but its arrays have {columns} x {rows} pixels"


def _missing_offset(file: FileContents) -> Iterator[str]:
    if _is_signed(file) and _is_mostly_negative(file.field_hdus["data"]):
        yield (
            "SCI holds 16-bit integers without BZERO = 32768, and most of the first group is "
            "below zero: the offset of unsigned counts is lost; restore it with "
            "astropy.io.fits.setval(FILE, 'BZERO', "
            f"ext={file.field_hdus['data'].index}, value=32768)"
        )


def _signed_counts(file: FileContents) -> Iterator[str]:
    if _is_signed(file):
        yield "SCI holds 16-bit integers without BZERO = 32768: its counts are read as signed"


def _is_signed(file: FileContents) -> bool:
    return file.schema.name in _RAMPS and file.field_hdus["data"].dtype == np.int16


def _is_mostly_negative(science: Hdu) -> bool:
    reader = RowReader(science).planes((slice(0, 1), slice(0, 1)))
    rows, columns = reader.shape[-2:]
    start = max(0, (rows - _SAMPLED_ROWS) // 2)
    sample = reader.read((start, min(rows, start + _SAMPLED_ROWS)), (0, columns))
    return 2 * int(np.count_nonzero(sample < 0)) > sample.size


def companion_shapes(
    kind: str, shape: tuple[int, ...], stripes: int = 0
) -> dict[str, tuple[int, ...]]:
    """Return the shapes, or their leading axes, of the arrays that belong to a science array.

    Parameters
    ----------
    kind : str
        Name of the schema.
    shape : tuple of int
        Shape of the science array.
    stripes : int
        Number of superstripes.

    Returns
    -------
    dict
        By the name of the field; empty if the schema is not one of an exposure.
    """
    if kind in _RAMPS:
        planes = (stripes,) if kind == "superstripe_ramp" else ()
        return {
            **{"pixeldq": (*planes, *shape[-2:]), "groupdq": shape},
            **{"zeroframe": (shape[0], *shape[-2:]), "refout": shape[:2]},
        }
    return dict.fromkeys(_PLANES, shape) if kind in _EXPOSURES else {}


def _planes(file: FileContents) -> Iterator[str]:
    """Yield arrays that describe the science pixels but have another shape."""
    return (reason for _, reason in _misfits(file)) if file.schema.name not in _RAMPS else iter(())


def _misfits(file: FileContents) -> Iterator[tuple[str, str]]:
    """Yield fields that do not have the shape that belongs to the science array, and reasons."""
    stripes = file.number("subarray.num_superstripe") or 0
    for name, expected in companion_shapes(file.schema.name, file.shape, stripes).items():
        hdu = file.field_hdus.get(name)
        if hdu is not None and hdu.shape[: len(expected)] != expected:
            yield name, f"{hdu.name} has the shape {hdu.shape}, SCI has {file.shape}"


def _missing_zero_frame(file: FileContents) -> Iterator[str]:
    has_frames = get_path(file.tree, "meta.exposure.zero_frame") is True
    if file.schema.name in _RAMPS and has_frames and "zeroframe" not in file.field_hdus:
        yield "ZEROFRAM = T, but there is no ZEROFRAME extension: calibrating without zero frames"


def unusable_fields(file: FileContents) -> Iterator[tuple[str, str]]:
    """Yield fields of a ramp that are ignored, as in jwst, and the reasons."""
    if file.schema.name in _RAMPS:
        for name, reason in _misfits(file):
            yield name, f"{reason}: {file.field_hdus[name].name} is ignored"


def _surplus_flag_bits(file: FileContents) -> Iterator[str]:
    """Yield DQ arrays that are stored with more bits than flags have."""
    for name, hdu in file.field_hdus.items():
        dtype = file.schema.fields[name].dtype
        if name.endswith("dq") and dtype is not None and hdu.dtype.itemsize > dtype.itemsize:
            bits = 8 * dtype.itemsize
            yield f"{hdu.name} is stored as {hdu.dtype}: flags beyond {bits} bits are dropped"


def _times(file: FileContents) -> Iterator[str]:
    hdu = file.field_hdus.get("int_times")
    if hdu is None or not hdu.shape[0] or file.schema.name not in _RAMPS or file.is_striped:
        return
    if hdu.shape[0] not in (file.shape[0], file.number("exposure.nints")):
        rows = format_count(hdu.shape[0], "row")
        yield f"INT_TIMES has {rows}, but SCI has {format_count(file.shape[0], 'integration')}"


def _repeats(file: FileContents) -> Iterator[str]:
    names = {spec.hdu.upper() for spec in file.schema.fields.values()}
    count = Counter((h.name, h.version) for h in file.layout.hdus if h.name in names)
    for (name, version), times in count.items():
        if times > 1:
            yield f"it has {times} {name} extensions with EXTVER {version}: using the first"


@dataclass(frozen=True)
class Check:
    """A check for a contradiction, and whether the file is refused for it."""

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
    Check(_missing_zero_frame),
    Check(_times),
    Check(_repeats),
    Check(lambda file: (reason for _, reason in unusable_fields(file))),
)
"""All checks; those for which the file is refused come first."""


def check_contradictions(file: FileContents) -> None:
    """Check an exposure for contradictions between header and arrays.

    Raises
    ------
    FileError
        For the first contradiction that makes the arrays unusable.

    Warns
    -----
    ValidationWarning
        For each other contradiction.
    """
    if file.schema.name not in _EXPOSURES or "data" not in file.field_hdus:
        return
    for one in CHECKS:
        for fault in one.find(file):
            if one.refused:
                raise FileError(file.layout.path, fault)
            warnings.warn(f"{file.layout.path}: {fault}", ValidationWarning, stacklevel=4)


def require_shapes(model: Any, where: str) -> None:
    """Refuse a model with an array of another shape than the one that it describes.

    Such an array could not be opened again, or would be lost.

    Parameters
    ----------
    model : DataModel
        The model.
    where : str
        The file to be written, for the error.

    Raises
    ------
    ValidationError
        If there is such an array.
    """
    shape = model.shape_of("data")
    if shape is None:
        return
    stripes = get_path(model._content.tree, "meta.subarray.num_superstripe") or 0
    for name, expected in companion_shapes(model.schema.name, shape, stripes).items():
        found = model.shape_of(name)
        if found is not None and found[: len(expected)] != expected:
            raise ValidationError(
                f"{where}: {name} has the shape {found}, and data has {shape}; assign arrays that "
                "belong together before saving"
            )
