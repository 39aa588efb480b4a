"""Units made from exposures, associations and chains."""

import json

import pytest
from support.toys import Accumulate, Toy2, Toy3

from calbatch.calibrate.chain import make_chain
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.steps.dark_current import DarkCurrentStep
from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.associations import read_association
from calbatch.cluster.planning.unit_collection import (
    accepts_associations,
    collect_arrived_units,
    collect_units,
    require_any_order,
)
from calbatch.cluster.planning.unit_drafts import MissingMembersError, UnitDrafts


class Rates(Pipeline):
    """Make rates."""

    suffixes = ("rate", "rateints")


class RatesAgain(Rates):
    """Make rates of rates."""

    takes = ("rate",)


class RatesMinusDark(Rates):
    """Make rates, after subtracting darks."""

    step_defs = {"dark_current": DarkCurrentStep}


class Late(Pipeline):
    """Take exposures in order."""

    takes = ("cal",)
    suffixes = ("late",)
    step_defs = {"accumulate": Accumulate}


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}_uncal.fits").write_text("")
    return tmp_path


def raw(folder):
    return sorted(folder.glob("*_uncal.fits"))


def associate(folder, name, *members):
    entries = [{"expname": n, "exptype": role} for role, n in members]
    path = folder / f"{name}_asn.json"
    path.write_text(json.dumps({"products": [{"name": name, "members": entries}]}))
    return path


def describe(graph):
    """Return name, pipeline, and the members with the numbers of their makers, of each unit."""
    found = [[path.name, "", []] for path in graph.paths]
    for unit in graph.units:
        members = [(m.role, m.path.rpartition("/")[2], m.maker) for m in unit.members]
        found[unit.number][1:] = [unit.pipeline, members]
    return found


def test_without_associations_each_exposure_is_a_unit_of_one_file(folder):
    graph = collect_units(make_chain((Rates, Toy2))(), raw(folder), folder / "out")
    assert graph.paths == raw(folder)
    assert graph.units == ()


def test_a_chain_is_cut_where_a_pipeline_takes_associations(folder):
    asn = associate(folder, "p", ("science", "b_rate.fits"), ("background", "a_rate.fits"))
    graph = collect_units(make_chain((Rates, Toy2))(), [*raw(folder), asn], folder / "out")
    science, background = ("science", "b_rate.fits", 0), ("background", "a_rate.fits", 1)
    assert describe(graph) == [
        ["b_uncal.fits", "Rates", [("science", "b_uncal.fits", None)]],
        ["a_uncal.fits", "Rates", [("science", "a_uncal.fits", None)]],
        ["p_asn.json", "Toy2", [science, background]],
        ["c_uncal.fits", "Rates", [("science", "c_uncal.fits", None)]],
        ["c_rate.fits", "Toy2", [("science", "c_rate.fits", 3)]],
    ]
    assert graph.depth == 2


def test_pipelines_before_the_cut_stay_together(folder):
    asn = associate(folder, "m", ("science", "a_cal.fits"), ("science", "c_cal.fits"))
    graph = collect_units(make_chain((Rates, Toy2, Toy3))(), [*raw(folder), asn], folder / "out")
    assert [(name, pipeline) for name, pipeline, _ in describe(graph)] == [
        ("a_uncal.fits", "Rates,Toy2"),
        ("c_uncal.fits", "Rates,Toy2"),
        ("m_asn.json", "Toy3"),
        ("b_uncal.fits", "Rates,Toy2"),
    ]


def test_an_order_after_associations_cuts_the_chain_again(folder):
    step = make_chain((Rates, Toy2, Late))()
    asn = associate(folder, "p", ("science", "b_rate.fits"), ("background", "a_rate.fits"))
    graph = collect_units(step, [*raw(folder)[1:2], *raw(folder)[:1], asn], folder / "out")
    assert describe(graph)[-1] == ["p_cal.fits", "Late", [("science", "p_cal.fits", 2)]]
    with pytest.raises(RequestError, match="accumulate takes exposures in order, but 3 exposures"):
        collect_units(step, raw(folder), folder / "out")  # one task each, of all pipelines


