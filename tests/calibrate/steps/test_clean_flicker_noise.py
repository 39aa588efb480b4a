"""1/f cleaning: agreement with jwst's step, its products, and individual rules."""

from functools import cache

import dask
import numpy as np
import pytest
from astropy.io import fits
from support.agreement import assert_close
from support.simulated import offline, small_exposure
from support.step_contract import StepContract, prepare_inputs, raw

from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.simulate import Noise
from calbatch.calibrate.steps.clean_flicker_noise import CleanFlickerNoiseStep
from calbatch.models.datamodels import ImageModel, RampModel

NAME = "clean_flicker_noise"


def on(**parameters):
    return CleanFlickerNoiseStep(**{"skip": False, **parameters})


@cache
def without_dead_pixels(detector):
    """Return an exposure and its ramp before the step.

    The rate of a dead pixel is 0 here and a rounding error in jwst, so that masks would differ.
    """
    noise = Noise(cosmic_rays=200.0, hot=0.003)
    exposure = small_exposure(detector, shape=(32, 32), nints=2, ngroups=7, noise=noise)
    ramp = RampModel(exposure.path)
    with offline(exposure.set):
        for step in Detector1Pipeline().steps_for(exposure.header["INSTRUME"]):
            if step.name == NAME:
                break
            ramp = step(ramp)
        path = ramp.save(exposure.path.with_name("before_cleaning.fits"))
    return exposure, RampModel(path)


def load_exposure(detector):
    if detector == "MIRIMAGE":
        return without_dead_pixels(detector)
    (ramp,) = prepare_inputs(NAME, detector, "ramp")
    return raw(detector), ramp


class TestContract(StepContract):
    name = NAME
    parameters = {"skip": False, "apply_flat_field": True}


class TestContractAlongColumns(StepContract):
    name = NAME
    detector = "NIS"
    parameters = {"skip": False, "single_mask": False}


@pytest.mark.agreement
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # jwst computes with NaN
@pytest.mark.filterwarnings("ignore:'get_cache_lock' is deprecated:DeprecationWarning")
class TestAgreementWithJwst:
    def both(self, detector, tmp_path, **parameters):
        """Return our file and jwst's model of the same cleaned ramp."""
        from jwst.clean_flicker_noise import CleanFlickerNoiseStep as JwstStep
        from stdatamodels.jwst import datamodels

        exposure, ramp = load_exposure(detector)
        with offline(exposure.set), dask.config.set({"calbatch.tile-rows": 9}):
            theirs = JwstStep.call(datamodels.RampModel(str(ramp.path)), skip=False, **parameters)
            ours = on(**parameters).run(ramp.copy())
            path = ours.save(tmp_path / "ours.fits")
        return path, theirs

    @pytest.mark.parametrize(
        ("detector", "parameters"),
        [
            ("NRCA1", {}),
            (
                "NRCA1",
                {"background_method": "model", "background_box_size": [4, 4], "n_sigma": 3.0},
            ),
            ("NRCA1", {"background_method": None, "n_sigma": 0, "single_mask": False}),
            ("NIS", {"fit_histogram": True, "n_sigma": 3.0}),
            ("NIS", {"background_method": "model", "background_box_size": [8, 16]}),
            ("NIS", {"autoparam": True}),
            ("NRS1", {"fit_method": "fft"}),
            ("MIRIMAGE", {"mask_science_regions": True, "single_mask": False}),
        ],
    )
    def test_ramps_agree(self, tmp_path, detector, parameters):
        path, theirs = self.both(detector, tmp_path, **parameters)
        exposure, before = load_exposure(detector)
        noise = fits.getdata(exposure.reference("readnoise"))
        with fits.open(path) as hdus:
            assert hdus[0].header["S_CLNFNS"] == theirs.meta.cal_step.clean_flicker_noise
            found = hdus["SCI"].data
            assert_close(found, theirs.data, np.nanmedian(noise), f"{detector} {parameters}")
            assert np.nanmax(np.abs(found - np.asarray(before.data))) > 1  # DN

    @pytest.mark.parametrize(
        ("detector", "parameters"),
        [("MIRIMAGE", {"fit_method": "fft"}), ("NRCA1", {"fit_method": "fft"})],
    )
    def test_the_step_fails_where_jwst_fails(self, tmp_path, detector, parameters):
        path, theirs = self.both(detector, tmp_path, **parameters)
        with fits.open(path) as hdus:
            assert (
                hdus[0].header["S_CLNFNS"] == theirs.meta.cal_step.clean_flicker_noise == "FAILED"
            )
            np.testing.assert_array_equal(hdus["SCI"].data, theirs.data)

    def test_a_flat_and_a_mask_of_the_user_and_products_agree(self, tmp_path):
        from jwst.clean_flicker_noise import CleanFlickerNoiseStep as JwstStep
        from stdatamodels.jwst import datamodels

        rng = np.random.default_rng(2)
        (ramp,) = prepare_inputs(NAME, "NIS", "ramp")
        mask = datamodels.ImageModel((rng.random(ramp.frame) < 0.7).astype("f4"))
        mask.save(tmp_path / "mask.fits")
        flat = rng.normal(1, 0.1, ramp.frame).astype("f4")
        flat[rng.random(ramp.frame) < 0.05] = np.nan
        flat[3, 4:9] = 0
        model = datamodels.FlatModel(data=flat)
        model.meta.subarray = {"xstart": 1, "ystart": 1, "xsize": 32, "ysize": 32}
        model.save(tmp_path / "flat.fits")
        parameters = {
            "user_mask": str(tmp_path / "mask.fits"), "apply_flat_field": True,
            "override_flat": str(tmp_path / "flat.fits"), "save_mask": True,
            "save_background": True, "save_noise": True, "background_method": "model",
        }  # fmt: skip
        folders = tmp_path / "ours", tmp_path / "theirs"
        for folder in folders:
            folder.mkdir()
        with offline(raw("NIS").set), dask.config.set({"calbatch.tile-rows": 9}):
            JwstStep.call(
                datamodels.RampModel(str(ramp.path)), skip=False, save_results=True,
                output_dir=str(folders[1]), **parameters,
            )  # fmt: skip
            on(**parameters, save_results=True, output_dir=str(folders[0])).run(ramp.copy())
        suffixes = {"clean_flicker_noise": "cleanflickernoisestep"}
        suffixes |= {name: name for name in ("mask", "flicker_bkg", "flicker_noise")}
        for product, suffix in suffixes.items():
            found = folders[0] / f"before_{product}.fits"
            wanted = folders[1] / f"before_{suffix}.fits"
            with fits.open(found) as ours, fits.open(wanted) as theirs:
                written = {hdu.name for hdu in theirs} - {"ASDF"}
                tables = {"ASDF", "GROUP", "INT_TIMES"}  # ours keep those of the ramp
                assert {hdu.name for hdu in ours} - tables == written - tables, product
                for name in written - {"PRIMARY", *tables}:
                    assert_close(ours[name].data, theirs[name].data, 10.0, f"{product} {name}")


