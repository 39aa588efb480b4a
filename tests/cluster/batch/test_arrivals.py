"""Files that arrive, and the units that are selected when they have."""

import math
import os
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toys import Toy1, Toy2, Toy3, write_association

from calbatch.calibrate.chain import make_chain
from calbatch.cluster.batch.arrivals import Arrivals, UnitSelection

PATTERNS = ("*_uncal.fits", "*_asn.json")


class Folder:
    """A watched folder, in which files count as complete at the second look."""

    def __init__(self, path, step, patterns=PATTERNS):
        self.path, self.said = path, []
        self.arrivals = Arrivals(path, patterns, 0.0)
        self.selection = UnitSelection(step, path / "out", self.arrivals, self.said.append)
        self.versions = 0

    def put(self, *names):
        """Add or change files."""
        for name in names:
            self.versions += 1
            (self.path / name).write_text("." * self.versions)

    def associate(self, product, *members):
        """Add or change an association."""
        write_association(self.path / f"{product}_asn.json", (product, members))

    def select(self):
        """Return what is selected, after as many looks as files need."""
        return self.selection.select() or self.selection.select()

    def begin(self, unfinished=()):
        """Select units, note that they have ended, and return the names of those that were due."""
        units = self.select()
        if units is None:
            return []
        self.selection.finish(units, unfinished)
        return describe(units)


def describe(units):
    """Return pipeline and name of the units that are due, by number."""
    names = [["", path.name] for path in units.graph.paths]
    for unit in units.graph.units:
        names[unit.number] = [unit.pipeline, unit.product or unit.path.name]
    return [" ".join(filter(None, names[number])) for number in sorted(units.due)]


@pytest.fixture
def chain(tmp_path):
    return Folder(tmp_path, make_chain((Toy1, Toy2, Toy3))())


@pytest.fixture
def images(tmp_path):
    return Folder(tmp_path, Toy2(), ("*_rate.fits", "*_asn.json"))


SCIENCE_A = ("science", "a_rate.fits")
BACKGROUND_C = ("background", "c_rate.fits")


# -- files -------------------------------------------------------------------------------------


def test_a_file_is_complete_when_it_has_not_changed_between_two_looks(tmp_path):
    arrivals, path = Arrivals(tmp_path, ["*.fits"], 0.0), tmp_path / "a.fits"
    path.write_text("a")
    assert not arrivals.scan()
    path.write_text("ab")
    assert not arrivals.scan()
    arriving = arrivals.arriving
    assert arriving > -math.inf
    assert arrivals.scan()
    assert arrivals.arriving == arriving
    assert arrivals.changed == {path}
    arrivals.changed.clear()
    assert not arrivals.scan()
    assert arrivals.list_files() == [path]


def test_a_file_that_disappears_and_returns_has_not_changed(tmp_path):
    arrivals, path = Arrivals(tmp_path, ["*.fits"], 0.0), tmp_path / "a.fits"
    path.write_text("a")
    arrivals.scan()
    arrivals.scan()
    arrivals.changed.clear()
    path.rename(tmp_path / "elsewhere")
    assert arrivals.scan()
    assert arrivals.list_files() == []
    (tmp_path / "elsewhere").rename(path)
    assert arrivals.scan()
    assert arrivals.list_files() == [path]
    assert not arrivals.changed


