"""Images of models: what is drawn, and what is read for it."""

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from support.plots import (
    HOSTILE,
    SKY,
    legend_texts,
    make_image,
    make_ramp,
    render,
    shown_flags,
    shown_values,
)

from calbatch.models import datamodels, dq
from calbatch.models.errors import ChangedError, ModelError
from calbatch.models.fits.readers import Reader
from calbatch.models.plotting.images import FEW


def main_axes(figure):
    return figure.axes[0]


def test_the_primary_array_is_shown_with_its_unit():
    model = make_image()
    figure = model.plot()
    axes = main_axes(figure)
    np.testing.assert_array_equal(shown_values(axes), model.data)
    assert axes.get_xlim() == (-0.5, 39.5)
    assert axes.get_ylim() == (-0.5, 29.5)  # row 0 at the bottom
    assert axes.get_xlabel() == "column (x)"
    assert axes.get_ylabel() == "row (y)"
    assert axes.get_title() == "ImageModel: data"
    [bar] = axes.child_axes
    assert bar.get_ylabel() == "data (DN/s)"


def test_another_array_is_shown_by_name(tmp_path):
    model = make_image(err=np.full((30, 40), 2, "f4"))
    model.meta.bunit_err = "electron/s"
    axes = main_axes(datamodels.open(model.save(tmp_path / "a_rate.fits")).plot(name="err"))
    assert (shown_values(axes) == 2).all()
    assert axes.get_title() == "a_rate.fits: err"
    assert axes.child_axes[0].get_ylabel() == "err (electron/s)"


@pytest.mark.parametrize(
    ("choice", "index"),
    [
        ({}, (0, -1)),
        ({"integration": 1}, (1, -1)),
        ({"integration": -1, "group": 2}, (1, 2)),
        ({"group": np.int64(0)}, (0, 0)),
    ],
)
def test_a_plane_of_a_ramp_is_chosen(choice, index):
    model = make_ramp()
    axes = main_axes(model.plot(**choice))
    np.testing.assert_array_equal(shown_values(axes), np.asarray(model.data)[index])
    integration, group = index
    assert axes.get_title() == f"RampModel: data[{integration}, {group % 6}]"


def test_a_computed_plane_is_shown():
    model = make_ramp()
    model.data = model.data * 2
    expected = np.asarray(model.data)[1, 3]
    axes = main_axes(model.plot(integration=1, group=3))
    np.testing.assert_array_equal(shown_values(axes), expected)


def test_pixels_are_stretched_between_percentiles_unless_limits_are_given():
    model = make_image()
    pixels = np.asarray(model.data)
    [image] = main_axes(model.plot()).get_images()
    low, high = np.percentile(pixels, (1, 99.8))
    assert image.get_clim() == pytest.approx((low, high))
    middle = float(image.norm((low + high) / 2))
    assert middle > 0.5  # fainter values take more than their share
    [image] = main_axes(model.plot(limits=(8, 12), stretch="linear")).get_images()
    assert image.get_clim() == (8, 12)
    assert float(image.norm(10)) == 0.5


def test_flagged_pixels_are_drawn_over_the_image():
    flags = np.zeros((30, 40), "u4")
    flags[3, 4] = flags[29, 39] = dq.HOT
    flags[3, 5] = dq.HOT | dq.SATURATED
    model = make_image(dq=flags)
    axes = main_axes(model.plot(dq=True))
    hot = {(4, 3), (39, 29), (5, 3)}
    assert shown_flags(axes) == {"HOT": hot, "SATURATED": {(5, 3)}}
    assert legend_texts(axes) == ["SATURATED: 1", "HOT: 3"]
    axes = main_axes(model.plot(dq=["HOT", "DEAD"]))
    assert shown_flags(axes) == {"HOT": hot}
    assert legend_texts(axes) == ["HOT: 3"]
    assert legend_texts(main_axes(model.plot(dq="DEAD"))) == ["none of the flags occurs"]
    assert main_axes(model.plot()).get_legend() is None


def test_many_flagged_pixels_are_drawn_where_they_are():
    flags = np.where(np.random.default_rng(1).random((80, 60)) < 0.5, dq.WARM, 0).astype("u4")
    rows, columns = np.nonzero(flags)
    assert len(rows) > FEW
    axes = main_axes(make_image((80, 60), dq=flags).plot(dq=True))
    assert shown_flags(axes)["WARM"] == set(zip(columns.tolist(), rows.tolist(), strict=True))
    assert legend_texts(axes) == [f"WARM: {len(rows)}"]


def test_flags_of_pixels_and_of_the_group_are_drawn_over_a_ramp():
    model = make_ramp()
    groupdq = np.zeros(model.shape, "u1")
    groupdq[1, 2, 3, 4] = dq.JUMP_DET
    model.groupdq = groupdq
    pixeldq = np.zeros(model.shape[-2:], "u4")
    pixeldq[0, 1] = dq.REFERENCE_PIXEL
    model.pixeldq = pixeldq
    everywhere = {"REFERENCE_PIXEL": {(1, 0)}}
    shown = shown_flags(main_axes(model.plot(dq=True)))
    assert shown == everywhere
    shown = shown_flags(main_axes(model.plot(dq=True, integration=1, group=2)))
    assert shown == {"JUMP_DET": {(4, 3)}, **everywhere}


