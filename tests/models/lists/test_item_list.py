"""Lists of items in models: the slits of an exposure, and the spectra extracted from it."""

import pickle

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models import datamodels
from calbatch.models.errors import FileError, ValidationError, ValidationWarning
from calbatch.models.fits.layout import read_layout
from calbatch.models.lists._list_items import UnreadItem

SHAPES = {"S200A1": (4, 6), "S200A2": (5, 6), "S400A1": (3, 8)}


def pixels(name):
    """Return the pixels of a slit."""
    rows, columns = SHAPES[name]
    return np.arange(rows * columns, dtype="f4").reshape(rows, columns) + len(name) + rows


@pytest.fixture
def path(tmp_path):
    """A file of three slits of different shapes."""
    model = datamodels.MultiSlitModel()
    model.meta.telescope = "JWST"
    model.meta.ephemeris.time = 60000.5
    for name in SHAPES:
        model.slits.add(name=name, data=pixels(name), dq=np.ones(SHAPES[name], "u4"))
    return model.save(tmp_path / "slits.fits", fsync=False)


def reopen(model, tmp_path):
    return datamodels.open(model.save(tmp_path / "reopened.fits", fsync=False))


def test_items_are_found_by_index_and_by_name(path):
    slits = datamodels.open(path).slits
    assert [slit.name for slit in slits] == slits.names == [*SHAPES]
    assert slits["S200A2"] is slits[1] is slits[-2]
    assert slits[1:] == [slits[1], slits[2]]
    assert "S400A1" in slits
    assert slits[2] in slits
    np.testing.assert_array_equal(slits["S400A1"].data, pixels("S400A1"))


def test_an_unknown_name_is_refused_with_the_nearest(path):
    slits = datamodels.open(path).slits
    with pytest.raises(KeyError, match="no item is named 'S200A3'; did you mean 'S200A2'"):
        slits["S200A3"]
    with pytest.raises(KeyError, match="no item is named 'X', among 3 items: S200A1, S200A2"):
        slits["X"]
    with pytest.raises(IndexError):
        slits[3]


def test_a_name_of_several_items_is_refused(path):
    slits = datamodels.open(path).slits
    slits[2].name = "S200A1"
    with pytest.raises(KeyError, match=r"'S200A1' is the name of the items \[0, 2\]: use an index"):
        slits["S200A1"]


def test_names_are_read_without_the_other_metadata_of_the_items(path):
    model = datamodels.open(path)
    assert model.slits.names == [*SHAPES]
    assert "3 items: S200A1, S200A2, S400A1" in repr(model)
    assert repr(model.slits) == "<slits, 3 items: S200A1, S200A2, S400A1>"
    assert all(isinstance(item, UnreadItem) for item in model._content.lists["slits"])


def test_a_changed_item_changes_the_saved_model(path, tmp_path):
    model = datamodels.open(path)
    slit = model.slits["S200A2"]
    slit.data = slit.data * 2
    slit.err = slit.data / 4
    slit.source_id = 7
    slit.meta.bunit_data = "MJy"
    slit.set_card("OBSNOTE", "cloudy", hdu="SCI")
    found = reopen(model, tmp_path).slits[1]
    np.testing.assert_array_equal(found.data, pixels("S200A2") * 2)
    np.testing.assert_array_equal(found.err, pixels("S200A2") / 2)
    assert (found.source_id, found.meta.bunit_data) == (7, "MJy")
    assert found.get_card("OBSNOTE", hdu="SCI") == "cloudy"


def test_a_copy_of_the_model_has_items_of_its_own(path):
    model = datamodels.open(path)
    first = model.slits[0]
    twin = model.copy()
    twin.slits[0].name = "OTHER"
    del twin.slits[1]
    assert (first.name, len(model.slits), twin.slits.names) == (
        "S200A1", 3, ["OTHER", "S400A1"],
    )  # fmt: skip


def test_models_are_added_as_copies(path, tmp_path):
    model = datamodels.open(path)
    single = datamodels.SlitModel(np.ones((2, 3), "f4"), name="NEW")
    single.meta.telescope = "JWST"
    model.slits.insert(1, single)
    model.slits.append(model.slits["S400A1"])
    single.name = "LATER"
    model.slits[-1].name = "COPY"
    found = reopen(model, tmp_path).slits
    assert found.names == ["S200A1", "NEW", "S200A2", "S400A1", "COPY"]
    np.testing.assert_array_equal(found["NEW"].data, np.ones((2, 3)))
    np.testing.assert_array_equal(found["COPY"].data, pixels("S400A1"))
    assert "TELESCOP" not in fits.getheader(tmp_path / "reopened.fits", ("SCI", 2))


def test_a_list_can_be_replaced_and_emptied(path, tmp_path):
    model = datamodels.open(path)
    model.slits = reversed(model.slits)
    found = reopen(model, tmp_path)
    assert found.slits.names == [*SHAPES][::-1]
    assert found.has("slits")
    found.slits = None
    emptied = datamodels.open(found.save(tmp_path / "empty.fits", fsync=False))
    assert (len(emptied.slits), emptied.has("slits"), repr(emptied.slits)) == (
        0, False, "<slits, 0 items>",
    )  # fmt: skip
    assert read_layout(tmp_path / "empty.fits").names == ("PRIMARY", "ASDF")


def test_only_models_that_fit_can_be_items(path):
    slits = datamodels.open(path).slits
    with pytest.raises(TypeError, match="the items of slits are models, not dict; make one from"):
        slits.append({"name": "NEW"})
    with pytest.raises(ValidationError, match="data: may have 3 dimensions, has 4"):
        slits.add(datamodels.QuadModel((2, 3, 4, 5)))
    with pytest.raises(AttributeError, match="has no 'names'; did you mean 'name'"):
        slits.add(names="NEW")
    assert len(slits) == 3


