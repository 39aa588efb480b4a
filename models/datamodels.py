"""The model classes, and opening a file with the class that its header names.

A package adds a model class through the entry-point group ``calbatch.models``. The entry point's
name is the class's, which `DataModel.save` writes as DATAMODL, and by which `open` finds it:

.. code-block:: toml

   [project.entry-points."calbatch.models"]
   SpectrumModel = "mypackage.models:SpectrumModel"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from calbatch.models.classes import _products, _reference_tables, _references, _trees

# Each class is listed once, in the __all__ of its module.
from calbatch.models.classes._products import *  # noqa: F403
from calbatch.models.classes._products import (
    CubeModel,
    ImageModel,
    Level1bModel,
    RampModel,
    SuperstripeRampModel,
)
from calbatch.models.classes._reference_tables import *  # noqa: F403
from calbatch.models.classes._references import *  # noqa: F403
from calbatch.models.classes._references import ReferenceFileModel
from calbatch.models.classes._trees import *  # noqa: F403
from calbatch.models.classes._trees import AssociationModel
from calbatch.models.classes.reference_types import (
    REFERENCES,
    choose_reference_class,
    choose_tree_class,
    text_at,
)
from calbatch.models.errors import FileError, ValidationError, explain_errors, one_line
from calbatch.models.fits.cards import HeaderKeywords
from calbatch.models.fits.layout import Layout, read_layout
from calbatch.models.fits.readers import CopyProvider
from calbatch.models.model import DataModel
from calbatch.models.schema.spec import FieldSpec, load_schema
from calbatch.models.schema.validate import validate_value
from calbatch.models.storage.files import read_stamp
from calbatch.models.storage.location import Location, location
from calbatch.models.storage.stamps import Stamp
from calbatch.models.trees.tree_files import holds_tree, read_file
from calbatch.models.trees.tree_model import TreeModel

__all__ = ["DataModel", "open", "open_reference"]
__all__ += _products.__all__
__all__ += _references.__all__
__all__ += _reference_tables.__all__
__all__ += _trees.__all__

_BY_NAME: dict[str, type[DataModel]] = {
    name: getattr(module, name)
    for module in (_products, _references, _reference_tables, _trees)
    for name in module.__all__
    if name != "ReferenceFileModel"
}

GROUP = "calbatch.models"
"""Entry-point group of model classes of other packages, by their names in DATAMODL."""


def open(path: str | Location | DataModel, layout: Layout | None = None) -> DataModel:
    """Open a file with the model class that its header names, reading only headers or a tree.

    Parameters
    ----------
    path : path, URL or DataModel
        A FITS, ASDF or JSON file; a model is returned unchanged.
    layout : Layout, optional
        The file's layout, if it has been read already.

    Returns
    -------
    DataModel
        Its class is the one named by DATAMODL, else that of the reference type (REFTYPE), else the
        one for the dimensions of the science array. For ASDF, it is the one named by
        ``meta.model_type`` or ``meta.reftype``.

    Raises
    ------
    FileError
        If the file is not a usable FITS, ASDF or JSON file, or no model class fits it.
    StorageError
        If the server of a URL cannot be reached or fails.
    """
    if isinstance(path, DataModel):
        return path
    if layout is None and holds_tree(location(path)):
        return _open_tree(location(path))
    layout = layout or read_layout(path)
    with explain_errors(path):
        cls = _choose_class(location(path), layout)
        return cls(path, layout=layout)


def _open_tree(path: Location, reference_type: str = "") -> TreeModel:
    """Open a file that holds a tree, of a reference type if one is given."""
    stored_as, tree = read_file(path)
    reftype = reference_type or _tree_type(tree)
    name = "" if reference_type else text_at(tree, "meta.model_type")
    point = None if name in _BY_NAME else _find_entry_point(name)
    named = _load_added_class(path, point) if point else _BY_NAME.get(name)
    cls = named or choose_tree_class(reftype, stored_as, tree)
    if stored_as == "json" and {"asn_type", "products"} <= tree.keys():
        cls = AssociationModel
    form = stored_as.upper()
    if cls is None and not reftype:
        raise FileError(path, f"is {form}, but names neither a model class nor a reference type")
    if cls is None:
        raise FileError(
            path, f"is {form}; there is no model class for {form} files of type {reftype!r}"
        )
    if not issubclass(cls, TreeModel):
        raise FileError(path, f"is {form}; files of {cls.__name__} are FITS")
    return cls.of_tree(path, stored_as, tree)


def _tree_type(tree: Mapping[str, Any]) -> str:
    """Return the reference type of a tree, which is in its metadata or, in JSON, at its top."""
    found = text_at(tree, "meta.reftype") or text_at(tree, "reftype")
    return found.strip().lower() or ("msaoper" if "msaoper" in tree else "")


def open_reference(reference_type: str, init: Any, copies: CopyProvider | None = None) -> DataModel:
    """Open a reference file with the model class of its type.

    A process reads headers and flag definitions of a file once, for all exposures.

    Parameters
    ----------
    reference_type : str
        Reference type, such as ``dark``.
    init : path or DataModel
        The file, or a model to use as the reference.
    copies : CopyProvider, optional
        Provides decoded copies; see `calbatch.models.fits.readers.CopyProvider`.

    Raises
    ------
    FileError
        If the file is not a reference of that type.
    ValidationError
        If the model cannot be a reference of that type.
    """
    if isinstance(init, DataModel):
        return as_reference(reference_type, init)
    return _open_reference(reference_type, str(init), read_stamp(init), copies).copy()


def as_reference(reference_type: str, model: DataModel) -> DataModel:
    """Return a model unchanged if it can be a reference of a type.

    Raises
    ------
    ValidationError
        If it is a model of another reference type, or an array of this type is missing.
    """
    classes = REFERENCES.get(reference_type)
    if classes is None or isinstance(model, classes):
        return model
    other = isinstance(model, tuple(cls for known in REFERENCES.values() for cls in known))
    own = [cls for cls in classes if cls.instrument in (None, model.meta.instrument.name)]
    wanted = own or classes
    lacks = [_missing_field(model, cls) for cls in wanted]
    if other or all(lacks):
        found = "a class for other types" if other else f"which has no valid {lacks[0]!r}"
        raise ValidationError(
            f"references of type {reference_type} must be "
            f"{' or '.join(cls.__name__ for cls in wanted)}, not {type(model).__name__}, {found}"
        )
    return model


def _missing_field(model: DataModel, cls: type[DataModel]) -> str | None:
    """Return a field that a class requires and a model lacks, or None; one is always required."""
    if issubclass(cls, TreeModel):
        return (
            None if isinstance(model, TreeModel) else next(iter(load_schema(cls.schema_url).parts))
        )
    specs = load_schema(cls.schema_url).fields.values()
    missing = [spec for spec in specs if not _has_field(model, spec)]
    required = [spec for spec in missing if spec.required or len(missing) == len(specs)]
    return required[0].name if required else None


def _has_field(model: DataModel, spec: FieldSpec) -> bool:
    shape = model.shape_of(spec.name)
    return shape is not None and spec.ndim in (None, len(shape))


@lru_cache(maxsize=128)
def _open_reference(
    reference_type: str, path: str, stamp: Stamp, copies: CopyProvider | None
) -> DataModel:
    """Return a reference's model, which callers copy; ``stamp`` changes with the file."""
    model: DataModel
    if holds_tree(location(path)):
        model = _open_tree(location(path), reference_type)
    else:
        chosen = choose_reference_class(reference_type, lambda: read_layout(path))
        model = (chosen or ReferenceFileModel)(path, copies=copies)
    reftype = str(model.meta.reftype or "").strip().lower()
    if reftype in REFERENCES and reftype != reference_type:
        raise FileError(path, f"is a {reftype} reference, by its REFTYPE, not a {reference_type}")
    return model