def test_selecting_units_selects_their_makers(folder):
    asn = associate(folder, "m", ("science", "a_cal.fits"), ("science", "c_cal.fits"))
    graph = collect_units(make_chain((Rates, Toy2, Toy3))(), [*raw(folder), asn], folder / "out")
    assert [path.name for path in graph.select([2]).paths] == [
        "a_uncal.fits", "c_uncal.fits", "m_asn.json",
    ]  # fmt: skip
    assert graph.select([3]).units[0].number == 0


def test_parameters_of_a_whole_chain_are_refused_where_it_is_cut(folder):
    asn = associate(folder, "p", ("science", "b_rate.fits"))
    step = make_chain((Rates, Toy2))(skip=True)
    assert collect_units(step, raw(folder), folder / "out").units == ()
    with pytest.raises(RequestError, match="skip cannot be set for the chain Rates,Toy2"):
        collect_units(step, [*raw(folder), asn], folder / "out")


def test_associations_are_read_only_where_a_pipeline_takes_them():
    assert accepts_associations(make_chain((Rates, Toy2))())
    assert accepts_associations(Toy3())
    assert not accepts_associations(Rates())


def test_steps_that_need_an_order_are_refused_exposures_that_arrive():
    require_any_order(make_chain((Rates, Toy2, Toy3))())
    with pytest.raises(RequestError, match="accumulate takes exposures in order: use"):
        require_any_order(Late())
    with pytest.raises(RequestError, match="accumulate takes exposures in order: use"):
        require_any_order(make_chain((Rates, Toy2, Late))())


def test_parameters_of_a_whole_chain_are_refused_where_associations_may_arrive():
    require_any_order(make_chain((Rates, RatesAgain))(skip=True))
    with pytest.raises(RequestError, match="skip cannot be set for the chain Rates,Toy2"):
        require_any_order(make_chain((Rates, Toy2))(skip=True))


def test_a_pipeline_that_combines_takes_no_exposure_by_itself(folder):
    for name in "ab":
        (folder / f"{name}_cal.fits").write_text("here")
    cals = sorted(folder.glob("*_cal.fits"))
    with pytest.raises(RequestError, match="Toy3 combines exposures: give associations"):
        collect_units(Toy3(), cals, folder / "out")
    asn = associate(folder, "m", ("science", "a_cal.fits"))
    graph = collect_units(Toy3(), [*cals, asn], folder / "out")
    assert describe(graph) == [["m_asn.json", "", [("science", "a_cal.fits", None)]]]


def test_exposures_that_arrive_are_the_same_units_before_and_after_associations(folder):
    step, left_out = make_chain((Rates, Toy2, Toy3))(), {}
    drafts = UnitDrafts(folder / "out", left_out.__setitem__)
    before = collect_arrived_units(step, raw(folder)[:1], [], drafts)
    assert describe(before) == [
        ["a_uncal.fits", "Rates", [("science", "a_uncal.fits", None)]],
        ["a_rate.fits", "Toy2", [("science", "a_rate.fits", 0)]],
    ]
    asn = associate(folder, "p", ("science", "a_rate.fits"), ("background", "b_rate.fits"))
    drafts = UnitDrafts(folder / "out", left_out.__setitem__)
    after = collect_arrived_units(step, raw(folder)[:2], [read_association(asn)], drafts)
    assert after.units[0] == before.units[0]
    assert [unit.product for unit in after.units] == ["", "", "p"]
    assert not left_out