def test_metadata_of_the_file_are_in_the_header_of_the_first_item(path, tmp_path):
    assert fits.getval(path, "EPH_TIME", ("SCI", 1)) == 60000.5
    model = datamodels.open(path)
    assert model.meta.ephemeris.time == 60000.5
    assert model.slits[0].get_card("EPH_TIME", hdu="SCI") is None
    del model.slits[0]
    model.meta.ephemeris.time += 1
    found = reopen(model, tmp_path)
    assert (found.meta.ephemeris.time, found.slits[0].name) == (60001.5, "S200A2")


def test_a_single_item_can_be_opened_as_a_model_and_saved(path, tmp_path):
    single = datamodels.SlitModel(datamodels.open(path).slits["S400A1"])
    found = datamodels.open(single.save(tmp_path / "single.fits", fsync=False))
    assert (type(found), found.name) == (datamodels.SlitModel, "S400A1")
    np.testing.assert_array_equal(found.data, pixels("S400A1"))


def test_a_model_with_items_can_be_pickled(path):
    model = datamodels.open(path)
    model.slits[0].name = "CHANGED"
    again = pickle.loads(pickle.dumps(model))
    assert again.slits.names == ["CHANGED", "S200A2", "S400A1"]
    assert again.slits[2].schema is model.slits[2].schema
    np.testing.assert_array_equal(again.slits[2].data, pixels("S400A1"))


def test_items_without_arrays_or_contents_keep_their_places(tmp_path):
    model = datamodels.MultiSlitModel()
    model.slits.add(name="EMPTY")
    model.slits.add()
    model.slits.add(name="LAST", data=np.ones((2, 3), "f4"))
    model.slits.add()
    found = reopen(model, tmp_path).slits
    assert found.names == ["EMPTY", None, "LAST", None]
    assert [slit.has("data") for slit in found] == [False, False, True, False]


def test_tables_and_metadata_of_spectra_are_items(tmp_path):
    model = datamodels.MultiSpecModel()
    kinds = datamodels.SpecModel().schema.fields["spec_table"].dtype
    for order in (1, 2):
        table = np.zeros(order + 2, kinds)
        table["WAVELENGTH"] = order
        model.spec.add(spec_table=table, spectral_order=order, name="SOSS")
    found = reopen(model, tmp_path).spec
    assert [(s.spectral_order, s.spec_table["WAVELENGTH"].tolist()) for s in found] == [
        (1, [1, 1, 1]), (2, [2, 2, 2, 2]),
    ]  # fmt: skip


def test_branches_of_an_items_metadata_are_attributes(tmp_path):
    model = datamodels.PathlossModel()
    aperture = model.apertures.add(name="S200A1", pointsource_data=np.ones((2, 3, 4), "f4"))
    aperture.pointsource_wcs.crpix1 = 1.5
    aperture.uniform_data = np.ones(7, "f4")
    found = reopen(model, tmp_path).apertures["S200A1"]
    assert (found.pointsource_wcs.crpix1, found.to_flat_dict()["name"]) == (1.5, "S200A1")
    assert found.uniform_data.shape == (7,)


def damage_slit(path, tmp_path, name, change):
    """Return a copy of a file in which the header or data of one HDU are changed."""
    with fits.open(path) as hdus:
        change(hdus[name])
        hdus.writeto(tmp_path / "damaged.fits")
    return tmp_path / "damaged.fits"


def test_an_absurd_number_of_items_is_refused(path, tmp_path):
    damaged = damage_slit(path, tmp_path, ("SCI", 3), lambda h: h.header.set("EXTVER", 10**9))
    with pytest.raises(FileError, match="EXTVER = 1000000000 is absurd: the items of slits"):
        datamodels.open(damaged)


def test_an_extension_that_does_not_fit_is_refused_with_its_item(path, tmp_path):
    def change(hdu):
        hdu.data = np.ones((2, 2, 2, 2), "f4")

    damaged = damage_slit(path, tmp_path, ("SCI", 2), change)
    with pytest.raises(FileError, match=r"slits\[1\]: SCI may have 3 dimensions, found"):
        datamodels.open(damaged)


def test_arrays_that_contradict_each_other_are_refused_when_the_item_is_used(path, tmp_path):
    def change(hdu):
        hdu.data = np.ones((9, 9), "u4")

    model = datamodels.open(damage_slit(path, tmp_path, ("DQ", 2), change))
    np.testing.assert_array_equal(model.slits[0].data, pixels("S200A1"))
    with pytest.raises(FileError, match=r"slits\[1\]: DQ has 9 x 9 pixels, but the other arrays"):
        model.slits[1]


def test_an_invalid_value_is_reported_when_its_item_is_used(path, tmp_path):
    damaged = damage_slit(path, tmp_path, ("SCI", 2), lambda h: h.header.set("SOURCEID", "x"))
    model = datamodels.open(damaged)
    with pytest.warns(ValidationWarning, match=r"slits\[1\]: SOURCEID \(source_id\) = 'x'"):
        assert model.slits[1].source_id is None


def test_repeated_extensions_of_one_item_are_copied(path, tmp_path):
    with fits.open(path) as hdus:
        hdus.append(fits.ImageHDU(np.zeros((1, 1), "f4"), name="SCI", ver=2))
        hdus.writeto(tmp_path / "repeated.fits")
    found = reopen(datamodels.open(tmp_path / "repeated.fits"), tmp_path)
    np.testing.assert_array_equal(found.slits[1].data, pixels("S200A2"))
    assert found._content.other_hdus[0].shape == (1, 1)
