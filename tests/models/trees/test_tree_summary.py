"""Summaries of trees name parts, transforms with their frames, and nothing unprintable."""

from astropy.modeling import models as astropy_models

from calbatch.models import datamodels


def lines_of(model):
    return [line.strip() for line in repr(model).splitlines()]


def test_a_transform_is_shown_with_its_steps_axes_and_frames(tmp_path):
    shift = astropy_models.Shift(1) & astropy_models.Shift(2)
    model = datamodels.DistortionModel(model=shift | astropy_models.Polynomial2D(1))
    model.meta.input_units, model.meta.output_units = "pixel", "arcsec"
    assert lines_of(model)[1] == "model: transform, (x0, x1) → (z), in pixel → arcsec"
    model.save(tmp_path / "a.asdf")
    assert lines_of(datamodels.open(tmp_path / "a.asdf"))[1] == (
        "model: transform of shift, shift, polynomial, (x0, x1) → (z), in pixel → arcsec"
    )


def test_branches_show_their_entries_and_lists_their_number():
    radii = [{"pupil": "ANY", "radius": 3}] * 12
    shown = lines_of(datamodels.TsoPhotModel(radii=radii))
    assert "radii: 12 items, of which the first is 2 entries: pupil, radius" in shown
    waves = lines_of(datamodels.EmiModel(frequencies={f"Hz{n}": {} for n in range(9)}))
    assert "frequencies: 9 entries: Hz0, Hz1, Hz2, Hz3, Hz4, Hz5, Hz6, Hz7" in waves
    assert "frequencies.Hz0: 0 entries" in waves


def test_text_of_a_file_cannot_control_the_terminal():
    model = datamodels.Extract1dModel(exp_type="\x1b[31m" + "x" * 500)
    assert "\x1b" not in repr(model)
    assert max(map(len, lines_of(model))) < 200
