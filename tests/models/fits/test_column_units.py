"""The units of tables' columns, by their names in any case."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from calbatch.models import datamodels
from calbatch.models.errors import ModelError, ValidationError, ValidationWarning
from calbatch.models.fits.column_units import ColumnUnits, stated_units

TABLE = "spec_table"


def make_table(kind=Table, *, further=(), **units):
    """Return a table of spectra, in small letters, whose columns have units and may be more."""
    known = datamodels.SpecModel().schema.fields[TABLE].columns
    names = [*(column.name.lower() for column in known), *further]
    if kind is np.ndarray:
        return np.ones(2, [(name, "f8") for name in names])
    if kind is fits.FITS_rec:
        columns = [fits.Column(n, "D", unit=units.get(n), array=np.ones(2)) for n in names]
        return fits.BinTableHDU.from_columns(columns).data
    return Table({name: np.ones(2) for name in names}, units=units)


def read_units(path):
    with fits.open(path) as hdus:
        return {column.name: column.unit for column in hdus[1].columns if column.unit}


@pytest.mark.parametrize("kind", [Table, fits.FITS_rec])
def test_units_have_the_names_of_the_schema(tmp_path, kind):
    model = datamodels.SpecModel(spec_table=make_table(kind, flux="mJy", wavelength="um"))
    units = model.column_units(TABLE)
    assert dict(units) == {"FLUX": "mJy", "WAVELENGTH": "um"}
    units["FLUX"] = "W"
    assert units["flux"] == "W"
    del units["Wavelength"]
    assert read_units(model.save(tmp_path / "a.fits", fsync=False)) == {"FLUX": "W"}


def test_a_unit_given_in_another_case_replaces_that_of_a_file(tmp_path):
    hdu = fits.BinTableHDU(make_table(fits.FITS_rec, flux="Jy", further=["own"]), name="EXTRACT1D")
    hdu.columns["own"].unit = "s"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    model = datamodels.SpecModel(tmp_path / "a.fits")
    assert dict(model.column_units(TABLE)) == {"FLUX": "Jy", "own": "s"}
    model.column_units(TABLE)["Flux"] = "W"
    model.column_units(TABLE)["OWN"] = "h"
    assert read_units(model.save(tmp_path / "b.fits", fsync=False)) == {"FLUX": "W", "own": "h"}


@pytest.mark.parametrize("kind", [Table, fits.FITS_rec])
def test_a_table_that_can_state_units_replaces_all_of_them(tmp_path, kind):
    model = datamodels.SpecModel(spec_table=make_table(flux="Jy", wavelength="um"))
    units = model.column_units(TABLE)
    model.spec_table = make_table(kind, flux="mJy")
    assert dict(units) == {"FLUX": "mJy"}
    assert read_units(model.save(tmp_path / "a.fits", fsync=False)) == {"FLUX": "mJy"}


def test_an_array_keeps_the_units_of_the_columns_that_it_has(tmp_path):
    model = datamodels.SpecModel(spec_table=make_table(further=["own"], own="s", flux="Jy"))
    model.spec_table = make_table(np.ndarray)
    assert read_units(model.save(tmp_path / "a.fits", fsync=False)) == {"FLUX": "Jy"}
    with pytest.raises(ValidationError, match="no column 'own'"):
        model.column_units(TABLE)["own"] = "s"


def test_units_are_written_as_fits_has_them(tmp_path):
    table = make_table(flux="1e-17 erg/(Angstrom s cm2)", background="", npixels="pix")
    path = datamodels.SpecModel(spec_table=table).save(tmp_path / "a.fits", fsync=False)
    found = read_units(path)
    assert found == {"FLUX": "10**-17 erg Angstrom-1 s-1 cm-2", "NPIXELS": "pix"}
    assert Table.read(path, 1)["FLUX"].unit == table["flux"].unit


@pytest.mark.parametrize("unit", ["DN/s", "2 Jy", "mag(AB)"])
def test_a_unit_that_fits_does_not_have_is_left_out(unit):
    message = r"SpecModel: spec_table: 'flux': the unit .* is left out.*as text in `column_units`"
    with pytest.warns(ValidationWarning, match=message):
        model = datamodels.SpecModel(spec_table=make_table(flux=unit, wavelength="um"))
    assert dict(model.column_units(TABLE)) == {"WAVELENGTH": "um"}


def test_an_array_states_no_units():
    assert stated_units(np.ones(2, "f4,f4"), "a.fits") is None
    assert stated_units([(1, 2)], "a.fits") is None
    assert stated_units(make_table(), "a.fits") == {}


def test_a_column_that_the_table_lacks_has_no_unit():
    units = ColumnUnits("a.fits: tab", ["FLUX", "own"], {"flux": "Jy"})
    message = r"a\.fits: tab: no column 'fluxx' for the unit 'Jy'; the columns are FLUX, own"
    with pytest.raises(ValidationError, match=message):
        units["fluxx"] = "Jy"
    with pytest.raises(KeyError):
        units["own"]
    with pytest.raises(KeyError):
        del units["fluxx"]
    assert (repr(units), len(units), "OWN" in units) == ("{'FLUX': 'Jy'}", 1, False)


def test_a_copy_has_units_of_its_own():
    units = ColumnUnits("a.fits: tab", ["FLUX"], {"FLUX": "Jy"})
    units.copy()["flux"] = "W"
    assert units == {"FLUX": "Jy"}


@pytest.mark.parametrize(
    ("name", "hint"), [("spec_tabel", "; did you mean 'spec_table'"), ("meta", "")]
)
def test_only_tables_have_units_of_columns(name, hint):
    with pytest.raises(ModelError, match=f"SpecModel: has no table '{name}'{hint}"):
        datamodels.SpecModel().column_units(name)
    with pytest.raises(ModelError, match="ImageModel: has no table 'data'"):
        datamodels.ImageModel((3, 4)).column_units("data")
