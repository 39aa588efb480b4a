"""The HDUs of a model's file."""

import numpy as np
import pytest

from calbatch.models import datamodels
from calbatch.models.errors import FileError
from calbatch.models.fits.output_hdus import CopiedHdu, OutputImage, OutputTable, image_header
from calbatch.models.products.product_hdus import build_hdus, complete_metadata, own_metadata

DATE = "2026-01-02T03:04:05.000"


def name_of(hdu):
    return hdu.hdu.name if isinstance(hdu, CopiedHdu) else hdu.extname


def cube():
    model = datamodels.CubeModel(np.ones((1, 8, 6), "f4"), err=np.ones((1, 8, 6), "f4"))
    model.int_times = np.zeros(1, model.schema.fields["int_times"].dtype)
    model.meta.target.ra = 1.5
    return model


def test_hdus_are_in_the_order_of_the_schema(tmp_path):
    hdus = build_hdus(cube(), tmp_path / "a.fits", DATE)
    assert [name_of(hdu) for hdu in hdus] == ["PRIMARY", "SCI", "ERR", "INT_TIMES", "ASDF"]
    assert [type(hdu) for hdu in hdus[2:]] == [OutputImage, OutputTable, OutputTable]
    cards = {keyword: value for keyword, value, _ in hdus[0].cards}
    assert cards["FILENAME"] == "a.fits"
    assert cards["DATE"] == DATE
    assert cards["DATAMODL"] == "CubeModel"


def test_hdus_of_the_input_are_copied(tmp_path):
    model = cube()
    model.save(tmp_path / "a.fits")
    image = datamodels.CubeModel(tmp_path / "a.fits", schema="core.schema.yaml")
    hdus = build_hdus(image, tmp_path / "b.fits", DATE)
    assert [name_of(hdu) for hdu in hdus if isinstance(hdu, CopiedHdu)] == [
        "SCI", "ERR", "INT_TIMES",
    ]  # fmt: skip


def test_headers_that_are_given_are_taken_for_images_only(tmp_path):
    model = cube()
    headers = {name: name.encode() for name in ("PRIMARY", "SCI", "ERR")}
    hdus = build_hdus(model, tmp_path / "a.fits", DATE, headers)
    assert [image_header(hdu, primary=False) for hdu in hdus[:3]] == [*headers.values()]
    others = build_hdus(model, tmp_path / "a.fits", DATE)
    assert hdus[3].cards == others[3].cards
    assert image_header(others[0], primary=True).startswith(b"SIMPLE  =")


def test_metadata_of_the_file_replace_those_of_the_model():
    model = cube()
    model.meta.filename = "before.fits"
    own = own_metadata(model, datamodels.location("x/after.fits"), DATE)
    tree = complete_metadata(model._content, own)
    assert tree["meta"]["filename"] == "after.fits"
    assert tree["meta"]["target"] == {"ra": 1.5}
    assert model.meta.filename == "before.fits"


def test_a_compressed_name_is_refused(tmp_path):
    with pytest.raises(FileError, match="compressed"):
        build_hdus(cube(), tmp_path / "a.fits.gz", DATE)
