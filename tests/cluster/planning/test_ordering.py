"""Grouping and ordering exposures."""

import pytest
from support.batches import copy_changed, small_set
from support.toys import Accumulate, Ordered, Scale, Toy2

from calbatch.calibrate.chain import make_chain
from calbatch.calibrate.pipeline import Pipeline
from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.ordering import (
    find_ordering,
    group_exposures,
)
from calbatch.cluster.planning.unit_collection import collect_units
from calbatch.cluster.planning.unit_graph import DraftUnit


class Glow(Accumulate):
    """Hands on its result."""

    hands_on = ("glow",)
    suffixes = ("glow",)


class Glowing(Pipeline):
    """Hands on the result of its step."""

    step_defs = {"glow": Glow}


class Both(Pipeline):
    """Hands on two states."""

    step_defs = {"accumulate": Accumulate, "glow": Glow}


class Backwards(Accumulate):
    """Takes exposures in another order."""

    orders_by = ("meta.exposure.end_time",)


class After(Pipeline):
    """Takes that result."""

    takes = ("glow",)


ORDERING = find_ordering([Accumulate()])


def test_steps_that_need_the_same_order_are_taken_together_unless_they_are_skipped():
    both = Both()
    found = find_ordering([Toy2(), both])
    assert (found.name, found.hands_on) == ("accumulate and glow", ("memory", "glow"))
    assert (found.groups_by, found.orders_by) == (Accumulate.groups_by, Accumulate.orders_by)
    assert find_ordering([Toy2(), Scale()]) is None
    both.accumulate.skip = True
    assert find_ordering([both]).hands_on == ("glow",)
    both.skip = True
    assert find_ordering([both]) is None


def test_steps_that_need_different_orders_are_refused():
    with pytest.raises(RequestError, match=(
        "accumulate and Backwards take exposures in different orders: orders_by is "
        r"meta\.exposure\.start_time and meta\.exposure\.end_time: run them as two batches"
    )):  # fmt: skip
        find_ordering([Ordered(), Backwards()])


def test_a_hook_that_needs_an_order_is_refused():
    step = Scale(post_hooks=[Accumulate])
    with pytest.raises(RequestError, match="Scale: the hook Accumulate takes exposures in order"):
        find_ordering([step])


def test_exposures_are_grouped_and_ordered_by_their_headers(tmp_path):
    source = small_set().exposures[0]
    cards = {"a": ("NRCA1", 2.5), "b": ("NRCA2", None), "c": ("NRCA1", 10.5), "d": ("NRCA1", 3)}
    drafts = []
    for name, (detector, start) in cards.items():
        path = tmp_path / f"{name}_uncal.fits"
        drafts.append(DraftUnit(path=copy_changed(source, path, DETECTOR=detector, EXPSTART=start)))
    groups = group_exposures(drafts, ORDERING)
    assert [[draft.path.name[0] for draft in group] for group in groups] == [["a", "d", "c"], ["b"]]


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (None, "c_uncal.fits: it lacks EXPSTART"),
        ("2.5", r"c_uncal.fits: EXPSTART = '2\.5' is text"),
    ],
)
def test_an_exposure_without_a_start_is_refused_unless_it_is_alone(tmp_path, start, message):
    source = small_set().exposures[0]
    drafts = [
        DraftUnit(path=copy_changed(source, tmp_path / f"{name}_uncal.fits", EXPSTART=value))
        for name, value in (("b", 2.5), ("c", start))
    ]
    with pytest.raises(RequestError, match=message):
        group_exposures(drafts, ORDERING)
    assert group_exposures(drafts[1:], ORDERING) == [drafts[1:]]


@pytest.mark.parametrize(("count", "end"), [(1, "1 exposure "), (7, "and 2 more exposures: ")])
def test_an_exposure_without_a_place_in_the_order_is_refused_by_name(tmp_path, count, end):
    drafts = [DraftUnit(path=small_set().exposures[0])]
    for number in range(count):
        path = tmp_path / f"e{number}_uncal.fits"
        path.write_text("no exposure")
        drafts.append(DraftUnit(path=path))
    with pytest.raises(RequestError, match="Accumulate takes exposures in order") as refused:
        group_exposures(drafts, ORDERING)
    assert str(tmp_path / "e0_uncal.fits") in str(refused.value)
    assert end in str(refused.value)
    assert group_exposures(drafts[1:2], ORDERING) == []


@pytest.mark.parametrize(
    ("step", "renamed", "label"),
    [
        (Glow(), "", ""),
        (Glowing(), "glow", r"glow\."),
        (make_chain((Glow, After))(), "Glow", r"Glow\."),
    ],
)
def test_a_suffix_that_renames_the_state_is_refused(step, renamed, label, tmp_path):
    step.configure({renamed: {"suffix": "x"}}, "a test")
    paths = [tmp_path / "a_uncal.fits", tmp_path / "b_uncal.fits"]
    with pytest.raises(RequestError, match=f"^{label}suffix = 'x': .* hands on the product 'glow'"):
        collect_units(step, paths, tmp_path)


def test_other_suffixes_do_not_matter(tmp_path):
    step = Ordered(suffix="x")
    step.accumulate.suffix = "y"
    paths = [tmp_path / "a_uncal.fits", tmp_path / "b_uncal.fits"]
    for each in (step, Glow(suffix="glow")):  # goes on to the exposures, which do not exist
        with pytest.raises(RequestError, match="takes exposures in order"):
            collect_units(each, paths, tmp_path)
