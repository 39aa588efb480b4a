"""Opening a file with the model class that its header names."""

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models import datamodels
from calbatch.models.errors import FileError, ValidationError

MODULE = """
from calbatch.models.datamodels import DataModel

class SpectrumModel(DataModel):
    schema_url = "image.schema.yaml"

class NoModel:
    pass
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a distribution with a model class."""
    datamodels._find_entry_point.cache_clear()
    site = tmp_path / "site"
    info = site / "spectra-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spectra\nVersion: 1.0\n")
    (site / "spectra_of_mine.py").write_text(MODULE)

    def install(target):
        point = f"[calbatch.models]\nSpectrumModel = spectra_of_mine{target}\n"
        (info / "entry_points.txt").write_text(point)
        monkeypatch.syspath_prepend(site)

    yield install
    datamodels._find_entry_point.cache_clear()


def write(path, ndim=2, name="SCI", dtype="f4", **cards):
    primary = fits.PrimaryHDU()
    primary.header.update(cards)
    science = fits.ImageHDU(np.zeros((2, 3, 4, 5)[4 - ndim :], dtype), name=name)
    fits.HDUList([primary, science]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("cards", "ndim", "expected"),
    [
        ({"DATAMODL": "CubeModel"}, 3, datamodels.CubeModel),
        ({"DATAMODL": "IFUImageModel"}, 2, datamodels.IFUImageModel),
        ({"DATAMODL": "SlitModel"}, 2, datamodels.SlitModel),
        ({"DATAMODL": "UnknownModel"}, 2, datamodels.ImageModel),
        ({"REFTYPE": "AREA"}, 2, datamodels.PixelAreaModel),
        ({"REFTYPE": "BKG"}, 2, datamodels.WfssBkgModel),
        ({"REFTYPE": "BKG"}, 3, datamodels.SossBkgModel),
        ({"REFTYPE": "DARK"}, 4, datamodels.DarkMIRIModel),
        ({"REFTYPE": "GAIN"}, 2, datamodels.GainModel),
        ({"REFTYPE": "READNOISE", "DATAMODL": "GainModel"}, 2, datamodels.GainModel),
        ({}, 4, datamodels.RampModel),
        ({}, 2, datamodels.ImageModel),
    ],
)
def test_the_class_is_by_name_then_reference_type_then_dimensions(tmp_path, cards, ndim, expected):
    assert type(datamodels.open(write(tmp_path / "x.fits", ndim, **cards))) is expected


def test_an_open_model_is_returned_as_it_is():
    model = datamodels.ImageModel((3, 4))
    assert datamodels.open(model) is model


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u4", "i8"])
def test_counts_of_another_type_than_a_detectors_are_a_ramp(tmp_path, dtype):
    raw = write(tmp_path / "raw.fits", 4, dtype="u2", DATAMODL="Level1bModel")
    edited = write(tmp_path / "edited.fits", 4, dtype=dtype, DATAMODL="Level1bModel")
    assert type(datamodels.open(raw)) is datamodels.Level1bModel
    ramp = datamodels.open(edited)
    assert type(ramp) is datamodels.RampModel
    with fits.open(edited) as hdus:
        np.testing.assert_array_equal(ramp.data.compute(), hdus["SCI"].data)


def test_a_file_without_science_is_refused_with_clues(tmp_path):
    path = write(tmp_path / "x.fits", name="OTHER", REFTYPE="DISTORTION")
    with pytest.raises(FileError, match=r"has no SCI array.*its REFTYPE is 'DISTORTION'"):
        datamodels.open(path)


def test_another_packages_class_is_found_by_its_name(tmp_path, install):
    install(":SpectrumModel")
    model = datamodels.open(write(tmp_path / "x.fits", DATAMODL="SpectrumModel"))
    assert type(model).__name__ == "SpectrumModel"
    model.meta.telescope = "JWST"
    again = datamodels.open(model.save(tmp_path / "again.fits"))
    assert type(again) is type(model)
    assert fits.getval(tmp_path / "again.fits", "DATAMODL") == "SpectrumModel"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (":GoneModel", "cannot be imported: AttributeError"),
        ("_gone:Model", "cannot be imported: ModuleNotFoundError"),
        (":NoModel", "is not a subclass of DataModel"),
    ],
)
def test_a_broken_entry_point_is_named(tmp_path, install, target, message):
    install(target)
    path = write(tmp_path / "x.fits", DATAMODL="SpectrumModel")
    with pytest.raises(FileError, match=rf"x\.fits: its DATAMODL is SpectrumModel.*{message}"):
        datamodels.open(path)


def test_a_reference_of_another_type_is_refused(tmp_path):
    path = write(tmp_path / "x.fits", REFTYPE="GAIN")
    with pytest.raises(FileError, match="is a gain reference, by its REFTYPE, not a flat"):
        datamodels.open_reference("flat", path)
    with pytest.raises(ValidationError, match="must be FlatModel, not GainModel"):
        datamodels.open_reference("flat", datamodels.GainModel(path))


def test_a_model_without_the_table_of_its_type_is_refused():
    model = datamodels.ImageModel((4, 4))
    model.meta.instrument.name = "FGS"
    with pytest.raises(ValidationError, match="must be FgsImgApcorrModel, not ImageModel, which"):
        datamodels.open_reference("apcorr", model)
    with pytest.raises(ValidationError, match="must be FgsImgPhotomModel, not ImageModel, which"):
        datamodels.open_reference("photom", model)


def test_a_reference_is_opened_once_and_copied(tmp_path):
    path = write(tmp_path / "x.fits", REFTYPE="GAIN")
    first, second = (datamodels.open_reference("gain", path) for _ in range(2))
    first.data = first.data + 1
    assert float(second.data.sum()) == 0
    assert first._content.node is not second._content.node
