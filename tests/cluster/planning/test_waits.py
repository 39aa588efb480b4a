"""Releasing units when those that they wait for have ended."""

from pathlib import Path

import pytest
from support.fakes import exposure_path

from calbatch.cluster.exposure.unit import Member, Unit
from calbatch.cluster.planning.waits import Made, Waits, describe_failure_of
from calbatch.models.errors import FileError

DONE = Made("identity", ["/out/a_ramp.fits", "/out/a_rate.fits"])
FAILED = Made("", (), "not begun: a failed")


def unit(number, *members):
    return Unit(number, exposure_path(number), members)


def science(maker, **how):
    return Member("science", "/elsewhere/a_rate.fits", maker, **how)


def released(waits):
    return [number for number, _ in waits.take_released(waits.count_released())]


def test_a_unit_is_released_when_the_last_maker_has_ended():
    waits = Waits([unit(2, science(0), science(1))])
    assert waits.is_held(2)
    assert waits.end(0, DONE) == []
    assert released(waits) == []
    waits.end(1, DONE)
    assert waits.news.is_set()
    assert released(waits) == [2]
    assert not waits.holds_any()


def test_the_latest_is_released_first():
    waits = Waits([unit(2, science(0)), unit(3, science(1))])
    waits.end(0, DONE)
    waits.end(1, DONE)
    assert released(waits) == [3, 2]


def test_failures_pass_on_to_all_that_need_the_unit():
    waits = Waits([unit(1, science(0)), unit(2, science(1)), unit(3, science(0, optional=True))])
    blocked = waits.end(0, FAILED)
    assert [(one.number, one.reason) for one in blocked] == [
        (1, FAILED.failure),
        (2, FAILED.failure),
    ]
    assert released(waits) == [3]


def test_inputs_are_found_among_the_products_by_name():
    waiting = unit(1, Member("background", "/in/file.fits"), science(0), Member("", "", 0))
    waits = Waits([waiting])
    waits.end(0, DONE)
    assert waits.inputs_of(waiting) == [
        ("background", Path("/in/file.fits")), ("science", Path("/out/a_rate.fits")),
    ]  # fmt: skip
    assert waits.makers_of(waiting) == ["identity"]


def test_a_product_that_was_not_made_is_an_error_unless_it_is_optional():
    waiting = unit(1, Member("science", "/out/a_cal.fits", 0))
    waits = Waits([waiting])
    waits.end(0, DONE)
    with pytest.raises(FileError, match=r"a_cal.fits: was not made: there is only a_ramp.fits, a_"):
        waits.inputs_of(waiting)
    waiting = unit(2, Member("state", "/out/a_traps.fits", 0, optional=True), science(None))
    waits = Waits([waiting], {0: DONE})
    assert [role for role, _ in waits.inputs_of(waiting)] == ["science"]


def test_a_failed_optional_member_leaves_no_identity():
    waiting = unit(1, science(0, optional=True), science(2))
    waits = Waits([waiting], {2: DONE})
    waits.end(0, FAILED)
    assert waits.makers_of(waiting) == ["identity"]
    assert len(waits.inputs_of(waiting)) == 1


def test_failures_of_an_earlier_driver_are_settled_at_the_start():
    waits = Waits([unit(1, science(0)), unit(2, science(3))], {0: FAILED, 3: DONE})
    assert waits.is_held(1)
    assert not waits.is_held(2)
    assert [one.number for one in waits.settle_earlier()] == [1]
    assert not waits.holds_any()


def test_what_was_made_is_forgotten_when_nothing_uses_it_any_more():
    waits = Waits([unit(1, science(0)), unit(2, science(0))])
    waits.end(0, DONE)
    waits.end(1, DONE)
    assert waits._made == {0: DONE}
    waits.end(2, DONE)
    assert waits._made == {}
    assert waits.unit(2) is None


def test_reasons_name_the_file():
    path = exposure_path(1)
    assert describe_failure_of(path) == "not begun: e1_uncal.fits failed"
    assert describe_failure_of(path, quarantined=True).endswith("e1_uncal.fits was quarantined")
