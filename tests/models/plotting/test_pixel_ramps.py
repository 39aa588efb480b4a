"""Ramps of pixels."""

import dask.array as da
import numpy as np
import pytest
from matplotlib import rc_context
from support.plots import HOSTILE, legend_texts, make_image, make_ramp, render

from calbatch.models import datamodels, dq
from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import Reader
from calbatch.models.plotting.pixel_ramps import MARKS


def flagged_ramp():
    model = make_ramp()
    flags = np.zeros(model.shape, "u1")
    flags[0, 2, 3, 4] = dq.JUMP_DET
    flags[1, 4:, 3, 4] = dq.SATURATED | dq.DO_NOT_USE
    flags[:, :, 3, 5] = dq.JUMP_DET  # of the neighbour
    model.groupdq = flags
    pixels = np.zeros(model.shape[-2:], "u4")
    pixels[3, 4] = dq.HOT | dq.NONLINEAR
    model.pixeldq = pixels
    return model


def lines_of(figure):
    return {line.get_label(): line.get_data() for line in figure.axes[0].get_lines()}


def test_counts_are_drawn_against_time():
    model = make_ramp()
    figure = model.plot(x=4, y=3)
    axes, lines = figure.axes[0], lines_of(figure)
    assert list(lines) == ["integration 0", "integration 1"]
    for number in (0, 1):
        times, counts = lines[f"integration {number}"]
        np.testing.assert_array_equal(times, [0, 10, 20, 30, 40, 50])
        np.testing.assert_array_equal(counts, np.asarray(model.data)[number, :, 3, 4])
    assert axes.get_xlabel() == "time since the first group (s)"
    assert axes.get_ylabel() == "data (DN)"
    assert axes.get_title() == "RampModel: pixel x=4, y=3"
    render(figure)


def test_flagged_groups_are_marked():
    model = flagged_ramp()
    figure = model.plot(4, 3)
    lines, counts = lines_of(figure), np.asarray(model.data)[:, :, 3, 4]
    assert {name: data[0].tolist() for name, data in lines.items() if name in MARKS} == {
        "JUMP_DET": [20], "SATURATED": [40, 50], "DO_NOT_USE": [40, 50],
    }  # fmt: skip
    np.testing.assert_array_equal(lines["JUMP_DET"][1], counts[0, 2])
    np.testing.assert_array_equal(lines["SATURATED"][1], counts[1, 4:])
    assert {"JUMP_DET", "SATURATED", "DO_NOT_USE"} < {*legend_texts(figure.axes[0])}
    assert figure.axes[0].get_title().endswith("x=4, y=3\nHOT, NONLINEAR")


def test_every_flag_of_a_group_has_a_mark():
    assert set(MARKS) == {name for name, bit in dq.GROUP.items() if bit}


@pytest.mark.parametrize(("choice", "drawn"), [(1, [1]), ([1, 0], [1, 0]), (-1, [1])])
def test_integrations_are_chosen(choice, drawn):
    lines = lines_of(flagged_ramp().plot(4, 3, integration=choice))
    assert [name for name in lines if name not in MARKS] == [f"integration {n}" for n in drawn]
    assert ("JUMP_DET" in lines) == (0 in drawn)


def test_many_integrations_have_no_names_in_the_legend():
    figure = make_ramp((40, 3, 2, 2)).plot(0, 0)
    assert len(figure.axes[0].get_lines()) == 40
    assert legend_texts(figure.axes[0]) == []


@pytest.mark.parametrize("interval", [None, 0.0, -1.0])
def test_groups_are_counted_if_their_time_is_unknown(interval):
    model = make_ramp()
    model._content.tree["meta"]["exposure"]["group_time"] = interval
    figure = model.plot(0, 0)
    assert figure.axes[0].get_xlabel() == "group"
    assert lines_of(figure)["integration 0"][0].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_raw_exposure_has_ramps_without_marks():
    model = datamodels.Level1bModel(np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype("u2"))
    lines = lines_of(model.plot(1, 2))
    assert [data[1].tolist() for data in lines.values()] == [[11, 31, 51], [71, 91, 111]]


