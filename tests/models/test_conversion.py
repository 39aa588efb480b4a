"""Models made from other models."""

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models import datamodels
from calbatch.models.errors import ModelError, ValidationError, ValidationWarning

PIXELS = np.arange(48, dtype="f4").reshape(8, 6)


def image(**fields):
    model = datamodels.ImageModel(PIXELS, **fields)
    model.meta.telescope = "JWST"
    return model


class TestDimensions:
    def test_an_image_cannot_become_a_cube(self):
        with pytest.raises(ValidationError, match=r"CubeModel of ImageModel.*3 dimensions, has 2"):
            datamodels.CubeModel(image())

    def test_a_file_of_an_image_cannot_become_a_cube(self, tmp_path):
        opened = datamodels.open(image().save(tmp_path / "x.fits", fsync=False))
        with pytest.raises(ValidationError, match=r"x\.fits: data: must have 3 dimensions, has 2"):
            datamodels.CubeModel(opened)

    def test_every_possible_conversion_can_be_saved_and_opened(self, tmp_path):
        """A conversion fails when it is made or saved, or gives a file that can be opened."""
        classes = [getattr(datamodels, name) for name in datamodels.__all__ if name[0].isupper()]
        shapes = {cls: 2 if cls is not datamodels.CubeModel else 3 for cls in classes}
        made = 0
        for source in (datamodels.ImageModel, datamodels.CubeModel, datamodels.MaskModel):
            model = source((2, 8, 6)[3 - shapes[source] :])
            for cls in classes:
                path = tmp_path / f"{source.__name__}_{cls.__name__}.fits"
                try:
                    cls(model).save(path, fsync=False)
                except ValidationError:
                    assert not path.exists()
                    continue
                cls(path)
                made += 1
        assert made > 10

    @pytest.mark.parametrize(
        ("cls", "shape"),
        [
            (datamodels.MaskModel, (10, 12)),
            (datamodels.ImageModel, (10, 12)),
            (datamodels.Level1bModel, (1, 2, 10, 12)),
            (datamodels.LinearityModel, (3, 10, 12)),
            (datamodels.SaturationModel, (10, 12)),
        ],
    )
    def test_a_shape_makes_the_primary_array_with_its_default(self, cls, shape):
        model = cls(shape)
        spec = model.schema.fields[model.primary]
        array = np.asarray(getattr(model, model.primary))
        assert array.dtype == spec.dtype
        np.testing.assert_array_equal(array, np.full(shape, spec.default))

    def test_a_shape_of_other_dimensions_is_refused(self):
        with pytest.raises(ValidationError, match="dq: must have 2 dimensions, has 3"):
            datamodels.MaskModel((2, 10, 12))


class TestMetadata:
    OWN = "allOf:\n- $ref: image.schema.yaml\n- properties:\n    meta:\n      observer:\n        {}"

    def test_metadata_of_one_schema_only_survive_as_a_card(self, tmp_path):
        schema = tmp_path / "own.schema.yaml"
        schema.write_text(self.OWN.format("{type: string, fits_keyword: OBSERVER, title: Who}"))
        own = datamodels.DataModel(PIXELS, schema=schema)
        own.meta.observer = "Galileo"
        model = datamodels.ImageModel(own)
        assert model.get_card("observer") == "Galileo"
        path = model.save(tmp_path / "x.fits", fsync=False)
        assert fits.getval(path, "OBSERVER") == "Galileo"
        again = datamodels.DataModel(datamodels.open(path), schema=schema)
        assert again.meta.observer == "Galileo"
        assert again.get_card("OBSERVER") is None
        again.meta.observer = "Herschel"
        again.save(tmp_path / "y.fits", fsync=False)
        header = fits.getheader(tmp_path / "y.fits")
        assert [card.value for card in header.cards if card.keyword == "OBSERVER"] == ["Herschel"]

    def test_user_cards_survive_a_round_trip(self, tmp_path):
        model = image()
        model.set_card("mykey", 3, "what I think")
        model.set_card("MYKEY", 3.5, "what I think")
        model.set_card("SEEN", True, hdu="SCI")
        model.set_card("GONE", 1)
        model.set_card("GONE", None)
        path = model.save(tmp_path / "x.fits", fsync=False)
        with fits.open(path) as hdus:
            assert hdus[0].header["MYKEY"] == 3.5
            assert hdus[0].header.comments["MYKEY"] == "what I think"
            assert hdus["SCI"].header["SEEN"] is True
            assert "GONE" not in hdus[0].header
        again = datamodels.open(path)
        assert again.get_card("MYKEY") == 3.5
        assert again.get_card("SEEN", hdu="sci") is True
        assert again.get_card("nothing", "default") == "default"

    @pytest.mark.parametrize(
        ("keyword", "value", "hdu", "message"),
        [
            ("TELESCOP", "HST", "PRIMARY", r"is model\.meta\.telescope; assign to that"),
            ("NAXIS1", 3, "SCI", "is written with the file"),
            ("HISTORY", "x", "PRIMARY", r"see model\.history"),
            ("too_long_a_name", 1, "PRIMARY", "1 to 8 characters"),
            ("MYKEY", "naïve", "PRIMARY", "printable ASCII"),
            ("MYKEY", [1], "PRIMARY", "cannot hold a list"),
            ("MYKEY", 1, "SCY", "has no HDU 'SCY'"),
        ],
    )
    def test_cards_that_belong_elsewhere_are_refused(self, keyword, value, hdu, message):
        model = image()
        with pytest.raises(ValidationError, match=message):
            model.set_card(keyword, value, hdu=hdu)
        assert model.extra == {}

    def test_metadata_without_a_keyword_give_a_warning(self, tmp_path):
        model = image()
        model.meta.background.polynomial_info = [{"degree": [1.0, 2.0]}]
        warning = r"meta\.background\.polynomial_info has no FITS keyword"
        with pytest.warns(ValidationWarning, match=warning):
            model.save(tmp_path / "x.fits", fsync=False)

    def test_lists_that_were_only_read_give_no_warning(self, tmp_path):
        model = image()
        assert model.meta.background.polynomial_info == []
        model.save(tmp_path / "x.fits", fsync=False)


