"""Parameters chosen from the data: agreement with jwst's functions."""

import numpy as np
import pytest
from jwst.clean_flicker_noise import autoparam
from stdatamodels.jwst import datamodels

from calbatch.calibrate.steps.clean_flicker_noise.automatic import (
    LIMITS,
    ChoiceLimits,
    ImageStatistics,
    apply_thresholds,
    choose_parameters,
    describe_image,
    find_largest_step,
    fit_line,
)


def draw(seed, shape=(64, 96)):
    """Return a draft image with a random slope, stripes, sources and NaN."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    slope = 10 ** rng.uniform(-7, -2, 2)
    image = 1 + slope[0] * rows + slope[1] * columns + rng.normal(0, 0.02, shape)
    image += rng.normal(0, 0.02, (shape[0], 1))
    sources = rng.random(shape) < rng.uniform(0, 0.1)
    image[sources] += rng.exponential(3, sources.sum())
    image[rng.random(shape) < 0.02] = np.nan
    return image.astype("f4")


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("kind", LIMITS)
    @pytest.mark.parametrize("seed", range(5))
    def test_choices(self, kind, seed):
        image, axis = draw(seed), 1 if kind == "NRC_IMAGE" else 0
        model = datamodels.ImageModel(image.copy())
        model.meta.subarray.slowaxis = axis + 1
        name = "nircam" if kind == "NRC_IMAGE" else "niriss"
        wanted = getattr(autoparam, f"{name}_image_parameters")(model, None)
        found = choose_parameters(image, kind, axis)
        assert found.background_method == wanted["background_method"]
        assert found.by_channel == wanted["fit_by_channel"]

    @pytest.mark.parametrize("kind", LIMITS)
    def test_decisions_on_random_statistics(self, kind):
        rng = np.random.default_rng(1)
        limits, chosen = LIMITS[kind], set()
        theirs = {
            "mask_frac": limits.masked, "max_offset_high_mask": limits.offset,
            "max_slope_low_offset": limits.low_slope, "max_slope_high_offset": limits.high_slope,
            "slope_ratio": limits.slope_ratio, "channel_sigma": limits.scatter,
        }  # fmt: skip
        for _ in range(300):
            found = ImageStatistics(*(np.array(_statistics(limits)) * 10 ** rng.uniform(-1, 1, 5)))
            found = found._replace(offset=found.offset * rng.integers(2))
            wanted = {"background_method": "", "fit_by_channel": False}
            arguments = found.masked, found.offset, found.slope, found.slope_ratio, found.scatter
            autoparam._image_decision_tree(wanted, theirs, *arguments)
            ours = apply_thresholds(found, limits)
            assert ours.background_method == wanted["background_method"]
            assert ours.by_channel == wanted["fit_by_channel"]
            chosen.add(ours)
        assert len(chosen) == 4

    def test_steps_between_channels(self):
        values = np.repeat([1.0, 1.2, 0.9, 0.95], 512) + np.random.default_rng(1).normal(
            0, 0.1, 2048
        )
        assert find_largest_step(values) == pytest.approx(autoparam._max_channel_offset(values))
        assert find_largest_step(values[:100]) == 0

    def test_lines(self):
        values = np.random.default_rng(1).normal(0, 1, 90) + 0.3 * np.arange(90)
        values[[3, 40]] = np.nan, 500
        _, slope, scatter = autoparam._line_fit(values)
        assert fit_line(values) == pytest.approx((slope, scatter))


def _statistics(limits: ChoiceLimits):
    return limits.masked, limits.offset, limits.high_slope, limits.slope_ratio, limits.scatter


def test_an_image_without_background_has_no_statistics():
    image = np.full((8, 8), np.nan, "f4")
    assert describe_image(image, "NRC_IMAGE", 1) is None
    assert choose_parameters(image, "NRC_IMAGE", 1).background_method == "median"


@pytest.mark.parametrize("kind", LIMITS)
def test_an_image_without_usable_values_gets_the_defaults(kind):
    infinite = np.full((16, 16), np.inf, "f4")
    signs = np.where(np.arange(256).reshape(16, 16) % 2, 1, -1)
    for image in (infinite, signs * infinite, (signs * 3e38).astype("f4")):  # overflows
        with np.errstate(all="ignore"):
            chosen = choose_parameters(image, kind, 1)
        assert (chosen.background_method, chosen.by_channel) == ("median", False)


def test_a_flat_image_has_an_infinite_ratio_of_slopes():
    assert describe_image(np.ones((8, 8), "f4"), "NRC_IMAGE", 1).slope == pytest.approx(0, abs=1e-9)
