"""Masks of sources: agreement with jwst's function."""

import numpy as np
import pytest

from calbatch.calibrate.steps.clean_flicker_noise.scene import SceneRules, mask_sources


def draw(seed=0, shape=(60, 70)):
    rng = np.random.default_rng(seed)
    rate = rng.normal(1, 0.2, shape)
    rate[rng.random(shape) < 0.1] += 3
    rate[rng.random(shape) < 0.02] = np.nan
    rate[rng.random(shape) < 0.02] = 0
    return rate.astype("f4")


@pytest.mark.agreement
@pytest.mark.parametrize(
    "options", [{}, {"n_sigma": 4.0}, {"fit_histogram": True}, {"n_sigma": 0.0}], ids=str
)
def test_masks_are_jwsts(options):
    from jwst.clean_flicker_noise.clean_flicker_noise import create_mask
    from stdatamodels.jwst import datamodels

    rate = draw()
    model = datamodels.ImageModel(rate.copy(), dq=np.zeros(rate.shape, "u4"))
    model.meta.exposure.type = "NRC_IMAGE"
    wanted = create_mask(model, single_mask=True, **options)
    np.testing.assert_array_equal(mask_sources(rate, SceneRules(**options)), wanted)
    assert 0.5 < wanted.mean() < 1


def test_excluded_pixels_are_not_background_and_do_not_count():
    rate = draw()
    excluded = np.zeros(rate.shape, bool)
    excluded[:20] = True
    masked = mask_sources(rate, SceneRules(), excluded)
    assert not masked[:20].any()
    np.testing.assert_array_equal(masked[20:], mask_sources(rate[20:], SceneRules()))