def test_the_axes_are_those_of_the_sky_if_the_header_has_them():
    model = make_image()
    for name, value in SKY.items():
        setattr(model.meta.wcsinfo, name, value)
    axes = main_axes(model.plot())
    assert axes.wcs.wcs.crval.tolist() == [80, -69]
    render(axes.figure)
    assert axes.coords[0].get_axislabel() == "RA"
    assert axes.coords[1].get_axislabel() == "DEC"
    assert not hasattr(main_axes(model.plot(wcs=False)), "wcs")


def test_values_that_are_not_finite_are_shown_in_a_colour_of_their_own():
    pixels = np.ones((4, 5), "f4")
    pixels[0, 0], pixels[1, 1] = np.nan, np.inf
    axes = main_axes(datamodels.ImageModel(pixels).plot())
    mask = np.ma.getmaskarray(shown_values(axes))
    assert np.argwhere(mask).tolist() == [[0, 0], [1, 1]]
    [image] = axes.get_images()
    [[finite, missing]] = image.to_rgba(np.ma.masked_invalid([[1.0, np.nan]]))
    assert finite.tolist() != missing.tolist() == list(to_rgba("tab:gray"))


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((6, 7), np.nan, "f4"),
        np.full((6, 7), np.inf, "f4"),
        np.zeros((6, 7), "f4"),
        np.full((6, 7), -3e38, "f4"),
        np.ones((1, 1), "f4"),
        np.full((1, 1), np.nan, "f4"),
        np.array([[-3e38, 3e38]], "f4"),
        np.array([[1e-40, 2e-40]], "f4"),
        np.ones((1, 500), "f4"),
    ],
)
def test_odd_images_are_drawn(pixels):
    model = datamodels.ImageModel(pixels)
    assert render(model.plot(figure=Figure()))
    assert render(model.plot(limits="zscale", stretch="linear", figure=Figure()))


def test_hostile_text_is_drawn_as_it_is(tmp_path):
    model = make_image()
    path = model.save(tmp_path / "image.fits")
    model = datamodels.open(path.rename(tmp_path / "$x^{$<script>\x1b.fits"))
    model.meta.bunit_data = HOSTILE
    model.data = model.data + 1
    model.product = HOSTILE
    figure = model.plot()
    axes = main_axes(figure)
    title = " ".join(axes.get_title().split("\n"))
    assert title.startswith("a $\\frac{x$ <script>_^ \\x1b[31m\\nyyy")
    assert title.endswith(" of $x^{$<script>\\x1b.fits: data")
    assert len(title) < 200
    assert axes.child_axes[0].get_ylabel().startswith("data (a $\\frac{x$ <script>_^ \\x1b[")
    render(figure)


def test_only_the_plane_is_read(monkeypatch, tmp_path):
    path = make_ramp().save(tmp_path / "ramp.fits")
    model = datamodels.open(path)
    expected = np.asarray(datamodels.open(path).data)[0, 2]
    read = []
    fetch = Reader.read_beside

    def count(reader, rows, cols):
        read.append(int(np.prod(reader.window.cut(rows, cols[0]).shape)))
        return fetch(reader, rows, cols)

    monkeypatch.setattr(Reader, "read_beside", count)
    axes = main_axes(model.plot(group=2))
    np.testing.assert_array_equal(shown_values(axes), expected)
    assert read == [8 * 9]