class TestUpdate:
    def other(self, tmp_path):
        model = image()
        model.meta.instrument.name = "NIRCAM"
        model.meta.wcsinfo.crval1 = 5.0
        path = model.save(tmp_path / "other.fits", date="2001-02-03T04:05:06", fsync=False)
        return datamodels.open(path)

    def test_name_date_and_kind_of_a_file_are_not_copied(self, tmp_path):
        model = datamodels.CubeModel((2, 8, 6))
        model.meta.filename, model.meta.date, model.meta.model_type = (
            "mine.fits",
            "2026",
            "CubeModel",
        )
        other = self.other(tmp_path)
        assert other.meta.filename == "other.fits"
        model.update(other)
        assert model.meta.telescope == "JWST"
        kept = (model.meta.filename, model.meta.date, model.meta.model_type)
        assert kept == ("mine.fits", "2026", "CubeModel")

    @pytest.mark.parametrize(
        ("only", "taken"),
        [
            ("SCI", {"meta.wcsinfo.crval1"}),
            (["meta.instrument"], {"meta.instrument.name"}),
            (["meta.telescope", "sci"], {"meta.telescope", "meta.wcsinfo.crval1"}),
        ],
    )
    def test_parts_are_hdus_branches_or_values(self, tmp_path, only, taken):
        model = datamodels.ImageModel()
        model.update(self.other(tmp_path), only=only)
        assert set(model.to_flat_dict()) == taken

    def test_unknown_parts_are_refused(self, tmp_path):
        with pytest.raises(ValidationError, match=r"'meta\.instrment'; did you mean 'meta\.instru"):
            datamodels.ImageModel().update(self.other(tmp_path), only=["meta.instrment"])

    def test_plain_mappings_are_accepted_and_validated(self):
        model = datamodels.ImageModel()
        with pytest.warns(ValidationWarning, match="'WFC3'"):
            model.update({"meta": {"telescope": "JWST", "instrument": {"name": "WFC3"}}})
        assert model.to_flat_dict() == {"meta.telescope": "JWST"}

    @pytest.mark.parametrize(
        ("metadata", "names"),
        [
            ({"meta": {"instrument": {"detectr": "NRCA1"}}}, "meta.instrument.detectr"),
            ({"meta": {"instrument": "NIRCAM"}}, "meta.instrument"),
            ({"telescope": "JWST"}, "telescope"),
            ({"meta": dict.fromkeys("abcdefg", 1)}, "meta.a, .*, meta.e and 2 more"),
        ],
    )
    def test_names_that_no_schema_has_are_reported(self, metadata, names):
        model = datamodels.ImageModel()
        with pytest.warns(ValidationWarning, match=f"'image' does not name {names}: left out"):
            model.update({**metadata, "meta": {"telescope": "JWST", **metadata.get("meta", {})}})
        assert model.to_flat_dict() == {"meta.telescope": "JWST"}
        model.update(metadata, only="meta.telescope")


class TestCounts:
    def test_a_ramp_as_raw_counts(self):
        ramp = datamodels.RampModel(np.full((1, 2, 8, 6), 7.0))
        np.testing.assert_array_equal(datamodels.Level1bModel(ramp).data, np.full((1, 2, 8, 6), 7))
        raw = datamodels.Level1bModel(datamodels.RampModel(np.full((1, 2, 8, 6), -3.0)))
        with pytest.raises(ModelError, match="data: uint16 cannot hold"):
            raw.data.compute(scheduler="sync")