class TestRules:
    @pytest.mark.parametrize(
        ("parameters", "words"), [({"background_method": "median_image"}, "median_image")]
    )
    def test_what_is_not_supported_is_refused_before_the_exposure_is_opened(
        self, parameters, words
    ):
        pipeline = Detector1Pipeline()
        pipeline.configure({NAME: {"skip": False, **parameters}}, "test")
        with pytest.raises(ParameterError, match=f"{words}.* is not supported yet"):
            pipeline.run("there_is_no_such_file.fits")

    def test_regions_that_need_coordinates_are_refused_by_exposure_type(self):
        ramp = RampModel(np.zeros((1, 3, 4, 5), "f4"))
        ramp.meta.exposure.type = "NRS_IFU"
        with pytest.raises(StepError, match=r"mask_science_regions is not supported yet .*NRS_IFU"):
            on(mask_science_regions=True).run(ramp)

    def test_the_slow_axis_must_be_known(self):
        ramp = RampModel(np.zeros((1, 3, 4, 5), "f4"))
        ramp.meta.exposure.type = "NRC_IMAGE"
        with pytest.raises(StepError, match="SLOWAXIS"):
            on(user_mask="any.fits").run(ramp)

    def test_a_mask_of_another_shape_fails_the_step_and_the_ramp_passes(self, tmp_path):
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((4, 6), "f4"), name="SCI")]).writeto(
            tmp_path / "mask.fits"
        )
        ramp = RampModel(np.ones((1, 3, 4, 5), "f4"))
        ramp.meta.exposure.type, ramp.meta.subarray.slowaxis = "NRC_IMAGE", 2
        result = on(user_mask=str(tmp_path / "mask.fits")).run(ramp)
        assert result.meta.cal_step.clean_flicker_noise == "FAILED"
        np.testing.assert_array_equal(result.data, ramp.data)

    def test_only_references_in_use_are_wanted(self):
        assert on().wanted_references("NIRCAM") == {"gain", "readnoise"}
        assert on(user_mask="m.fits").wanted_references("NIRCAM") == set()
        assert "flat" in on(apply_flat_field=True).wanted_references("NIRCAM")
        assert CleanFlickerNoiseStep().wanted_references("NIRCAM") == set()

    def test_traces_are_wanted_for_niriss_only_and_recorded_for_soss(self, tmp_path):
        assert "pastasoss" in on().wanted_references("NIRISS")
        model = RampModel(np.ones((1, 3, 8, 8), "f4"))
        model.meta.exposure.type, model.meta.subarray.slowaxis = "NIS_SOSS", -1
        model.meta.instrument.name = "NIRISS"
        mask = ImageModel(np.ones((8, 8), "f4"))
        path = mask.save(tmp_path / "mask.fits")
        result = on(user_mask=str(path), override_pastasoss="N/A").run(model)
        assert result.meta.ref_file.pastasoss.name == "N/A"

    def test_the_pipeline_skips_it_by_default(self):
        assert Detector1Pipeline().clean_flicker_noise.skip

    def test_memory_of_the_noise_counts_in_the_plan(self):
        from calbatch.models.budget import tile_budget

        (ramp,) = prepare_inputs(NAME, "NRCA1", "ramp")
        with offline(raw("NRCA1").set):
            cleaned = on().run(ramp.copy())
        pixels = 32 * 32
        ramp_bytes = ramp.shape[0] * ramp.shape[1] * pixels * 5  # of float32, and flags of a byte
        kept = tile_budget([cleaned]).decisions
        assert 4 * pixels <= kept < ramp_bytes
        with dask.config.set({"calbatch.kept-bytes": 0}):
            assert tile_budget([cleaned]).decisions == kept + ramp_bytes
