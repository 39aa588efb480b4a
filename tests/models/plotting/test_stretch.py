"""Stretches and their limits."""

import numpy as np
import pytest
from astropy.visualization import ZScaleInterval

from calbatch.models.errors import ModelError
from calbatch.models.plotting.stretch import (
    ROWS,
    STRETCHES,
    choose_limits,
    choose_norm,
    choose_ticks,
)

SKY = np.random.default_rng(3).normal(100, 5, (64, 64))


@pytest.mark.parametrize("stretch", STRETCHES)
def test_brightness_grows_from_the_lower_to_the_upper_limit(stretch):
    norm = choose_norm([SKY], stretch, (90.0, 1000.0))
    shown = np.asarray(norm(np.linspace(90, 1000, 50)))
    assert shown[0] == pytest.approx(0, abs=1e-9)
    assert shown[-1] == pytest.approx(1)
    assert (np.diff(shown) > 0).all()


def test_asinh_shows_the_sky_and_the_stars():
    image = SKY.copy()
    image[10] = 1e5
    norm = choose_norm([image], "asinh", "percentile")
    sky, faint, star = (float(norm(v)) for v in (100, 1000, 1e5))
    assert 0 < sky < 0.3
    assert sky + 0.1 < faint < 0.9
    assert star >= 0.99
    assert norm.inverse(norm(500.0)) == pytest.approx(500)


@pytest.mark.parametrize(
    "limits", [(-0.3, 17000.0), (9950.0, 10050.0), (-3e38, 3e38), (1e-40, 2e-40), (0.0, 1.0)]
)
@pytest.mark.parametrize("stretch", ["asinh", "linear"])
def test_ticks_are_round_and_spread_over_the_bar(stretch, limits):
    norm = choose_norm([SKY], stretch, limits)
    ticks = choose_ticks(norm)
    places = np.asarray(norm(np.array(ticks)))
    assert len(ticks) >= 4
    assert limits[0] <= ticks[0] < ticks[-1] <= limits[1]
    assert np.diff(places).min() > 0.02
    assert np.diff(places).max() < 0.4
    assert all(len(f"{abs(tick):.15g}".split("e")[0].strip("0.")) <= 6 for tick in ticks)


def test_limits_are_percentiles_or_those_of_zscale():
    assert choose_limits(SKY, "percentile") == pytest.approx(np.percentile(SKY, (1, 99.8)))
    assert choose_limits(SKY, "zscale") == pytest.approx(ZScaleInterval().get_limits(SKY))


def test_limits_are_those_of_sampled_rows_and_of_all_images():
    tall = np.zeros((4 * ROWS, 3))
    tall[::4] = 1  # the sampled ones
    assert choose_norm([tall], "linear", "percentile").vmax > 1
    assert choose_norm([tall], "linear", "percentile").vmin > 0
    norm = choose_norm([np.zeros((4, 4)), np.full((4, 4), 8.0)], "linear", "percentile")
    assert (norm.vmin, norm.vmax) == (0, 8)


def test_log_needs_positive_values():
    norm = choose_norm([SKY - 95], "log", "percentile")
    assert norm.vmin > 0
    with pytest.raises(ModelError, match="log needs positive values, and there are none"):
        choose_norm([-SKY], "log", "percentile")
