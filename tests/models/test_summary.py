"""Summaries of models."""

import numpy as np
import pytest
from support.html_text import read_html

from calbatch.models import datamodels, dq
from calbatch.models.schema.spec import load_schema
from calbatch.models.summary import SOUGHT, describe_contents, describe_frames


@pytest.fixture
def image(tmp_path):
    """Return the path of an image with errors."""
    model = datamodels.ImageModel(np.ones((24, 20)), err=np.ones((24, 20)))
    model.meta.instrument.name = "NIRCAM"
    return model.save(tmp_path / "image.fits")


def test_fields_and_metadata_are_listed_and_html_is_escaped(image):
    model = datamodels.open(image)
    model.meta.instrument.detector = "NRCA1"
    assert "data: float32 (24, 20)" in repr(model)
    assert "NRCA1" in repr(model)
    model.data = model.data + 1
    model.product = "<script>"
    assert "<script>" not in model._repr_html_()


def test_repr_names_the_file_of_a_model_as_it_was_opened_or_saved(image, tmp_path):
    model = datamodels.open(image)
    assert repr(model).startswith(f"<ImageModel {image}>")
    model.data = model.data + 1
    assert repr(model).startswith("<ImageModel from image.fits>")
    model.save(tmp_path / "new.fits")
    assert repr(model).startswith(f"<ImageModel {tmp_path / 'new.fits'}>")
    assert repr(datamodels.ImageModel((3, 4))).startswith("<ImageModel>")


def test_repr_names_the_product_that_a_step_made(image):
    model = datamodels.open(image)
    model.err = model.err * 2
    model.product = "flat_field"
    assert repr(model).startswith("<ImageModel flat_field from image.fits>")
    assert "ImageModel flat_field from image.fits" in model._repr_html_()


def test_html_begins_with_the_main_metadata(image):
    model = datamodels.open(image)
    model.meta.instrument.filter = "F200W"
    model.meta.target.proposer_name = "<script>" + "x" * 10_000
    model.meta.cal_step.flat_field = "COMPLETE"
    model.meta.cal_step.photom = "SKIPPED"
    html = model._repr_html_()
    found = read_html(html)
    assert "\nmeta.instrument.filter\nF200W\n" in found.text
    assert "\nsteps: 1 COMPLETE, 1 SKIPPED\nflat_field\nCOMPLETE\n" in found.text
    assert "\ndata\nfloat32\n(24, 20)\n0.00192 MB\nSCI\n" in found.text
    assert "script" not in found.tags
    assert len(html) < 10_000


def test_metadata_that_people_look_for_exist():
    keywords = load_schema("core.schema.yaml").keywords
    assert [path for path in SOUGHT if f"meta.{path}" not in keywords] == []


def test_tiles_are_described_once_they_have_been_chosen(image):
    model = datamodels.open(image)
    assert ", in " not in model._repr_html_()
    np.asarray(model.data)
    assert "in 1 tile of up to 24 rows" in model._repr_html_()


@pytest.mark.parametrize("shape", [(24, 20), (3, 5)])
def test_flags_are_counted_if_they_are_in_memory(image, shape):
    model = datamodels.open(image)
    model.dq = np.zeros((24, 20), "u4")
    assert "\nflags in dq\nflag\nvalues\n%\nGOOD\n480\n100\n" in read_text(model)
    flags = np.zeros(shape, "u4")
    flags[0, :2] = dq.DO_NOT_USE | dq.REFERENCE_PIXEL
    model = datamodels.ImageModel(dq=flags)
    text = read_text(model)
    assert f"\nGOOD\n{flags.size - 2}\n" in text
    assert "\nDO_NOT_USE\n2\n" in text
    assert "\nREFERENCE_PIXEL\n2\n" in text
    assert "SATURATED" not in text


def test_flags_that_would_be_read_or_computed_are_not_counted(image, tmp_path):
    model = datamodels.open(image)
    model.dq = np.ones((24, 20), "u4")
    path = model.save(tmp_path / "flagged.fits")
    assert "flags in" not in read_text(datamodels.open(path))
    model.dq = model.dq | 2
    assert "flags in" not in read_text(model)


def read_text(model):
    return read_html(model._repr_html_()).text


def test_columns_are_described_for_the_first_item_that_has_a_table(tmp_path):
    kinds = datamodels.SpecModel().schema.fields["spec_table"].dtype
    model = datamodels.MultiSpecModel()
    model.spec.add(name="none")
    for name in ("first", "second"):
        model.spec.add(name=name, spec_table=np.ones(2, kinds))
    path = model.save(tmp_path / "spectra.fits", fsync=False)
    lines = list(describe_contents(datamodels.open(path)))
    assert lines[:3] == [
        "spec[0] none: empty", "spec[1] first: spec_table (2,)",
        "spec[1].spec_table: WAVELENGTH: float64",
    ]  # fmt: skip
    assert lines[2 + len(kinds) :] == ["spec[2] second: spec_table (2,)"]


def test_the_frames_of_world_coordinates_are_described_in_order():
    detector = {"name": "detector", "axes_names": ["x", "y"], "unit": ["pixel", "pixel"]}
    world = {"name": "world\x1b", "axes_names": ["lon", "lat"], "unit": None}
    steps = [{"frame": detector, "transform": {}}, {"frame": world}]
    assert list(describe_frames({"steps": steps})) == [
        "wcs: detector: x, y in pixel, pixel", "wcs: world\\x1b: lon, lat",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wcs", [None, 5, "steps", {"steps": 5}, {"steps": [5, {"frame": "detector"}, {}]}]
)
def test_anything_else_has_no_frames(wcs):
    assert list(describe_frames(wcs)) == []
