"""Summaries of models."""

import numpy as np
import pytest

from calbatch.models import datamodels


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