def test_a_folder_that_is_unavailable_loses_no_file(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.fits").write_text("a")
    arrivals = Arrivals(folder, ["*.fits"], 0.0)
    arrivals.scan()
    arrivals.scan()
    arrivals.changed.clear()
    folder.rename(tmp_path / "elsewhere")
    assert not arrivals.scan()
    assert arrivals.list_files() == [folder / "a.fits"]


def test_a_member_is_looked_for_once_it_is_named(tmp_path):
    arrivals, path = Arrivals(tmp_path, ["*_rate.fits"], 0.0), tmp_path / "a_x1d.fits"
    path.write_text("a")
    assert not arrivals.has_member(path)
    arrivals.scan()
    assert arrivals.scan()
    assert arrivals.has_member(path)
    assert arrivals.list_files() == []


# -- units -------------------------------------------------------------------------------------


def test_an_exposure_goes_as_far_as_it_can_by_itself(chain):
    chain.put("a_uncal.fits")
    assert chain.begin() == ["Toy1 a_uncal.fits", "Toy2 a_rate.fits"]
    assert chain.begin() == []


def test_an_association_begins_when_its_last_member_has_arrived(chain):
    chain.associate("p", SCIENCE_A, BACKGROUND_C)
    assert chain.begin() == []
    assert chain.said == [f"{chain.path}/p_asn.json: waits for a_rate.fits, c_rate.fits"]
    chain.put("a_uncal.fits")
    assert chain.begin() == ["Toy1 a_uncal.fits"]
    assert list(chain.selection.waiting.values()) == [["c_rate.fits"]]
    chain.put("c_uncal.fits")
    units = chain.select()
    assert describe(units) == ["Toy1 c_uncal.fits", "Toy2 p"]
    assert len(units.graph.paths) == 3
    names = [name.rpartition("/")[2] for name in units.inputs]
    assert names == ["a_uncal.fits", "c_uncal.fits", "p_asn.json"]
    assert not chain.selection.waiting


def test_an_association_may_arrive_after_its_members(chain):
    chain.put("a_uncal.fits", "c_uncal.fits")
    assert len(chain.begin()) == 4
    chain.associate("p", SCIENCE_A, BACKGROUND_C)
    assert chain.begin() == ["Toy2 p"]


def test_an_association_of_products_waits_for_the_associations_that_make_them(chain):
    chain.put("a_uncal.fits", "b_uncal.fits")
    assert len(chain.begin()) == 4
    chain.associate("mosaic", ("science", "p_cal.fits"), ("science", "b_cal.fits"))
    assert chain.begin() == []
    chain.associate("p", SCIENCE_A)
    assert chain.begin() == ["Toy2 p", "Toy3 mosaic"]


def test_what_depends_on_a_changed_exposure_is_selected_again(chain):
    chain.put("a_uncal.fits", "b_uncal.fits", "c_uncal.fits")
    chain.associate("p", SCIENCE_A, BACKGROUND_C)
    assert len(chain.begin()) == 5
    chain.put("c_uncal.fits")
    assert chain.begin() == ["Toy1 c_uncal.fits", "Toy2 p"]


def test_a_changed_association_repeats_its_own_products(chain):
    chain.put("a_uncal.fits", "b_uncal.fits", "c_uncal.fits")
    chain.associate("p", SCIENCE_A, BACKGROUND_C)
    assert len(chain.begin()) == 5
    chain.associate("p", SCIENCE_A)
    assert chain.begin() == ["Toy2 p", "Toy2 c_rate.fits"]


def test_members_still_wait_while_their_association_is_being_changed(chain):
    chain.put("a_uncal.fits")
    chain.associate("p", SCIENCE_A, BACKGROUND_C)
    assert chain.begin() == ["Toy1 a_uncal.fits"]
    for size in (100, 50):
        os.truncate(chain.path / "p_asn.json", size)
        assert chain.selection.select() is None
    chain.associate("p", SCIENCE_A)
    assert chain.begin() == ["Toy2 p"]


def test_an_exposure_waits_no_longer_for_an_association_that_disappears(chain):
    chain.put("a_uncal.fits")
    chain.associate("p", SCIENCE_A, BACKGROUND_C)
    assert chain.begin() == ["Toy1 a_uncal.fits"]
    (chain.path / "p_asn.json").unlink()
    assert chain.begin() == ["Toy2 a_rate.fits"]
    assert not chain.selection.waiting


def test_an_association_that_has_begun_is_not_said_to_wait_when_its_members_disappear(chain):
    chain.put("a_uncal.fits")
    chain.associate("p", SCIENCE_A)
    assert chain.begin() == ["Toy1 a_uncal.fits", "Toy2 p"]
    (chain.path / "a_uncal.fits").unlink()
    assert chain.begin() == []
    assert chain.said == []
    assert not chain.selection.waiting


def test_unfinished_units_are_selected_again(chain):
    chain.put("a_uncal.fits")
    assert chain.begin(unfinished=[1]) == ["Toy1 a_uncal.fits", "Toy2 a_rate.fits"]
    assert chain.begin() == ["Toy2 a_rate.fits"]
    assert chain.begin() == []


def test_units_that_did_not_begin_are_selected_with_those_that_arrive_meanwhile(chain):
    chain.put("a_uncal.fits")
    assert len(chain.select().due) == 2
    chain.put("b_uncal.fits")
    chain.select()
    assert len(chain.begin()) == 4


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([SCIENCE_A, SCIENCE_A], "p lists a_rate.fits twice"),
        ([("science", "a_x1d.fits")], "no pipeline takes a_x1d.fits as a member"),
        ([BACKGROUND_C], "has no member of exptype science"),
    ],
)
def test_an_unusable_association_is_left_out_until_it_is_repaired(chain, members, message):
    chain.put("b_uncal.fits")
    chain.associate("p", *members)
    assert chain.begin() == ["Toy1 b_uncal.fits", "Toy2 b_rate.fits"]
    assert message in chain.said[0]
    assert list(chain.selection.refused) == [chain.path / "p_asn.json"]
    chain.put("a_uncal.fits")
    chain.associate("p", SCIENCE_A)
    assert chain.begin() == ["Toy1 a_uncal.fits", "Toy2 p"]
    assert len(chain.said) == 1
    assert not chain.selection.refused


