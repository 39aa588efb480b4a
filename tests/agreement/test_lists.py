"""Lists in the JWST ecosystem: files of ours open in stdatamodels, and files of its in ours."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling.models import Shift
from gwcs.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from stdatamodels.jwst import datamodels as jwst_models
from support.cases import DRAWN, long
from support.model_contents import assert_equal, fill, random_contents, random_item

from calbatch.models import datamodels
from calbatch.models.schema.spec import load_schema

# Deprecation warnings of stdatamodels and its dependencies.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

SAMPLE = {"MultiSlitModel", "TSOMultiSpecModel", "PathlossModel", "NirspecQuadFlatModel"}
"""Classes in the default run: each further kind of content that an item may have."""
LISTS = {
    name: list_name
    for name in datamodels.__all__
    if name[0].isupper()
    for list_name in load_schema(getattr(datamodels, name).schema_url).lists
}
"""The list of each class that has one."""
COUNT = 3


def fill_list(items, new, contents):
    """Append items with contents to a list; `new` makes an item."""
    for arrays, values in contents:
        items.append(new())
        fill(items[len(items) - 1], arrays, values)


@pytest.mark.parametrize("name", [n if n in SAMPLE else long(n) for n in sorted(LISTS)])
def test_a_list_passes_between_calbatch_and_jwst_without_loss(tmp_path, name):
    check_both_directions(tmp_path, name)


@DRAWN
@given(st.sampled_from(sorted(LISTS)), st.integers(0, 2**32))
def test_drawn_contents_of_lists_pass_without_loss(tmp_path, name, seed):
    check_both_directions(tmp_path, name, seed)


def check_both_directions(tmp_path, name, seed=0):
    contents = random_contents(name, seed)
    items = [random_item(name, LISTS[name], number, seed) for number in range(COUNT)]
    ours, theirs = getattr(datamodels, name), getattr(jwst_models, name)

    def assert_all_equal(model):
        assert_equal(model, *contents)
        found = getattr(model, LISTS[name])
        assert len(found) == COUNT
        for item, wanted in zip(found, items, strict=True):
            assert_equal(item, *wanted)

    made = ours()
    fill(made, *contents)
    for arrays, values in items:
        fill(getattr(made, LISTS[name]).add(), arrays, values)
    made.save(tmp_path / "ours.fits", fsync=False)
    with theirs(tmp_path / "ours.fits") as opened:
        assert_all_equal(opened)
        opened.save(tmp_path / "through_theirs.fits")

    with theirs() as filled:
        fill(filled, *contents)
        listed = getattr(filled, LISTS[name])
        fill_list(listed, listed.item, items)
        filled.save(tmp_path / "theirs.fits")

    for file in ("ours", "theirs", "through_theirs"):
        opened = datamodels.open(tmp_path / f"{file}.fits")
        assert type(opened) is ours
        assert_all_equal(opened)
        opened.save(tmp_path / "again.fits", fsync=False)
        assert_all_equal(datamodels.open(tmp_path / "again.fits"))


@pytest.fixture
def slits_of_jwst(tmp_path):
    """A file of two slits by stdatamodels, with metadata that only its ASDF extension has."""
    model = jwst_models.MultiSlitModel()
    for number, name in enumerate(["S200A1", "S400A1"], start=1):
        model.slits.append(model.slits.item())
        model.slits[-1].name = name
        model.slits[-1].data = np.full((3, 4), number, "f4")
        add_further_values(model.slits[-1], number)
    model.save(tmp_path / "slits.fits")
    return tmp_path / "slits.fits"


def add_further_values(slit, number):
    """Add values that headers cannot hold: a number without a keyword, a WCS and an array."""
    slit.xcen = number
    slit.meta.wcs = WCS([("detector", Shift(number)), ("world", None)])
    slit.meta.array = np.arange(40.0) + number  # too long to be stored among the values


def further_values(path):
    """Return the name of each slit, and the number that each of its further values stands for."""
    with jwst_models.MultiSlitModel(path) as model:
        return [
            (slit.name, slit.xcen, slit.meta.wcs(0.0), slit.meta.array[0]) for slit in model.slits
        ]


def test_metadata_that_only_the_asdf_extension_has_stay_with_their_item(tmp_path, slits_of_jwst):
    before = [("S200A1", 1, 1, 1), ("S400A1", 2, 2, 2)]
    assert further_values(slits_of_jwst) == before
    model = datamodels.open(slits_of_jwst)
    model.slits.reverse()
    model.save(tmp_path / "reversed.fits", fsync=False)
    assert further_values(tmp_path / "reversed.fits") == before[::-1]
    del model.slits[0]
    model.save(tmp_path / "one.fits", fsync=False)
    assert further_values(tmp_path / "one.fits") == before[:1]


def test_metadata_that_only_the_asdf_extension_has_come_along_with_an_item(tmp_path, slits_of_jwst):
    single = jwst_models.SlitModel(np.ones((2, 3), "f4"))
    single.name = "SINGLE"
    add_further_values(single, 3)
    single.save(tmp_path / "single.fits")
    model = datamodels.MultiSlitModel()
    model.slits.append(datamodels.open(tmp_path / "single.fits"))
    model.slits.extend(datamodels.open(slits_of_jwst).slits)
    model.save(tmp_path / "made.fits", fsync=False)
    wanted = [("SINGLE", 3, 3, 3), ("S200A1", 1, 1, 1), ("S400A1", 2, 2, 2)]
    assert further_values(tmp_path / "made.fits") == wanted


def test_items_with_gaps_have_the_indices_of_jwst(tmp_path):
    hdus = [fits.ImageHDU(np.ones((2, 3), "f4"), name="SCI", ver=n) for n in (2, 4)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "gaps.fits")
    with jwst_models.MultiSlitModel(tmp_path / "gaps.fits") as theirs:
        wanted = [slit.hasattr("data") and slit.data is not None for slit in theirs.slits]
    ours = datamodels.MultiSlitModel(tmp_path / "gaps.fits")
    assert [slit.has("data") for slit in ours.slits] == wanted == [False, True, False, True]


def test_the_sample_of_classes_exists():
    assert set(LISTS) > SAMPLE
