"""Before and after a step."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.plots import HOSTILE, make_image, make_ramp, render, shown_values

import calbatch
from calbatch.models.errors import ModelError


def test_both_are_shown_on_one_scale_beside_their_difference():
    before, after = make_image(), make_image()
    pixels = np.asarray(before.data).copy()
    pixels[3, 4] += 100
    pixels[5, 6] -= 50
    after.data = pixels
    figure = calbatch.plot(before, after)
    first, second, third = figure.axes[:3]
    np.testing.assert_array_equal(shown_values(first), before.data)
    np.testing.assert_array_equal(shown_values(second), pixels)
    assert first.get_images()[0].norm is second.get_images()[0].norm
    difference = np.zeros(pixels.shape)
    difference[3, 4], difference[5, 6] = 100, -50
    np.testing.assert_allclose(shown_values(third), difference, atol=1e-4)
    low, high = third.get_images()[0].get_clim()
    assert low == -high
    assert third.get_title() == "difference: 2 pixels of 1200 changed"
    assert second.child_axes[0].get_ylabel() == "data (DN/s)"
    assert third.child_axes[0].get_ylabel() == "after - before: data (DN/s)"
    render(figure)


def test_a_plane_of_ramps_is_compared():
    before, after = make_ramp(), make_ramp()
    after.data = np.asarray(before.data) + 3
    figure = calbatch.plot(before, after, integration=1, group=0)
    np.testing.assert_allclose(shown_values(figure.axes[2]), 3, rtol=1e-5)
    assert figure.axes[0].get_title() == "before: data[1, 0]\nRampModel"


def test_unsigned_counts_may_become_smaller():
    before = calbatch.datamodels.Level1bModel(np.full((1, 1, 2, 2), 5, "u2"))
    after = calbatch.datamodels.Level1bModel(np.full((1, 1, 2, 2), 3, "u2"))
    figure = calbatch.plot(before, after)
    assert (shown_values(figure.axes[2]) == -2).all()


def test_pixels_that_lose_their_value_have_changed():
    before, after = make_image(), make_image()
    pixels = np.asarray(before.data).copy()
    pixels[0, 0] = np.nan
    after.data = pixels
    figure = calbatch.plot(before, after)
    assert figure.axes[2].get_title() == "difference: 1 pixel of 1200 changed"
    figure = calbatch.plot(after, after)
    assert figure.axes[2].get_title() == "difference: 0 pixels of 1200 changed"
    render(figure)


def test_changes_are_counted_among_the_pixels_that_are_sampled():
    before = calbatch.datamodels.ImageModel(np.zeros((3200, 64), "f4"))
    pixels = np.zeros((3200, 64), "f4")
    pixels[0, 0] = pixels[1, 1] = 1
    figure = calbatch.plot(before, calbatch.datamodels.ImageModel(pixels))
    title = "difference: 1 pixel of 51200 sampled ones changed"
    assert " ".join(figure.axes[2].get_title().split("\n")) == title


def test_hostile_text_is_drawn_as_it_is():
    model = make_image()
    model.meta.bunit_data = HOSTILE
    assert render(calbatch.plot(model, model))


def test_a_figure_of_the_caller_is_used():
    figure = Figure()
    assert calbatch.plot(make_image(), make_image(), figure=figure) is figure
    assert len(figure.axes) == 3


def test_arrays_that_cannot_be_compared_are_refused(tmp_path):
    other = make_image()
    other.meta.bunit_data = "MJy/sr"
    with pytest.raises(ModelError, match=r"data has the shapes \(30, 40\) and \(2, 6, 8, 9\)"):
        calbatch.plot(make_image(), make_ramp())
    with pytest.raises(ModelError, match=r"data \(DN/s\) and data \(MJy/sr\) have no scale"):
        calbatch.plot(make_image(), other)
    with pytest.raises(ModelError, match="has no 'err' to plot"):
        calbatch.plot(make_image(), make_image(), name="err")
    with pytest.raises(ModelError, match="MaskModel: has no 'data' to plot; it has dq"):
        calbatch.plot(make_ramp(), calbatch.datamodels.MaskModel((8, 9)))
    with pytest.raises(TypeError, match=r"open a file with calbatch\.open\(\), .*PosixPath"):
        calbatch.plot(tmp_path / "a.fits", make_image())
