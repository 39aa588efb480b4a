"""Cleaning of rates: agreement with jwst's step, and rules."""

import numpy as np
import pytest
from astropy.io import fits
from support.agreement import assert_close
from support.cases import long
from support.simulated import offline
from support.step_contract import prepare_inputs, raw

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.steps.clean_flicker_noise import CleanFlickerNoiseStep
from calbatch.calibrate.steps.clean_flicker_noise.rates import (
    RateRows,
    count_frames,
    gather_rates,
    is_rate,
    subtract_from_rates,
)
from calbatch.models.datamodels import CubeModel, ImageModel, RampModel
from calbatch.models.tiling.plan import Region

NAME = "clean_flicker_noise"
WHOLE = Region((0, 4), (0, 5))


def rates(detector, kind):
    return prepare_inputs(NAME, detector, "rates")[kind == "rateints"]


@pytest.mark.agreement
@pytest.mark.filterwarnings("ignore")  # of jwst
class TestAgreementWithJwst:
    @pytest.mark.parametrize(
        ("detector", "kind", "parameters"),
        [
            ("NRCA1", "rate", {"save_mask": True, "save_noise": True, "save_background": True}),
            (
                "NRCA1",
                "rateints",
                {"save_mask": True, "save_noise": True, "save_background": True},
            ),
            ("NIS", "rateints", {"single_mask": False, "apply_flat_field": True}),
            ("NIS", "rateints", {"autoparam": True}),
            long("NRS1", "rate", {"fit_method": "fft", "background_method": None}),
            long("MIRIMAGE", "rate", {"n_sigma": 3.0}),
        ],
    )
    def test_rates_and_products_agree(self, tmp_path, detector, kind, parameters):
        from jwst.clean_flicker_noise import CleanFlickerNoiseStep as JwstStep

        path = rates(detector, kind).path
        folders = tmp_path / "ours", tmp_path / "theirs"
        for folder, step in zip(folders, (CleanFlickerNoiseStep, JwstStep), strict=True):
            folder.mkdir()
            with offline(raw(detector).set):
                step.call(
                    str(path), skip=False, save_results=True, output_dir=str(folder), **parameters
                )
        suffixes = {NAME: "cleanflickernoisestep"}
        wanted = ("mask", "noise", "background")
        made = {"mask": "mask", "noise": "flicker_noise", "background": "flicker_bkg"}
        suffixes |= {made[name]: made[name] for name in wanted if parameters.get(f"save_{name}")}
        for ours, theirs in suffixes.items():
            found, expected = (
                folder / f"{path.stem}_{suffix}.fits"
                for folder, suffix in zip(folders, (ours, theirs), strict=True)
            )
            self.compare(found, expected, path)

    def compare(self, found, expected, before):
        error = np.nanmedian(fits.getdata(before, "ERR"))
        with fits.open(found) as ours, fits.open(expected) as theirs:
            assert ours[0].header["DATAMODL"] == theirs[0].header["DATAMODL"]
            assert ours[0].header["S_CLNFNS"] == theirs[0].header["S_CLNFNS"]
            arrays = [hdu.name for hdu in theirs if hdu.is_image and hdu.data is not None]
            assert "SCI" in arrays
            for name in arrays:
                assert_close(ours[name].data, theirs[name].data, error, f"{found.name} {name}")


class TestRules:
    def test_rates_are_images_and_cubes(self):
        assert is_rate(ImageModel(np.zeros((4, 5), "f4")))
        assert is_rate(CubeModel(np.zeros((2, 4, 5), "f4")))
        assert not is_rate(RampModel(np.zeros((1, 2, 4, 5), "f4")))

    @pytest.mark.parametrize(
        ("cls", "shape", "counts"),
        [
            (ImageModel, (4, 5), (1, 1)),
            (CubeModel, (3, 4, 5), (3, 1)),
            (RampModel, (3, 6, 4, 5), (3, 5)),
        ],
    )
    def test_the_number_of_frames_that_are_cleaned(self, cls, shape, counts):
        assert count_frames(cls(np.zeros(shape, "f4"))) == counts

    def test_one_rate_has_a_single_frame(self):
        data, flat = np.arange(20, dtype="f4").reshape(4, 5), np.full((4, 5), 2, "f4")
        rows = gather_rates(data, region=WHOLE, is_automatic=False, flat=flat)
        assert isinstance(rows, RateRows)
        assert rows.shape == (1, 1, 4, 5)
        found = np.empty((4, 5), "f4")
        rows.write_frame(0, 0, found)
        np.testing.assert_array_equal(found, data / 2)
        np.testing.assert_array_equal(rows.rates["rate.data"], data / 2)

    def test_a_users_mask_replaces_rates_unless_parameters_are_chosen(self):
        data, mask = np.ones((2, 4, 5), "f4"), np.ones((4, 5), "f4")
        data[0, 1, 1] = data[:, 2, 2] = np.nan
        rows = gather_rates(data, region=WHOLE, is_automatic=False, user_mask=mask)
        assert rows.rates == {}
        rows = gather_rates(data, region=WHOLE, is_automatic=True, user_mask=mask)
        mean = rows.rates["rate.data"]
        assert np.argwhere(np.isnan(mean)).tolist() == [[2, 2]]

    def test_integrations_without_background_stay_as_they_are(self):
        from calbatch.calibrate.steps.clean_flicker_noise.cleaning import FlickerNoise

        data = np.ones((2, 4, 5), "f4")
        noise = [[None], [np.full((4, 1), 3, "f4")]]
        found = FlickerNoise(frame=(4, 5), noise=noise, background=[[None]] * 2, mask=None)
        after = subtract_from_rates(data, noise=found, region=WHOLE)
        np.testing.assert_array_equal(after[0], data[0])
        assert np.all(after[1] == -2)

    def test_science_regions_of_rates_of_miri_are_refused(self):
        rate = ImageModel(np.zeros((4, 5), "f4"))
        rate.meta.exposure.type = "MIR_IMAGE"
        step = CleanFlickerNoiseStep(skip=False, mask_science_regions=True)
        with pytest.raises(StepError, match="not supported yet for rates"):
            step.run(rate)