def _choose_class(path: Location, layout: Layout) -> type[DataModel]:
    cards = layout.hdus[0].keywords
    name = _text(cards, "DATAMODL")
    named = _BY_NAME.get(name)
    if named is not None:
        return _ramp_if_edited(layout) if named is Level1bModel else named
    entry_point = _find_entry_point(name)
    if entry_point is not None:
        return _load_added_class(path, entry_point)
    reference_type = _text(cards, "REFTYPE").strip().lower()
    reference = choose_reference_class(reference_type, lambda: layout)
    return reference or _by_dimensions(path, layout)


@lru_cache(maxsize=64)
def _find_entry_point(name: str) -> EntryPoint | None:
    """Return the entry point of a model class of another package, or None."""
    return next(iter(entry_points(group=GROUP, name=name)), None) if name else None


def _load_added_class(path: Location, point: EntryPoint) -> type[DataModel]:
    start = f"its DATAMODL is {point.name}, and the entry point {point.value}"
    try:
        cls = point.load()
    except Exception as error:  # importing another package's code may raise anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise FileError(path, f"{start} cannot be imported: {reason}") from error
    if not (isinstance(cls, type) and issubclass(cls, DataModel)):
        raise FileError(path, f"{start} is not a subclass of DataModel")
    return cls


def _ramp_if_edited(layout: Layout) -> type[DataModel]:
    """Return `Level1bModel`, or the class of ramps for data that no detector sends.

    Such data are counts of another type, written by programs that edit or simulate exposures, and
    flags.
    """
    science, pixeldq = layout.find("SCI"), layout.find("PIXELDQ")
    flags = pixeldq is not None or layout.find("GROUPDQ") is not None
    sent = science is None or science.dtype in (np.uint16, np.uint8)
    if sent and not flags:
        return Level1bModel
    has_stripes = pixeldq is not None and len(pixeldq.shape) == 3
    return SuperstripeRampModel if has_stripes else RampModel


def _text(cards: HeaderKeywords, keyword: str) -> str:
    try:
        return cards.text(keyword)
    except FileError:  # the value is not text
        return ""


def _by_dimensions(path: Location, layout: Layout) -> type[DataModel]:
    science = layout.find("SCI")
    if science is None or not science.shape:
        what = "no SCI array" if science is None else "no pixels in its SCI extension"
        clues = "; ".join(["", *_clues(layout)])
        raise FileError(
            path, f"has {what}, so it is not an exposure, a rate or a known reference{clues}"
        )
    ndim = len(science.shape)
    if ndim == 4:
        return _ramp_if_edited(layout)
    if ndim in (2, 3):
        return ImageModel if ndim == 2 else CubeModel
    raise FileError(path, f"has a SCI array of {ndim} dimensions, which no model class has")


def _clues(layout: Layout) -> Iterator[str]:
    """Yield keywords of the primary header that no exposure has."""
    header = layout.hdus[0].header
    if "REFTYPE" in header:
        yield f"its REFTYPE is {header['REFTYPE']!r}"
    cards = load_schema(DataModel.schema_url).by_card["PRIMARY"]
    for keyword in ("TELESCOP", "INSTRUME", "DETECTOR"):
        try:
            validate_value(cards[keyword][0], header.get(keyword))
        except ValidationError as error:
            yield str(error)