def test_only_the_pixel_is_read_from_a_file(tmp_path, monkeypatch):
    model = datamodels.open(flagged_ramp().save(tmp_path / "ramp.fits"))
    read = []
    fetch = Reader.read_beside

    def count(reader, rows, cols):
        read.append(np.prod(reader.window.cut(rows, cols[0]).shape[-2:]))
        return fetch(reader, rows, cols)

    monkeypatch.setattr(Reader, "read_beside", count)
    figure = model.plot(4, 3)
    assert figure.axes[0].get_title() == "ramp.fits: pixel x=4, y=3\nHOT, NONLINEAR"
    assert read == [1, 1, 1]  # data, groupdq and pixeldq


def test_only_the_tile_of_the_pixel_is_computed():
    computed = []

    def note(block, block_info=None):
        computed.append(block_info[0]["array-location"][-2])
        return block

    blocks = da.zeros((1, 4, 64, 8), chunks=(1, 4, 16, 8), dtype="f4")
    model = datamodels.RampModel(blocks.map_blocks(note, dtype="f4", meta=np.empty(0, "f4")))
    model.plot(2, 40)
    assert computed == [(32, 48)]


def test_computed_counts_and_flags_come_from_one_computation():
    calls = []

    def shift(data, groupdq):
        calls.append(data.shape)
        return data + 1, groupdq | dq.JUMP_DET

    model = make_ramp().map_tiles(shift, outputs=("data", "groupdq"))
    lines = lines_of(model.plot(4, 3))
    expected = np.asarray(make_ramp().data)[0, :, 3, 4] + 1
    np.testing.assert_array_equal(lines["integration 0"][1], expected)
    assert len(lines["JUMP_DET"][0]) == 12
    assert len(calls) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ramps_of_values_that_are_not_finite_are_drawn(value):
    model = datamodels.RampModel(np.full((1, 3, 2, 2), value, "f4"))
    model.meta.bunit_data = HOSTILE
    figure = model.plot(0, 0)
    assert "<script>" in figure.axes[0].get_ylabel()
    render(figure)


def test_legends_of_flags_are_no_latex():
    model = make_ramp()
    model.groupdq = np.full(model.shape, dq.JUMP_DET, "u1")
    with rc_context({"text.usetex": True}):
        axes = model.plot(1, 1).axes[0]
    texts = axes.get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["integration 0", "integration 1", "JUMP_DET"]
    assert not any(text.get_usetex() for text in texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": 9, "y": 0}, "x=9 does not exist; there are 0 to 8"),
        ({"x": 0, "y": -1}, "y=-1 is not in the frame, 0 to 7"),
        ({"x": 1.5, "y": 0}, "x must be an integer, not 1.5"),
        ({"x": 0, "y": 0, "integration": 2}, "integration=2 does not exist; there are 0 to 1"),
        ({"x": 0, "y": 0, "group": 2}, "group cannot be chosen for the ramp of a pixel"),
        ({"x": 0, "y": 0, "dq": True}, "dq cannot be chosen for the ramp of a pixel"),
        ({"x": 0, "y": 0, "stretch": "log", "limits": (0, 1)}, "stretch, limits cannot be chosen"),
        ({"x": 0, "y": 0, "wcs": False}, "wcs cannot be chosen for the ramp of a pixel"),
        ({"x": 0, "y": 0, "name": "pixeldq"}, r"pixeldq of shape \(8, 9\) has no ramps"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message):
    with pytest.raises(ModelError, match=message):
        flagged_ramp().plot(**arguments)


def test_an_image_has_no_ramps():
    with pytest.raises(ModelError, match=r"\(30, 40\) has no ramps; plot\(x, y\) needs \(integ"):
        make_image().plot(3, 4)