def test_units_of_arrived_files_that_cannot_be_made_are_left_out_and_named(folder):
    step, left_out = make_chain((Rates, Toy2))(), {}
    names = {"p": ("science", "b_rate.fits"), "q": ("science", "a_x1d.fits")}
    associations = [read_association(associate(folder, *each)) for each in names.items()]
    drafts = UnitDrafts(folder / "out", left_out.__setitem__)
    graph = collect_arrived_units(step, raw(folder)[:1], associations, drafts)
    assert [unit.pipeline for unit in graph.units] == ["Rates", "Toy2"]
    assert {path.name: type(error) for path, error in left_out.items()} == {
        "p_asn.json": MissingMembersError, "q_asn.json": RequestError,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "dark_current",
            {"dark_output": "d.fits"},
            r"dark_current\.dark_output = 'd\.fits': 3 exp",
        ),
        ("ramp_fit", {"save_opt": True, "opt_name": "o"}, r"ramp_fit\.opt_name = 'o': .* empty"),
        (
            "persistence",
            {"skip": False, "save_persistence": "s.asdf"},
            r"persistence\.save_persistence = 's\.asdf': 3 exposures would share it: leave it out",
        ),
        (
            "persistence",
            {"skip": False, "persistence_array_file": "s.asdf"},
            r"persistence\.persistence_array_file = 's\.asdf': .* the next without a file",
        ),
    ],
)
def test_one_file_for_several_exposures_is_refused(folder, name, parameters, message):
    step = Detector1Pipeline()
    step.configure({name: parameters}, "a test")
    with pytest.raises(RequestError, match=message):
        collect_units(step, raw(folder), folder / "out")
    with pytest.raises(RequestError, match=f"{name}.* all exposures would share it"):
        require_any_order(step)
    assert collect_units(step, raw(folder)[:1], folder / "out").paths == raw(folder)[:1]
    step.configure({name: {"skip": True}}, "a test")
    assert collect_units(step, raw(folder), folder / "out").paths == raw(folder)


def test_only_the_units_that_run_a_step_share_its_file(folder):
    asn = associate(folder, "p", ("science", "a_rate.fits"), ("background", "b_rate.fits"))
    step = make_chain((RatesMinusDark, Toy2))()
    step.configure({"dark_current": {"dark_output": "d.fits"}}, "a test")
    with pytest.raises(RequestError, match=r"dark_current\.dark_output = 'd\.fits': 2 exposures"):
        collect_units(step, [*raw(folder)[:2], asn], folder / "out")
    asn = associate(folder, "p", ("science", "a_rate.fits"))
    graph = collect_units(step, [raw(folder)[0], asn], folder / "out")
    assert len(graph.paths) == 2


def test_a_hook_must_not_share_a_file_either(folder):
    hook = DarkCurrentStep(dark_output="d.fits")
    step = Toy2(post_hooks=[hook])
    with pytest.raises(RequestError, match=r"hook dark_current\.dark_output = 'd\.fits'"):
        collect_units(step, raw(folder), folder / "out")


def test_products_of_two_stages_must_not_have_one_name(folder):
    asn = associate(folder, "p", ("science", "b_rate.fits"))
    step = make_chain((RatesMinusDark, Toy2))()
    step.configure({"Toy2": {"suffix": "rate"}}, "a test")
    with pytest.raises(RequestError, match=r"a_uncal\.fits and .*a_rate\.fits would both be"):
        collect_units(step, [*raw(folder), asn], folder)
    step = make_chain((RatesMinusDark, Toy2))()
    step.configure({"scale": {"save_results": True, "suffix": "dark_current"}}, "a test")
    assert collect_units(step, [*raw(folder), asn], folder).units
    step.configure({"dark_current": {"save_results": True}}, "a test")
    with pytest.raises(RequestError, match=r"would both be called \w_dark_current\.fits"):
        collect_units(step, [*raw(folder), asn], folder)


def test_an_association_must_not_be_named_as_an_exposure_that_is_no_member(folder):
    for name in "ab":
        (folder / f"{name}_rate.fits").write_text("here")
    asn = associate(folder, "b", ("science", "a_rate.fits"))
    with pytest.raises(
        RequestError, match=r"b_asn\.json and .*b_rate\.fits would both be called b_"
    ):
        collect_units(Toy2(), [*sorted(folder.glob("*_rate.fits")), asn], folder)
