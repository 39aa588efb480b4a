"""Models of trees: parts as attributes, validation, copies and files."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from astropy.modeling import models as astropy_models

from calbatch.models import datamodels
from calbatch.models.asdf.asdf_file import StoredArray
from calbatch.models.errors import FileError, ValidationError, ValidationWarning
from calbatch.models.saving import save

KERNELS = {"gamma": np.arange(6.0).reshape(2, 3) * 1j, "zeta": np.ones((2, 3))}


@pytest.fixture
def kernels(tmp_path):
    model = datamodels.SIRSKernelModel(nrca1=KERNELS)
    model.meta.reftype = "sirskernel"
    model.meta.instrument.name = "NIRCAM"
    return model.save(tmp_path / "kernels.asdf")


def test_arrays_are_read_when_asked_for(kernels):
    model = datamodels.open(kernels)
    stored = model._content.tree["nrca1"]
    assert all(isinstance(array, StoredArray) for array in stored.values())
    np.testing.assert_array_equal(model.nrca1.gamma, KERNELS["gamma"])
    assert isinstance(stored["zeta"], StoredArray)
    assert model.nrca1["gamma"] is model.nrca1.gamma


def test_a_changed_array_is_saved(tmp_path, kernels):
    model = datamodels.open(kernels)
    model.nrca1.gamma[0, 0] = 7
    model.save(tmp_path / "again.asdf")
    assert datamodels.open(tmp_path / "again.asdf").nrca1.gamma[0, 0] == 7
    assert datamodels.open(kernels).nrca1.gamma[0, 0] == 0


def test_files_with_a_date_are_reproducible(tmp_path, kernels):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        datamodels.open(kernels).save(tmp_path / name / "a.asdf", date="2026-01-01T00:00:00")
    assert (tmp_path / "a/a.asdf").read_bytes() == (tmp_path / "b/a.asdf").read_bytes()
    assert datamodels.open(tmp_path / "a/a.asdf").meta.date == "2026-01-01T00:00:00"
    assert datamodels.open(kernels).meta.date > "2026-01-01"


def test_a_tree_is_not_written_as_fits(tmp_path, kernels):
    with pytest.raises(FileError, match="SIRSKernelModel is not saved as FITS, but as ASDF"):
        save([(datamodels.open(kernels), tmp_path / "a.fits")])
    assert not list(tmp_path.glob("*.fits"))


def test_a_file_can_replace_itself(kernels):
    model = datamodels.open(kernels)
    model.meta.author = "somebody"
    model.save(kernels)
    np.testing.assert_array_equal(model.nrca1.gamma, KERNELS["gamma"])
    again = datamodels.open(kernels)
    assert again.meta.author == "somebody"
    np.testing.assert_array_equal(again.nrca1.zeta, KERNELS["zeta"])


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: m.copy()])
def test_copies_share_no_change(kernels, duplicate):
    model = datamodels.open(kernels)
    twin = model.copy() if duplicate is copy.copy else duplicate(model)
    twin.nrca1.gamma[:] = 5
    twin.meta.author = "somebody"
    np.testing.assert_array_equal(model.nrca1.gamma, KERNELS["gamma"])
    assert model.meta.author is None


def test_a_model_pickles(kernels):
    model = pickle.loads(pickle.dumps(datamodels.open(kernels)))
    assert type(model) is datamodels.SIRSKernelModel
    np.testing.assert_array_equal(model.nrca1.zeta, KERNELS["zeta"])


def test_a_file_that_changed_is_not_read(kernels):
    model = datamodels.open(kernels)
    kernels.write_bytes(kernels.read_bytes() + b" ")
    with pytest.raises(FileError, match="was replaced or changed"):
        _ = model.nrca1.gamma


def test_a_part_must_fit_the_schema(monkeypatch):
    model = datamodels.TsoPhotModel(radii=[{"pupil": "ANY", "radius": 3}])
    with pytest.warns(ValidationWarning, match=r"radii\[0\]\.radius = 'x'.*must be a number"):
        model.radii = [{"radius": "x"}]
    assert model.radii[0].radius == 3
    monkeypatch.setenv("STRICT_VALIDATION", "true")
    with pytest.raises(ValidationError, match="model: must be a transform, not str"):
        datamodels.CameraModel(model="x")


def test_an_unknown_name_is_rejected():
    model = datamodels.CameraModel()
    assert model.model is None
    with pytest.raises(AttributeError, match="has no 'modelx'; did you mean 'model'"):
        model.modelx = astropy_models.Shift(1)
    with pytest.raises(AttributeError, match="has no 'modelx'; did you mean 'model'"):
        _ = model.modelx


def test_trees_have_no_header_cards():
    with pytest.raises(ValidationError, match="has no header cards"):
        datamodels.CameraModel().set_card("MYKEY", 1)


def test_a_required_part_is_needed(tmp_path):
    with pytest.raises(ValidationError, match="displ is required"):
        datamodels.MiriWFSSSpecwcsModel().save(tmp_path / "a.asdf")
    assert not list(tmp_path.iterdir())


def test_the_format_is_that_of_the_class(tmp_path, kernels):
    with pytest.raises(FileError, match=r"SIRSKernelModel is saved as a file \*\.asdf"):
        datamodels.SIRSKernelModel().save(tmp_path / "a.fits")
    with pytest.raises(FileError, match="is ASDF; files of schema 'msaoper' are JSON"):
        datamodels.MSAOperModel(kernels)
    with pytest.raises(ValidationError, match="ASDF files cannot become one of FITS files"):
        datamodels.ReferenceFileModel(datamodels.open(kernels))
    with pytest.raises(ValidationError, match="cannot be made from a MSAOperModel"):
        datamodels.CameraModel(datamodels.MSAOperModel())
    for other in (datamodels.GainModel(), (4, 4)):
        with pytest.raises(TypeError, match=f"not {type(other).__name__}"):
            datamodels.CameraModel(other)


def test_metadata_that_no_schema_names_survive(tmp_path, kernels):
    text = kernels.read_bytes().replace(b"meta:\n", b"meta:\n  other: {deep: [1, 2]}\n", 1)
    kernels.write_bytes(text)
    model = datamodels.open(kernels)
    assert model.meta.other.deep == [1, 2]
    model.save(tmp_path / "again.asdf")
    assert datamodels.open(tmp_path / "again.asdf").meta.other.deep == [1, 2]


def test_invalid_metadata_of_a_file_are_left_out(kernels):
    kernels.write_bytes(kernels.read_bytes().replace(b"name: NIRCAM", b"name: NIRCAN"))
    with pytest.warns(ValidationWarning, match="NIRCAN"):
        model = datamodels.open(kernels)
    assert model.meta.instrument.name is None


def test_metadata_are_assigned_as_a_whole():
    model = datamodels.OTEModel({"meta": {"author": "somebody"}, "model": astropy_models.Shift(2)})
    assert model.meta.author == "somebody"
    assert model.model.offset == 2


WITHOUT_ASDF = """
import sys
sys.modules["asdf"] = None
from calbatch.models import datamodels
model = datamodels.open({path!r})
print(model.meta.instrument.name, model.groovedensity, model.gwa_tiltx.temperatures[0])
print(repr(model))
model.save({path!r} + ".again.asdf")
try:
    model.gwa_tiltx.tilt_model
except Exception as error:
    print(error)
"""


def test_plain_parts_need_no_asdf(tmp_path):
    path = tmp_path / "disperser.asdf"
    tilt = {"temperatures": [35.5], "tilt_model": astropy_models.Polynomial1D(1, c0=2.0)}
    model = datamodels.DisperserModel(groovedensity=95000.0, gwa_tiltx=tilt)
    model.meta.instrument.name = "NIRSPEC"
    model.save(path)
    code = [sys.executable, "-W", "error", "-c", WITHOUT_ASDF.format(path=str(path))]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("NIRSPEC 95000.0 35.5\n")
    assert "gwa_tiltx.tilt_model: transform of polynomial" in done.stdout
    assert "for which asdf is needed: install calbatch[transforms]" in done.stdout
    again = datamodels.open(f"{path}.again.asdf")
    assert again.gwa_tiltx.tilt_model.c0 == 2


def test_html_names_the_parts(kernels):
    html = datamodels.open(kernels)._repr_html_()
    assert "SIRSKernelModel" in html
    assert "Kernels of NRCA1" in html
