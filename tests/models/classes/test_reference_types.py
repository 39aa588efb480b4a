"""The model classes of reference types, and their choice by the contents of a file."""

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models import datamodels
from calbatch.models.classes.reference_types import (
    REFERENCES,
    choose_reference_class,
    choose_tree_class,
    text_at,
)
from calbatch.models.errors import FileError
from calbatch.models.fits.layout import read_layout
from calbatch.models.schema.spec import load_schema
from calbatch.models.trees.tree_model import TreeModel

CLASSES = [(kind, cls) for kind, known in REFERENCES.items() for cls in known]
TREES = [(kind, cls) for kind, cls in CLASSES if issubclass(cls, TreeModel)]
SEVERAL = [
    (kind, cls) for kind, cls in CLASSES if len(REFERENCES[kind]) > 1 and (kind, cls) not in TREES
]
INDISTINCT = {datamodels.MirWfssPhotomModel: datamodels.MirLrsPhotomModel}
"""Classes with the same tables as another one."""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a reference file of a SCI array of some dimensions."""

    def write(reference_type, ndim):
        primary = fits.PrimaryHDU()
        primary.header["REFTYPE"] = reference_type.upper()
        science = fits.ImageHDU(np.zeros((2, 3, 4, 5)[4 - ndim :], "f4"), name="SCI")
        fits.HDUList([primary, science]).writeto(tmp_path / "reference.fits")
        return tmp_path / "reference.fits"

    return write


@pytest.mark.parametrize(
    ("reference_type", "ndim", "expected"),
    [
        ("dark", 3, "DarkModel"),
        ("dark", 4, "DarkMIRIModel"),
        ("bkg", 2, "WfssBkgModel"),
        ("bkg", 3, "SossBkgModel"),
    ],
)
def test_the_contents_choose_one_of_several_classes(write, reference_type, ndim, expected):
    path = write(reference_type, ndim)
    assert type(datamodels.open(path)).__name__ == expected
    assert type(datamodels.open_reference(reference_type, path)).__name__ == expected


@pytest.mark.parametrize(("reference_type", "cls"), SEVERAL)
def test_instrument_and_contents_choose_the_class_of_a_file_without_its_name(
    tmp_path, reference_type, cls
):
    model = cls()
    for part in [model, *(getattr(model, name).add() for name in model.schema.lists)]:
        for spec in part.schema.fields.values():
            shape = 1 if spec.is_table else (2, 3, 4, 5)[4 - (spec.ndim or 2) :]
            setattr(part, spec.name, np.zeros(shape, spec.dtype))
    model.meta.instrument.name = cls.instrument
    model.meta.reftype = reference_type
    path = model.save(tmp_path / "reference.fits", fsync=False)
    assert type(datamodels.open_reference(reference_type, path)) is cls
    fits.delval(path, "DATAMODL")
    assert type(datamodels.open(path)) is INDISTINCT.get(cls, cls)


def test_a_file_that_fits_no_class_is_refused_with_its_missing_parts(write):
    with pytest.raises(FileError, match=r"SCI must have 3 dimensions, found \(4, 5\)"):
        datamodels.open(write("dark", 2))


def test_a_file_that_fits_none_of_several_instruments_classes_has_no_class(write):
    path = write("photom", 1)
    assert choose_reference_class("photom", lambda: read_layout(path)) is None
    fits.setval(path, "INSTRUME", value="FGS")
    with pytest.raises(FileError, match="has no PHOTOM extension"):
        datamodels.open(path)


def test_a_class_of_one_instrument_is_not_that_of_anothers_files(write):
    path = write("mrsptcorr", 2)
    assert choose_reference_class("mrsptcorr", lambda: read_layout(path)) is (
        datamodels.MirMrsPtCorrModel
    )
    fits.setval(path, "INSTRUME", value="NIRISS")
    assert choose_reference_class("mrsptcorr", lambda: read_layout(path)) is None


def test_a_type_with_one_class_needs_no_layout():
    assert choose_reference_class("gain", None) is datamodels.GainModel


@pytest.mark.parametrize(("reference_type", "cls"), TREES)
def test_format_instrument_and_parts_choose_the_class_of_a_tree(reference_type, cls):
    schema = load_schema(cls.schema_url)
    tree = {"meta": {"instrument": {"name": cls.instrument}}, **dict.fromkeys(schema.parts, 1)}
    assert choose_tree_class(reference_type, schema.stored_as, tree) is cls
    named = {"meta": {**tree["meta"], "model_type": cls.__name__}}
    assert choose_tree_class(reference_type, schema.stored_as, named) is cls
    assert choose_tree_class(reference_type, "other", tree) is None


def test_a_tree_of_a_type_in_fits_has_no_class():
    assert choose_tree_class("gain", "asdf", {}) is None
    assert choose_tree_class("unknown", "asdf", {}) is None


def test_text_of_a_tree_is_found_or_empty():
    assert text_at({"meta": {"reftype": "ote"}}, "meta.reftype") == "ote"
    assert text_at({"meta": {"reftype": 5}}, "meta.reftype") == ""
    assert text_at({}, "meta.reftype") == ""


def test_other_types_have_no_class(write):
    path = write("unknown", 2)
    assert choose_reference_class("unknown", lambda: read_layout(path)) is None
    assert type(datamodels.open(path)) is datamodels.ImageModel


def test_every_class_is_exported():
    classes = {cls.__name__ for known in REFERENCES.values() for cls in known}
    assert classes <= set(datamodels.__all__)
