"""Numbering units."""

import pytest
from support.fakes import exposure_path

from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.unit_graph import DraftMember, DraftUnit, number_units


def draft(number, *makers):
    path = exposure_path(number)
    return DraftUnit(path=path, members=[DraftMember("science", "x", maker) for maker in makers])


def test_files_keep_their_order_and_have_no_members():
    graph = number_units([draft(2), draft(1)])
    assert graph.paths == [exposure_path(2), exposure_path(1)]
    assert graph.units == []
    assert graph.depth == 1


def test_makers_come_before_the_units_that_need_them():
    a, b, c = draft(0), draft(1), draft(2)
    first, second = draft(3, b), draft(4, a, c)
    last = draft(5, first, second)
    graph = number_units([last, a, b, c])
    names = [path.name[1] for path in graph.paths]
    assert names == ["1", "3", "0", "2", "4", "5"]
    assert [(unit.number, unit.makers) for unit in graph.units] == [
        (1, (0,)), (4, (2, 3)), (5, (1, 4)),
    ]  # fmt: skip
    assert graph.depth == 3


def test_the_depth_of_a_selection_is_its_own():
    chain = [draft(0)]
    for number in range(1, 4):
        chain.append(draft(number, chain[-1]))
    graph = number_units([*chain, draft(4, chain[0])])
    assert graph.depth == 4
    assert [graph.select(numbers).depth for numbers in ([4], [0], [2, 4])] == [2, 1, 3]


def test_dependents_are_found_along_all_edges():
    a, b = draft(0), draft(1)
    first = draft(2, a)
    graph = number_units([a, b, first, draft(3, b, first), draft(4, b)])
    assert graph.find_dependents([0]) == {0, 2, 3}
    assert graph.find_dependents([2]) == {2, 3}
    assert graph.find_dependents([4]) == {4}


def test_the_lineage_of_a_unit_follows_its_main_inputs():
    file = DraftUnit(path=exposure_path(0))
    unit = DraftUnit(path=exposure_path(1), members=[DraftMember("science", "/in/e1_rate.fits")])
    first = draft(2, unit, file)
    last = draft(3, first)
    assert [*last.lineage()] == [last, first, unit]
    assert str(last.find_main_file()) == "/in/e1_rate.fits"
    assert file.find_main_file() == exposure_path(0)


def test_a_circular_dependency_is_named():
    a, b = draft(0), draft(1)
    a.members.append(DraftMember("science", "x", b))
    b.members.append(DraftMember("science", "x", a))
    with pytest.raises(RequestError, match=(
        r"circular dependency: e0_uncal.fits waits for e1_uncal.fits waits for e0_uncal.fits$"
    )):  # fmt: skip
        number_units([draft(2, a)])


def test_deep_dependencies_need_no_recursion():
    chain = [draft(0)]
    for number in range(1, 5000):
        chain.append(draft(number, chain[-1]))
    assert number_units(chain[::-1]).depth == 5000