def test_little_of_a_huge_frame_is_read_and_drawn():
    """All pixels of this frame would not fit into memory."""
    side = 3_000_000
    model = datamodels.MaskModel((side, side))
    axes = main_axes(model.plot())
    step = -(-side // 2048)
    assert shown_values(axes).shape == (-(-side // step),) * 2
    assert axes.get_title() == f"MaskModel: dq, 1 in {step} rows and columns"
    assert axes.get_xlim()[1] == pytest.approx(side, rel=1e-3)


def test_sampled_pixels_are_shown_at_their_places(tmp_path):
    pixels = np.zeros((4000, 30), "f4")
    pixels[2000, 10] = 7
    flags = np.zeros(pixels.shape, "u4")
    flags[2000, 10] = dq.HOT
    path = datamodels.ImageModel(pixels, dq=flags).save(tmp_path / "tall.fits")
    lazy = datamodels.open(path)
    lazy.data = lazy.data * 1
    for model in (datamodels.open(path), lazy):
        axes = main_axes(model.plot(dq=True))
        assert shown_values(axes)[1000, 5] == 7
        assert shown_flags(axes) == {"HOT": {(10.5, 2000.5)}}  # in the middle of 2 x 2 pixels


@pytest.mark.parametrize("shape", [(3200, 64), (3201, 1401)])  # the latter in two bands of rows
@pytest.mark.parametrize("is_computed", [False, True])
def test_flags_of_pixels_between_the_sampled_ones_are_counted_and_drawn(
    shape, is_computed, tmp_path
):
    flags = np.zeros(shape, "u4")
    flags[1::2, 1::2] = dq.DEAD
    last = (shape[0] - 1, shape[1] - 1)
    for pixel in ((1, 1), (1, 3), (0, 2), last):
        flags[pixel] |= dq.HOT
    path = datamodels.ImageModel(np.zeros(shape, "f4"), dq=flags).save(tmp_path / "tall.fits")
    model = datamodels.open(path)
    if is_computed:
        model.dq = model.dq | 0
    axes = main_axes(model.plot(dq=["HOT", "DEAD"]))
    dead = (shape[0] // 2) * (shape[1] // 2)
    assert legend_texts(axes) == ["HOT: 4", f"DEAD: {dead}"]
    shown = shown_flags(axes)
    corner = tuple(index // 2 * 2 + 0.5 for index in last[::-1])
    assert shown["HOT"] == {(0.5, 0.5), (2.5, 0.5), corner}
    assert len(shown["DEAD"]) == dead


@pytest.mark.parametrize("is_computed", [False, True])
def test_flags_that_are_the_image_are_counted_in_all_pixels(is_computed):
    flags = np.zeros((3200, 64), "u4")
    flags[2001, 3] = dq.HOT
    model = datamodels.MaskModel(flags)
    if is_computed:
        model.dq = model.dq | 0
    axes = main_axes(model.plot(dq=True))
    assert shown_values(axes).shape == (1600, 32)
    assert legend_texts(axes) == ["HOT: 1"]


def test_legends_of_flags_are_no_latex():
    model = make_image(dq=np.full((30, 40), dq.JUMP_DET, "u4"))
    with rc_context({"text.usetex": True}):
        axes = main_axes(model.plot(dq=True))
    assert legend_texts(axes) == ["JUMP_DET: 1200"]
    [text] = axes.get_legend().get_texts()
    assert not text.get_usetex()


def test_a_changed_file_is_refused(tmp_path):
    path = make_image().save(tmp_path / "image.fits")
    model = datamodels.open(path)
    make_image((31, 40)).save(path)
    with pytest.raises(ChangedError, match=r"image\.fits"):
        model.plot()


def test_axes_and_figures_of_the_caller_are_used():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert make_image().plot(ax=right) is figure
    assert right.get_images()
    assert not left.get_images()
    above, below = Figure().subfigures(2)
    whole = make_image().plot(figure=below)
    assert whole is above.figure
    assert below.axes
    assert not above.axes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "flux"}, r"has no 'flux' to plot; it has data, dq"),
        ({"integration": 0}, r"data has no axis for integration=0: its shape is \(30, 40\)"),
        ({"group": 1}, "no axis for group=1"),
        ({"dq": "HOTT"}, "dq: 'HOTT' is not a flag; did you mean 'HOT'"),
        ({"dq": ["?"]}, r"is not a flag; the flags are DO_NOT_USE, SATURATED"),
        ({"stretch": "square"}, "stretch 'square' is not one of asinh, linear, log"),
        ({"limits": "minmax"}, "limits 'minmax' are neither percentile nor zscale"),
        ({"limits": (3, 1)}, "limits must be finite and in order, not 3 and 1"),
        ({"limits": (0, np.nan)}, "limits must be finite"),
        ({"limits": 7}, "limits 7 are not two numbers"),
        ({"x": 3}, r"plot\(x, y\) needs the column and the row of a pixel"),
        ({"cmap": "magna"}, "cmap 'magna' is not a colour map of matplotlib; did you mean 'magma'"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message):
    model = make_image(dq=np.zeros((30, 40), "u4"))
    with pytest.raises(ModelError, match=message):
        model.plot(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"integration": 2}, "integration=2 does not exist; there are 0 to 1"),
        ({"group": -7}, "group=-7 does not exist; there are 0 to 5"),
        ({"integration": "last"}, "integration must be an integer, not 'last'"),
    ],
)
def test_planes_that_do_not_exist_are_named(arguments, message):
    with pytest.raises(ModelError, match=message):
        make_ramp().plot(**arguments)


def test_an_image_without_flags_has_none_to_show():
    with pytest.raises(ModelError, match=r"has no flags .*assign dq first"):
        make_image().plot(dq=True)


def test_the_place_of_a_plot_must_be_one_of_matplotlib():
    model, figure = make_image(), Figure()
    with pytest.raises(TypeError, match="ax must be axes of matplotlib, not str"):
        model.plot(ax="here")
    with pytest.raises(TypeError, match="figure must be a figure of matplotlib, not str"):
        model.plot(figure="here")
    with pytest.raises(ModelError, match="leave out one of them"):
        model.plot(ax=figure.add_subplot(), figure=figure)
