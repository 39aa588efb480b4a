"""Contents of jwst's files beside arrays and metadata: units, history, logs, and own cards."""

import gwcs
import numpy as np
import pytest
from astropy.coordinates import ICRS
from astropy.io import fits
from astropy.modeling.models import Shift
from astropy.table import QTable
from gwcs import coordinate_frames
from stdatamodels.jwst import datamodels as jwst_models

from calbatch.cluster.cli.commands import listings
from calbatch.models import datamodels

# Deprecation warnings of stdatamodels and its dependencies.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

UNITS = {"WAVELENGTH": "um", "FLUX": "Jy", "SURF_BRIGHT": "MJy/sr"}


def set_table(spectrum, flux):
    """Set a table with units in a spectrum of stdatamodels."""
    table = np.ones(3, spectrum.get_dtype("spec_table"))
    table["FLUX"] = flux
    spectrum.spec_table = table
    for name, unit in UNITS.items():
        spectrum.spec_table.columns[name].unit = unit


def units_of(table):
    return {column.name: column.unit for column in table.columns if column.unit}


@pytest.fixture
def spectra(tmp_path):
    """A file of two spectra by stdatamodels."""
    model = jwst_models.MultiSpecModel()
    for flux in (1, 2):
        model.spec.append(model.spec.item())
        set_table(model.spec[-1], flux)
    model.save(tmp_path / "spectra.fits")
    return tmp_path / "spectra.fits"


def test_units_of_columns_stay(tmp_path, spectra):
    model = datamodels.open(spectra)
    assert model.spec[0].column_units("spec_table") == UNITS
    model.spec[0].spec_table = 2 * [tuple(model.spec[1].spec_table[0])]
    model.spec.reverse()
    model.save(tmp_path / "again.fits", fsync=False)
    with jwst_models.MultiSpecModel(tmp_path / "again.fits") as found:
        assert [units_of(spectrum.spec_table) for spectrum in found.spec] == [UNITS, UNITS]


def test_units_stay_with_a_copied_and_a_converted_model(tmp_path):
    with jwst_models.SpecModel() as made:
        set_table(made, 1)
        made.save(tmp_path / "spectrum.fits")
    spectrum = datamodels.open(tmp_path / "spectrum.fits")
    changed = spectrum.copy()
    changed.column_units("spec_table")["FLUX"] = "mJy"
    listed = datamodels.MultiSpecModel()
    listed.spec.extend([spectrum, changed])
    path = listed.save(tmp_path / "list.fits", fsync=False)
    found = [item.column_units("spec_table") for item in datamodels.open(path).spec]
    assert found == [UNITS, UNITS | {"FLUX": "mJy"}]


def test_units_stay_with_columns_that_get_another_place(tmp_path):
    order = [c.name for c in datamodels.SpecModel().schema.fields["spec_table"].columns]
    columns = [fits.Column(n, "D", unit=f"u{n}", array=np.ones(2)) for n in reversed(order)]
    table = fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits")
    model = datamodels.SpecModel(tmp_path / "a.fits")
    with fits.open(model.save(tmp_path / "b.fits", fsync=False)) as hdus:
        assert hdus[1].columns.names == order
        assert units_of(hdus[1]) == {name: f"u{name}" for name in order}


def test_units_of_an_astropy_table_are_saved(tmp_path, spectra):
    item = datamodels.open(spectra).spec[0]
    table = QTable(item.spec_table, units={"WAVELENGTH": "nm"})
    model = datamodels.SpecModel(spec_table=table)
    with jwst_models.SpecModel(model.save(tmp_path / "table.fits", fsync=False)) as found:
        assert units_of(found.spec_table) == {"WAVELENGTH": "nm"}


@pytest.mark.parametrize("unit", [5, True, ""])
def test_a_unit_that_is_not_text_is_left_out(tmp_path, spectra, unit):
    with fits.open(spectra, mode="update") as hdus:
        hdus[1].header["TUNIT1"] = unit
    units = datamodels.open(spectra).spec[0].column_units("spec_table")
    assert units == {name: UNITS[name] for name in ("FLUX", "SURF_BRIGHT")}


def test_history_logs_and_own_cards_pass_between_calbatch_and_jwst(tmp_path):
    with jwst_models.ImageModel(np.ones((4, 5), "f4")) as made:
        made.cal_logs = {"calwebb_detector1": ["first line", "second line"]}
        made.add_history_entry("made")
        cards = {"PRIMARY": ["OWNCARD", 4, "note"], "SCI": ["OWNSCALE", 1.5, ""]}
        made.extra_fits = {hdu: {"header": [card]} for hdu, card in cards.items()}
        made.save(tmp_path / "theirs.fits")
    model = datamodels.open(tmp_path / "theirs.fits")
    assert model.value_in_asdf("cal_logs.calwebb_detector1") == ["first line", "second line"]
    assert model.history == ["made"]
    assert model.get_card("OWNCARD") == 4
    assert model.get_card("OWNSCALE", hdu="SCI") == 1.5
    model.history.append("changed")
    model.set_card("OWNCARD", 5)
    model.save(tmp_path / "ours.fits", fsync=False)
    with jwst_models.open(tmp_path / "ours.fits") as found:
        assert found.cal_logs.calwebb_detector1 == ["first line", "second line"]
        assert [entry["description"] for entry in found.history] == ["made", "changed"]
        assert found.extra_fits.PRIMARY.header[0][:2] == ["OWNCARD", 5]
        assert found.extra_fits.SCI.header[0][:2] == ["OWNSCALE", 1.5]


def test_inspect_shows_the_frames_of_a_wcs(tmp_path, capsys):
    pixels = coordinate_frames.Frame2D(name="detector", axes_order=(0, 1), unit=("pix", "pix"))
    sky = coordinate_frames.CelestialFrame(name="world", reference_frame=ICRS())
    shift = Shift(1.0) & Shift(2.0)
    with jwst_models.ImageModel(np.ones((4, 5), "f4")) as made:
        made.meta.wcs = gwcs.WCS([(pixels, shift), (sky, None)])
        made.save(tmp_path / "cal.fits")
    listings.inspect(str(tmp_path / "cal.fits"), meta=False)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "wcs: detector: x, y in pixel, pixel", "wcs: world: lon, lat in deg, deg",
    ]  # fmt: skip
