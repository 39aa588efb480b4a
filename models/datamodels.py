"""The model classes, and opening a file as the right one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from calbatch.models.errors import FileError, ValidationError, explain_errors
from calbatch.models.fits.cards import HeaderKeywords
from calbatch.models.fits.layout import Layout, read_layout
from calbatch.models.fits.readers import CopyProvider
from calbatch.models.model import DataModel
from calbatch.models.schema.spec import FieldSpec, load_schema
from calbatch.models.schema.validate import validate_value
from calbatch.models.storage.files import read_stamp
from calbatch.models.storage.location import Location, location
from calbatch.models.storage.stamps import Stamp

__all__ = [
    "CubeModel",
    "DarkMIRIModel",
    "DarkModel",
    "DataModel",
    "FlatModel",
    "GainModel",
    "IFUImageModel",
    "IPCModel",
    "ImageModel",
    "Level1bModel",
    "LinearityModel",
    "MaskModel",
    "RampFitOutputModel",
    "RampModel",
    "ReadnoiseModel",
    "ReferenceFileModel",
    "ResetModel",
    "SaturationModel",
    "SuperBiasModel",
    "open",
    "open_reference",
]


class Level1bModel(DataModel):
    """A raw exposure: uncalibrated ramps, (integrations, groups, rows, columns)."""

    schema_url = "level1b.schema.yaml"


class RampModel(DataModel):
    """Ramps on their way through calibration, with DQ of pixels and of groups."""

    schema_url = "ramp.schema.yaml"


class ImageModel(DataModel):
    """An image, (rows, columns), with errors, variances and DQ."""

    schema_url = "image.schema.yaml"


class IFUImageModel(DataModel):
    """An image of an integral-field unit's slices."""

    schema_url = "ifuimage.schema.yaml"


class CubeModel(DataModel):
    """One image an integration, (integrations, rows, columns), with their times."""

    schema_url = "cube.schema.yaml"


class RampFitOutputModel(DataModel):
    """The optional results of ramp fitting, segment by segment."""

    schema_url = "rampfitoutput.schema.yaml"


class ReferenceFileModel(DataModel):
    """A reference file."""

    schema_url = "reference.schema.yaml"


class DarkModel(ReferenceFileModel):
    """A dark ramp, (groups, rows, columns)."""

    schema_url = "dark.schema.yaml"


class DarkMIRIModel(ReferenceFileModel):
    """MIRI's dark ramps, (integrations, groups, rows, columns)."""

    schema_url = "dark_miri.schema.yaml"


class FlatModel(ReferenceFileModel):
    """A flat field."""

    schema_url = "flat.schema.yaml"


class GainModel(ReferenceFileModel):
    """Electrons a count, pixel by pixel."""

    schema_url = "gain.schema.yaml"


class IPCModel(ReferenceFileModel):
    """The kernel of inter-pixel capacitance."""

    schema_url = "ipc.schema.yaml"


class LinearityModel(ReferenceFileModel):
    """Coefficients of the polynomial that makes counts linear, (terms, rows, columns)."""

    schema_url = "linearity.schema.yaml"


class MaskModel(ReferenceFileModel):
    """The bad-pixel mask."""

    schema_url = "mask.schema.yaml"


class ReadnoiseModel(ReferenceFileModel):
    """Noise of the difference of two reads, in counts."""

    schema_url = "readnoise.schema.yaml"


class ResetModel(ReferenceFileModel):
    """The reset anomaly, (integrations, groups, rows, columns)."""

    schema_url = "reset.schema.yaml"


class SaturationModel(ReferenceFileModel):
    """Counts at which pixels saturate."""

    schema_url = "saturation.schema.yaml"


class SuperBiasModel(ReferenceFileModel):
    """The bias frame."""

    schema_url = "superbias.schema.yaml"


REFERENCES: dict[str, type[ReferenceFileModel]] = {
    "dark": DarkModel,
    "flat": FlatModel,
    "gain": GainModel,
    "ipc": IPCModel,
    "linearity": LinearityModel,
    "mask": MaskModel,
    "readnoise": ReadnoiseModel,
    "reset": ResetModel,
    "saturation": SaturationModel,
    "superbias": SuperBiasModel,
}
"""CRDS reference type -> model class."""

_SPECIAL: dict[str, tuple[type[DataModel], ...]] = {"dark": (DarkMIRIModel,)}
"""CRDS reference type -> classes of some instruments' references."""

_NAMED: tuple[type[DataModel], ...] = (
    Level1bModel, RampModel, ImageModel, IFUImageModel, CubeModel, RampFitOutputModel,
    DarkMIRIModel, *REFERENCES.values(),
)  # fmt: skip
_BY_NAME = {cls.__name__: cls for cls in _NAMED}


def open(path: str | Location | DataModel, layout: Layout | None = None) -> DataModel:
    """Open a file as the model that its header says, reading headers only.

    Parameters
    ----------
    path : path, URL or DataModel
        A FITS file; a model is returned as it is.
    layout : Layout, optional
        The file's, where it has been read already.

    Returns
    -------
    DataModel
        The class is DATAMODL's, else the one for the reference type (REFTYPE), else the one that
        the arrays' dimensions call for.

    Raises
    ------
    FileError
        When the file is not a usable FITS file, or has no array to tell the model by.
    StorageError
        When a URL's server cannot be reached or fails.
    """
    if isinstance(path, DataModel):
        return path
    layout = layout or read_layout(path)
    with explain_errors(path):
        return _choose_class(location(path), layout)(path, layout=layout)


