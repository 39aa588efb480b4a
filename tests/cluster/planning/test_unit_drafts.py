"""Units of one stage after another, and their order."""

import pytest
from support.batches import copy_changed, small_set
from support.toys import Accumulate, Toy1, Toy2, Trail, write_association

from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.unit import ORDER
from calbatch.cluster.planning.associations import read_association
from calbatch.cluster.planning.unit_drafts import (
    MissingMembersError,
    Stage,
    UnitDrafts,
    is_file,
)

RATES, IMAGES, TRAILS = (Stage([cls()], cls.__name__) for cls in (Toy1, Toy2, Trail))


class Waiting(Accumulate):
    """Hand on nothing."""

    hands_on = ()


class Again(Accumulate):
    """Hand on a state of the same name."""

    suffixes = ("again",)


class Sum(Trail):
    """Add several images."""

    roles = ("science",)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of exposures whose names are not in order of time."""
    for name, start in {"a": 60002.0, "b": 60000.0, "c": 60001.0}.items():
        copy_changed(small_set().exposures[0], tmp_path / f"{name}_uncal.fits", EXPSTART=start)
    return tmp_path


def draft(folder, *stages, names="abc"):
    """Return the drafts of all stages, each with its associations."""
    drafts = UnitDrafts(folder / "out")
    for number, (stage, associations) in enumerate(stages):
        found = [
            read_association(write_association(folder / f"{product}_asn.json", (product, members)))
            for product, members in associations.items()
        ]
        if number == 0:
            drafts.add_first(stage, [folder / f"{name}_uncal.fits" for name in names], found)
        else:
            drafts.add_next(stage, found)
    return drafts


def states(drafts, pipeline):
    """Return name and maker of the state that each unit of a stage receives."""
    found = {}
    for unit in drafts.drafts:
        if unit.pipeline == pipeline:
            received = [m for m in unit.members if m.role != "science"]
            found[unit.path.name] = [
                (m.path.rpartition("/")[2], m.maker.path.name) for m in received
            ]
            assert all(member.optional for member in received)
    return found


def science(*names):
    return [("science", name) for name in names]


def test_a_later_stage_is_in_the_order_of_the_exposures_of_its_inputs(folder):
    members = [*science("c_rate.fits"), ("background", "a_rate.fits")]
    drafts = draft(folder, (RATES, {}), (IMAGES, {"p": members}), (TRAILS, {}))
    assert states(drafts, "Trail") == {
        "b_cal.fits": [],
        "p_cal.fits": [("b_fade.fits", "b_cal.fits")],
    }
    drafts = draft(folder, (RATES, {}), (IMAGES, {}), (TRAILS, {}))
    assert states(drafts, "Trail") == {
        "a_cal.fits": [("c_fade.fits", "c_cal.fits")],
        "b_cal.fits": [],
        "c_cal.fits": [("b_fade.fits", "b_cal.fits")],
    }


def test_units_may_wait_for_each_other_without_a_state(folder):
    step = Waiting()
    drafts = draft(folder, (RATES, {}), (Stage([step], "Waiting"), {}))
    last = next(unit for unit in drafts.drafts if unit.path.name == "a_rate.fits")
    assert last.pipeline == "Waiting"
    assert [(m.role, m.maker.path.name) for m in last.members if m.role != "science"] == [
        (ORDER, "c_rate.fits")
    ]


def test_a_product_of_several_exposures_has_no_place_in_the_order(folder):
    together = {"p": science("a_rate.fits", "b_rate.fits")}
    with pytest.raises(RequestError, match=r"p_asn\.json: fade takes .* product p of 2 exposures"):
        draft(folder, (RATES, {}), (IMAGES, together), (TRAILS, {}))


def test_a_stage_in_order_takes_no_associations(folder):
    stage = Stage([Sum()], "Sum")
    with pytest.raises(RequestError, match=r"p_asn\.json: fade takes exposures in order, and"):
        draft(folder, (RATES, {}), (IMAGES, {}), (stage, {"p": science("a_cal.fits")}))


def test_two_products_of_one_exposure_have_no_order(folder):
    twice = {"p": science("a_rate.fits"), "q": science("a_rate.fits")}
    with pytest.raises(RequestError, match=r"p_cal\.fits and .*q_cal\.fits are made of one expo"):
        draft(folder, (RATES, {}), (IMAGES, twice), (TRAILS, {}))


def test_states_of_two_stages_must_not_have_one_name(folder):
    first = Stage([Accumulate()], "Accumulate")
    second = Stage([Again()], "Again")
    with pytest.raises(RequestError, match=r"would both be called \w_memory\.fits"):
        draft(folder, (first, {}), (second, {}))


def test_an_exposure_that_cannot_be_placed_is_refused_by_its_own_name(folder):
    (folder / "c_uncal.fits").write_text("no exposure")
    with pytest.raises(RequestError, match=r"fade takes exposures in order.*c_uncal\.fits"):
        draft(folder, (RATES, {}), (IMAGES, {}), (TRAILS, {}))


def test_all_missing_members_are_known(folder):
    with pytest.raises(MissingMembersError, match=r"the member x_rate\.fits of p is") as missing:
        draft(folder, (RATES, {}), (IMAGES, {"p": science("x_rate.fits", "y_rate.fits")}))
    assert missing.value.names == ["x_rate.fits", "y_rate.fits"]


def test_members_may_be_files_that_are_looked_for_elsewhere(folder):
    asked = []
    drafts = UnitDrafts(folder / "out", is_there=lambda path: asked.append(path) or True)
    asn = write_association(folder / "p_asn.json", ("p", science("x_rate.fits")))
    drafts.add_first(IMAGES, [], [read_association(asn)])
    assert asked == [folder / "x_rate.fits"]
    assert not is_file(folder / "x_rate.fits")
    assert is_file(asn)


def test_errors_are_reported_instead_of_raised_on_request(folder):
    left_out = {}
    drafts = UnitDrafts(folder / "out", left_out.__setitem__)
    asn = write_association(folder / "a_asn.json", ("a", science("b_rate.fits")))
    for name in "ab":
        (folder / f"{name}_rate.fits").write_text("here")
    rates = [folder / f"{name}_rate.fits" for name in "ab"]
    drafts.add_first(IMAGES, rates, [read_association(asn)])
    assert [unit.path.name for unit in drafts.drafts] == ["a_asn.json"]
    assert "would both be called a_cal.fits" in str(left_out[rates[0]])
