"""The public interface of models: lazy arrays, validated metadata, independent copies."""

import pickle

import dask.array as da
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from support.example_schemas import CORE_EXAMPLE, IMAGE_EXAMPLE

from calbatch.models import datamodels
from calbatch.models.errors import ModelError, ValidationError, ValidationWarning
from calbatch.models.schema.spec import load_schema


@pytest.fixture
def pixels():
    return np.random.default_rng(0).normal(10, 2, size=(24, 20)).astype("f4")


@pytest.fixture
def image(tmp_path, pixels):
    """Return the path of an image with errors, flags, and HDUs that no schema names."""
    model = datamodels.ImageModel(pixels, err=pixels / 10, dq=np.ones((24, 20), "u4"))
    model.meta.telescope = "JWST"
    model.meta.instrument.name = "NIRCAM"
    path = model.save(tmp_path / "image.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["MYKEY"] = (3.5, "nobody knows")
        hdus.append(fits.ImageHDU(np.arange(6).reshape(2, 3), name="EXTRA"))
        hdus.append(fits.BinTableHDU.from_columns(
            [fits.Column("a", "J", array=[1, 2])], name="MYTAB"))  # fmt: skip
    return path


def test_users_schema_goes_from_yaml_to_model_to_fits_and_back(tmp_path, pixels):
    schema = tmp_path / "my.schema.yaml"
    schema.write_text(IMAGE_EXAMPLE)

    class MyModel(datamodels.DataModel):
        schema_url = str(schema)

    model = MyModel(pixels, err=np.sqrt(pixels))
    model.meta.telescope = "JWST"
    assert not model.has("dq")
    np.testing.assert_array_equal(model.dq, np.zeros((24, 20), "u4"))
    path = model.save(tmp_path / "mine.fits")
    again = MyModel(path)
    np.testing.assert_array_equal(again.data, pixels)
    np.testing.assert_array_equal(again.err, np.sqrt(pixels))
    assert again.meta.telescope == "JWST"
    assert fits.getval(path, "TELESCOP") == "JWST"


def test_shorthand_schema_without_properties_levels(tmp_path):
    schema = tmp_path / "meta.schema.yaml"
    schema.write_text(CORE_EXAMPLE)
    model = datamodels.DataModel(schema=schema)
    model.meta.zero_frame = False
    model.meta.instrument = "MIRI"
    with pytest.warns(ValidationWarning, match="INSTRUME.*HST.*FGS, MIRI"):
        model.meta.instrument = "HST"
    assert model.meta.instrument == "MIRI"
    path = model.save(tmp_path / "meta.fits")
    assert fits.getval(path, "ZEROFRAM") is False
    assert datamodels.DataModel(path, schema=schema).meta.instrument == "MIRI"


def test_arrays_are_lazy_dask_arrays(image, pixels):
    model = datamodels.open(image)
    assert isinstance(model, datamodels.ImageModel)
    assert isinstance(model.data, da.Array)
    assert model.shape == (24, 20)
    np.testing.assert_array_equal(model.data, pixels)


def test_opening_reads_no_pixels(image):
    """A file that was changed after opening is refused only when its pixels are read."""
    model = datamodels.open(image)
    image.write_bytes(image.read_bytes() + b" ")
    with pytest.raises(ModelError, match=r"image\.fits: was replaced or changed"):
        model.data.compute(scheduler="sync")


def test_plain_arithmetic_on_fields(image, pixels):
    model = datamodels.open(image)
    model.data /= 2
    model.err = np.sqrt(model.err)
    model.dq = np.bitwise_or(model.dq, np.full((24, 20), 4, "u4"))
    np.testing.assert_array_equal(model.data, pixels / 2)
    np.testing.assert_array_equal(model.err, np.sqrt(pixels / 10))
    np.testing.assert_array_equal(model.dq, np.full((24, 20), 5))


def test_assigning_to_a_copy_does_not_change_the_original(image, pixels):
    first = datamodels.open(image)
    second = datamodels.ImageModel(first)
    third = first.copy()
    second.data = second.data + 1
    second.meta.telescope = "HST"
    third.history.append("seen")
    np.testing.assert_array_equal(first.data, pixels)
    np.testing.assert_array_equal(second.data, pixels + 1)
    assert first.meta.telescope == "JWST"
    assert first.history == []


def test_cards_and_hdus_that_no_schema_names_survive_a_round_trip(image, tmp_path, pixels):
    path = datamodels.open(image).save(tmp_path / "copy.fits")
    with fits.open(path, checksum=True) as hdus:
        assert hdus[0].header["MYKEY"] == 3.5
        assert hdus[0].header.comments["MYKEY"] == "nobody knows"
        np.testing.assert_array_equal(hdus["EXTRA"].data, [[0, 1, 2], [3, 4, 5]])
        np.testing.assert_array_equal(hdus["MYTAB"].data["a"], [1, 2])
        np.testing.assert_array_equal(hdus["SCI"].data, pixels)


def test_two_saves_give_the_same_bytes(image, tmp_path):
    date = "2026-01-02T03:04:05"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    one = datamodels.open(image).save(tmp_path / "a" / "x.fits", date=date)
    two = datamodels.open(image).save(tmp_path / "b" / "x.fits", date=date)
    assert one.read_bytes() == two.read_bytes()


def test_the_given_date_is_written(image, tmp_path):
    path = datamodels.open(image).save(tmp_path / "x.fits", date="2026-01-02T03:04:05")
    assert fits.getval(path, "DATE") == "2026-01-02T03:04:05"


def test_paths_as_items_and_flat_dict(image):
    model = datamodels.open(image)
    assert model["meta.instrument.name"] == "NIRCAM"
    model["meta.instrument.filter"] = "F200W"
    assert model.meta.instrument.filter == "F200W"
    assert model.to_flat_dict()["meta.instrument.filter"] == "F200W"
    assert "meta.exposure.gain_factor" in dict(model.search_schema("gain"))


def test_errors_for_unknown_names_suggest_the_nearest_name(image):
    model = datamodels.open(image)
    with pytest.raises(AttributeError, match="did you mean 'data'"):
        _ = model.dta
    with pytest.raises(AttributeError, match="did you mean 'err'"):
        model.er = 1
    with pytest.raises(AttributeError, match="did you mean 'telescope'"):
        _ = model.meta.telescop


def test_arrays_that_do_not_fit_are_refused(image):
    model = datamodels.open(image)
    with pytest.raises(ValidationError, match="data: must have 2 dimensions, has 3"):
        model.data = np.zeros((2, 24, 20))
    with pytest.raises(ModelError, match=r"data of shape \(5, 5\) does not fit.*\(24, 20\)"):
        model.data = np.zeros((5, 5))
    with pytest.raises(ValidationError, match="data: complex128 cannot become float32"):
        model.data = np.zeros((24, 20), complex)


def test_optional_array_that_is_absent_is_none(image):
    assert datamodels.open(image).area is None


def test_a_shape_makes_an_empty_model():
    model = datamodels.CubeModel((2, 8, 6))
    assert model.shape == (2, 8, 6)
    assert float(model.data.sum()) == 0


@pytest.mark.parametrize("masked", [True, False])
def test_masked_rows_of_a_table_are_refused(masked):
    rows = np.zeros(2, [(c.name, c.dtype) for c in load_schema("cube").fields["int_times"].columns])
    table = Table(rows, masked=masked)
    model = datamodels.CubeModel((2, 3, 4))
    if masked:
        table["integration_number"].mask[1] = True
        for given in (table, table.as_array()):
            with pytest.raises(ValidationError, match="int_times: has masked values"):
                model.int_times = given
    else:
        model.int_times = table
        assert len(model.int_times) == 2


@pytest.mark.parametrize("other", [5, None, "meta.telescope"])
def test_update_from_neither_model_nor_mapping_is_refused(other):
    with pytest.raises(TypeError, match=rf"a model or nested metadata.*not {type(other).__name__}"):
        datamodels.ImageModel().update(other)


def test_context_manager(image):
    with datamodels.open(image) as model:
        assert model.meta.telescope == "JWST"


def test_models_pickle_lazily(image, pixels):
    text = pickle.dumps(datamodels.open(image))
    assert len(text) < 60_000  # headers, no pixels
    np.testing.assert_array_equal(pickle.loads(text).data, pixels)


def test_raw_exposure_as_ramp_is_float_and_stays_lazy(tmp_path):
    raw = np.arange(2 * 3 * 8 * 6, dtype="u2").reshape(2, 3, 8, 6)
    path = datamodels.Level1bModel(raw).save(tmp_path / "x_uncal.fits")
    level1b = datamodels.open(path)
    assert isinstance(level1b, datamodels.Level1bModel)
    ramp = datamodels.RampModel(level1b)
    assert ramp.data.dtype == np.float32
    assert ramp.reader("data") is not None
    np.testing.assert_array_equal(ramp.data, raw.astype("f4"))
    np.testing.assert_array_equal(ramp.groupdq, np.zeros(raw.shape, "u1"))


def test_a_section_of_a_reference_reads_only_its_pixels(image, pixels):
    part = datamodels.open(image).section(4, 10, 2, 7)
    assert part.shape == (10, 7)
    np.testing.assert_array_equal(part.data, pixels[4:14, 2:9])
    np.testing.assert_array_equal(part.rows("err").whole(), (pixels / 10)[4:14, 2:9])


def test_strict_validation_is_an_error(image, monkeypatch):
    monkeypatch.setenv("STRICT_VALIDATION", "true")
    model = datamodels.open(image)
    with pytest.raises(ValidationError, match=r"image\.fits: INSTRUME .*'WFC3'"):
        model.meta.instrument.name = "WFC3"


class TestMetadataOutsideTheTree:
    """Such as the name of a slit, which stdatamodels keeps beside ``meta``."""

    @pytest.fixture
    def slit(self):
        model = datamodels.SlitModel((3, 4))
        model.name = "S200A1"
        return model

    def test_it_is_an_attribute_that_files_hold(self, slit, tmp_path):
        assert slit.xsize is None
        slit.save(tmp_path / "slit.fits")
        assert datamodels.open(tmp_path / "slit.fits").name == "S200A1"
        assert fits.getval(tmp_path / "slit.fits", "SLTNAME", "SCI") == "S200A1"

    def test_metadata_of_the_tree_are_no_attributes(self, slit):
        slit.meta.telescope = "JWST"
        assert not hasattr(slit, "meta.telescope")
        with pytest.raises(AttributeError, match=r"has no 'meta\.telescope'"):
            setattr(slit, "meta.telescope", "HST")

    def test_it_is_checked_like_other_metadata(self, slit):
        with pytest.warns(ValidationWarning, match="source_type"):
            slit.source_type = "ROUND"
        assert slit.source_type is None

    def test_it_is_part_of_the_flat_metadata_and_of_updates(self, slit):
        assert slit.to_flat_dict()["name"] == "S200A1"
        other = datamodels.SlitModel((3, 4))
        other.update(slit)
        assert other.name == "S200A1"

    def test_a_misspelled_name_is_refused_with_the_nearest(self, slit):
        with pytest.raises(AttributeError, match="did you mean 'source_name'"):
            slit.source_nam = "M31"