def open_reference(reference_type: str, init: Any, copies: CopyProvider | None = None) -> DataModel:
    """Open a reference file as the model of its type; a model is taken as it is.

    A process reads a file's headers and definitions of flags once, for all exposures that want it.

    Parameters
    ----------
    reference_type : str
        Such as ``dark``.
    init : path or DataModel
        The reference.
    copies : Copies, optional
        Where what has to be decoded is read from; see `calbatch.models.fits.readers.CopyProvider`.

    Raises
    ------
    FileError
        When the file is no such reference.
    """
    if isinstance(init, DataModel):
        return as_reference(reference_type, init)
    return _open_reference(reference_type, str(init), read_stamp(init), copies).copy()


def as_reference(reference_type: str, model: DataModel) -> DataModel:
    """Return a model that is to be used as a reference, if it can be one of that type.

    Raises
    ------
    ValidationError
        When it is the model of another type's references, or has not the arrays of this one's.
    """
    cls = REFERENCES.get(reference_type)
    if cls is None or isinstance(model, (cls, *_SPECIAL.get(reference_type, ()))):
        return model
    other = isinstance(model, tuple(REFERENCES.values()))
    fields = load_schema(cls.schema_url).fields.values()
    missing = [spec.name for spec in fields if spec.required and not _has_field(model, spec)]
    if other or missing:
        why = "which is for others" if other else f"which has no fitting {missing[0]!r}"
        raise ValidationError(
            f"a {reference_type} reference must be a {cls.__name__}, not {type(model).__name__}, "
            f"{why}"
        )
    return model


def _has_field(model: DataModel, spec: FieldSpec) -> bool:
    shape = model.shape_of(spec.name)
    return shape is not None and spec.ndim in (None, len(shape))


@lru_cache(maxsize=128)
def _open_reference(
    reference_type: str, path: str, stamp: Stamp, copies: CopyProvider | None
) -> DataModel:
    """Return a reference's model, to be copied; ``stamp`` tells when the file is another one."""
    cls = REFERENCES.get(reference_type, ReferenceFileModel)
    if cls is DarkModel:
        data = read_layout(path).find("SCI")
        cls = DarkMIRIModel if data is not None and len(data.shape) == 4 else DarkModel
    model = cls(path, copies=copies)
    named = str(model.meta.reftype or "").strip().lower()
    if named in REFERENCES and named != reference_type:
        raise FileError(path, f"is a {named} reference, by its REFTYPE, not a {reference_type}")
    return model


def _choose_class(path: Location, layout: Layout) -> type[DataModel]:
    cards = HeaderKeywords(layout.path, 0, layout.hdus[0].raw_header)
    named = _BY_NAME.get(_text(cards, "DATAMODL"))
    if named is not None:
        return _ramp_if_edited(layout) if named is Level1bModel else named
    reference_type = _text(cards, "REFTYPE").strip().lower()
    if reference_type in REFERENCES:
        return REFERENCES[reference_type]
    return _by_dimensions(path, layout)


def _ramp_if_edited(layout: Layout) -> type[DataModel]:
    """Return the class of a raw exposure; what the detector did not send makes it a ramp.

    That is counts of another type, as programs write that edit or simulate exposures, and flags.
    """
    science = layout.find("SCI")
    flags = any(layout.find(name) is not None for name in ("PIXELDQ", "GROUPDQ"))
    sent = science is None or science.dtype in (np.uint16, np.uint8)
    return Level1bModel if sent and not flags else RampModel


def _text(cards: HeaderKeywords, keyword: str) -> str:
    try:
        return cards.text(keyword)
    except FileError:  # some other value, which names no class
        return ""


def _by_dimensions(path: Location, layout: Layout) -> type[DataModel]:
    science = layout.find("SCI")
    if science is None or not science.shape:
        what = "no SCI array" if science is None else "no pixels in its SCI extension"
        clues = "; ".join(["", *_clues(layout)])
        raise FileError(path, f"has {what}, so it is no exposure, rate or known reference{clues}")
    ndim = len(science.shape)
    if ndim == 4:
        return _ramp_if_edited(layout)
    if ndim in (2, 3):
        return ImageModel if ndim == 2 else CubeModel
    raise FileError(path, f"has a SCI array of {ndim} dimensions: no model has those")


def _clues(layout: Layout) -> Iterator[str]:
    """Yield what the primary header says that no exposure's does."""
    header = layout.hdus[0].header
    if "REFTYPE" in header:
        yield f"its REFTYPE is {header['REFTYPE']!r}"
    cards = load_schema(DataModel.schema_url).by_card["PRIMARY"]
    for keyword in ("TELESCOP", "INSTRUME", "DETECTOR"):
        try:
            validate_value(cards[keyword][0], header.get(keyword))
        except ValidationError as error:
            yield str(error)
