"""Extracted spectra."""

import numpy as np
import pytest
from astropy.io import fits
from matplotlib import rc_context
from support.plots import HOSTILE, legend_texts, render

from calbatch.models import datamodels
from calbatch.models.errors import ModelError
from calbatch.models.schema.spec import load_schema


def make_table(factor=1.0):
    columns = load_schema("spec.schema.yaml").fields["spec_table"].columns
    table = np.zeros(5, [(column.name, column.dtype) for column in columns])
    table["WAVELENGTH"] = np.linspace(1, 2, 5)
    table["FLUX"] = factor * np.arange(5)
    table["FLUX_ERROR"] = 0.1
    return table


def test_flux_is_drawn_against_wavelength_with_its_error(tmp_path):
    path = datamodels.SpecModel(spec_table=make_table()).save(tmp_path / "b_x1d.fits")
    with fits.open(path, mode="update") as hdus:
        hdus["EXTRACT1D"].columns["WAVELENGTH"].unit = "um"
        hdus["EXTRACT1D"].columns["FLUX"].unit = "Jy $^{"
    figure = datamodels.open(path).plot()
    axes = figure.axes[0]
    [line] = axes.get_lines()
    np.testing.assert_array_equal(line.get_data(), [np.linspace(1, 2, 5), np.arange(5)])
    assert axes.get_xlabel() == "wavelength (um)"
    assert axes.get_ylabel() == "flux (Jy $^{)"
    assert axes.get_title() == "b_x1d.fits"
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(-0.1)
    assert band.max() == pytest.approx(4.1)
    render(figure)


def make_list(*units):
    """Return a list of spectra whose fluxes have these units."""
    model = datamodels.MultiSpecModel()
    for unit in units:
        item = model.spec.add(spec_table=make_table())
        item.column_units("spec_table").update({"WAVELENGTH": "um"} | unit)
    return model


def test_units_are_those_of_the_model_however_its_columns_are_spelt():
    axes = make_list({"FLUX": "mJy"}, {"flux": "mJy"}).plot().axes[0]
    assert axes.get_xlabel() == "wavelength (um)"
    assert axes.get_ylabel() == "flux (mJy)"


def test_a_unit_that_is_changed_is_shown(tmp_path):
    path = make_list({"FLUX": "Jy"}, {"FLUX": "Jy"}).save(tmp_path / "b_x1d.fits")
    model = datamodels.open(path)
    assert model.plot().axes[0].get_ylabel() == "flux (Jy)"
    for item in model.spec:
        item.column_units("spec_table")["FLUX"] = "mJy"
    assert model.plot().axes[0].get_ylabel() == "flux (mJy)"


def test_spectra_of_different_units_are_not_drawn_together():
    model = make_list({"FLUX": "Jy"}, {"FLUX": "MJy/sr"})
    with pytest.raises(ModelError, match=r"FLUX has no scale .* its units are Jy, MJy/sr; plot"):
        model.plot()
    assert model.spec[1].plot().axes[0].get_ylabel() == "flux (MJy/sr)"
    with pytest.raises(ModelError, match="its units are no unit, Jy"):
        make_list({"FLUX": "Jy"}, {}).plot()


def test_names_are_no_latex_and_may_begin_with_an_underscore():
    model = make_list({}, {})
    for item, name in zip(model.spec, ("_hidden", "A_1 $"), strict=True):
        item.name = name
    with rc_context({"text.usetex": True}):
        axes = model.plot().axes[0]
    assert legend_texts(axes) == ["_hidden", "A_1 $"]
    for text in axes.get_legend().get_texts():
        assert not text.get_usetex()
        assert not text.get_parse_math()
    handles = axes.get_legend().legend_handles
    assert [h.get_color() for h in handles] == [line.get_color() for line in axes.get_lines()]


def test_all_spectra_of_a_list_are_drawn_and_named():
    model = datamodels.MultiSpecModel()
    model.spec.add(spec_table=make_table(1), name=HOSTILE[:40])
    model.spec.add(spec_table=make_table(2), source_id=7)
    figure = model.plot()
    lines = figure.axes[0].get_lines()
    assert [line.get_ydata()[-1] for line in lines] == [4, 8]
    first, second = legend_texts(figure.axes[0])
    assert first.startswith("a $\\frac{x$ <script>_^ \\x1b[31m\\n")
    assert second == "7"
    render(figure)
    [line] = model.spec[1].plot().axes[0].get_lines()
    assert line.get_ydata()[-1] == 8


def test_a_table_of_other_columns_is_refused():
    columns = load_schema("tso_spec.schema.yaml").fields["spec_table"].columns
    table = np.zeros(2, [(column.name, column.dtype, 3) for column in columns])
    model = datamodels.TSOSpecModel(spec_table=table)
    with pytest.raises(ModelError, match=r"no columns WAVELENGTH and FLUX of one number per row"):
        model.plot()


@pytest.mark.parametrize(
    "choice",
    [{"dq": True}, {"stretch": "log"}, {"limits": (0, 1)}, {"wcs": False}, {"cmap": "gray"}],
)
def test_choices_for_images_are_refused(choice):
    with pytest.raises(ModelError, match=f"{next(iter(choice))} cannot be chosen for spectra"):
        datamodels.SpecModel(spec_table=make_table()).plot(**choice)