def test_two_products_of_one_name_are_made_once(chain):
    chain.put("a_uncal.fits", "b_uncal.fits")
    chain.associate("p", SCIENCE_A)
    write_association(chain.path / "q_asn.json", ("p", [("science", "b_rate.fits")]))
    assert chain.begin() == ["Toy1 a_uncal.fits", "Toy2 p", "Toy1 b_uncal.fits"]
    assert list(chain.selection.refused) == [chain.path / "q_asn.json"]


def test_of_two_exposures_with_products_of_one_name_the_first_is_taken(chain):
    chain.arrivals.patterns = ["*_uncal.fits"]
    chain.arrivals.recursive = True
    (chain.path / "z").mkdir()
    chain.put("z/a_uncal.fits")
    assert len(chain.begin()) == 2
    chain.put("a_uncal.fits")
    assert chain.begin() == []
    assert list(chain.selection.refused) == [chain.path / "a_uncal.fits"]


def test_a_member_that_is_a_file_is_complete_before_its_association_begins(images):
    images.put("a_rate.fits", "c_x1d.fits")
    images.associate("p", SCIENCE_A, ("background", "c_x1d.fits"))
    os.truncate(images.path / "c_x1d.fits", 1)
    assert images.select() is None
    assert images.said == []  # it is there, though it may still grow
    assert images.begin() == ["p"]
    images.put("c_x1d.fits")
    assert images.begin() == ["p"]


def test_without_associations_units_are_files(tmp_path):
    folder = Folder(tmp_path, Toy1())
    folder.put("b_uncal.fits", "a_uncal.fits")
    units = folder.select()
    assert [path.name for path in units.graph.paths] == ["a_uncal.fits", "b_uncal.fits"]
    assert not units.graph.units


@settings(max_examples=25)
@given(order=st.permutations(range(6)), at_once=st.lists(st.booleans(), min_size=6, max_size=6))
def test_all_units_begin_in_whichever_order_files_arrive(order, at_once):
    mosaic = ("science", "p_cal.fits"), ("science", "b_cal.fits")
    with tempfile.TemporaryDirectory() as place:
        folder = Folder(Path(place), make_chain((Toy1, Toy2, Toy3))())
        arrivals = [
            *(partial(folder.put, f"{name}_uncal.fits") for name in "abc"),
            partial(folder.associate, "p", SCIENCE_A, BACKGROUND_C),
            partial(folder.associate, "q", ("science", "c_rate.fits")),
            partial(folder.associate, "mosaic", *mosaic),
        ]
        begun = []
        for number, is_followed in zip(order, at_once, strict=True):
            arrivals[number]()
            begun += [] if is_followed else folder.begin()
        begun += folder.begin()
        assert not folder.selection.waiting
        assert folder.begin() == []
        at_last = Folder(Path(place), folder.selection.step).begin()
    assert len(at_last) == 7
    assert set(at_last) <= set(begun)
    assert begun.count("Toy2 p") == begun.count("Toy3 mosaic") == 1
    assert len(begun) == len(set(begun))
