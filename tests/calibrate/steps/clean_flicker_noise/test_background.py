"""The background of frames and flats: agreement with jwst's functions."""

import numpy as np
import pytest

from calbatch.calibrate.steps.clean_flicker_noise.background import (
    fill_flat,
    fit_model,
    gather_flat,
)


def draw(shape=(160, 192), seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rng.normal(10, 1, shape) + 0.1 * rows - 0.05 * columns).astype("f4")


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("box", [None, (20, 12), (7, 9)])
    def test_maps_are_equal(self, box):
        from jwst.clean_flicker_noise.background_level import background_level, clip_to_background

        image, mask = draw(), np.random.default_rng(1).random((160, 192)) < 0.9
        wanted = background_level(image, mask.copy(), "model", box)
        clip_to_background(image, mask, 3.0, 3.0, lower_half_only=True)
        np.testing.assert_array_equal(fit_model(image, mask, box), wanted.astype("f4"))

    def test_flats_are_filled_alike(self, tmp_path):
        from jwst.clean_flicker_noise.clean_flicker_noise import read_flat_file
        from stdatamodels.jwst import datamodels

        flat = draw((36, 50)) / 10
        rng = np.random.default_rng(2)
        for value in (0, np.nan, np.inf):
            flat[rng.random(flat.shape) < 0.05] = value
        place = {"xstart": 1, "ystart": 1, "xsize": 50, "ysize": 36}
        model, exposure = datamodels.FlatModel(data=flat), datamodels.ImageModel(flat)
        for each in (model, exposure):
            each.meta.subarray = place
        model.save(tmp_path / "flat.fits")
        wanted = read_flat_file(exposure, str(tmp_path / "flat.fits"))
        bands = [gather_flat(flat[:20]), gather_flat(flat[20:])]
        np.testing.assert_allclose(fill_flat(bands), wanted, rtol=1e-6)


class TestRules:
    def test_a_flat_without_bad_pixels_stays_as_it_is(self):
        flat = draw()
        np.testing.assert_array_equal(fill_flat([flat[:9], flat[9:]]), flat)

    def test_a_flat_without_good_pixels_is_one(self):
        np.testing.assert_array_equal(fill_flat([np.full((4, 5), np.nan, "f4")]), np.ones((4, 5)))

    def test_too_few_pixels_have_no_map(self):
        image = draw()
        assert fit_model(image, np.zeros(image.shape, bool), None) is None
