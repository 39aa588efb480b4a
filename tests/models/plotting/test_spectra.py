"""Extracted spectra."""

import numpy as np
import pytest
from astropy.io import fits
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


def test_units_are_left_out_if_the_file_is_gone(tmp_path):
    path = datamodels.SpecModel(spec_table=make_table()).save(tmp_path / "gone_x1d.fits")
    model = datamodels.open(path)
    assert len(model.spec_table) == 5  # which reads the table
    path.unlink()
    assert model.plot().axes[0].get_xlabel() == "wavelength"


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
    with pytest.raises(ModelError, match="dq cannot be chosen for spectra"):
        datamodels.SpecModel(spec_table=make_table()).plot(dq=True)
