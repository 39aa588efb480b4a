"""Dependencies between units: releasing those whose makers have ended."""

from pathlib import Path

import pytest
from support.fakes import exposure_path

from calbatch.cluster.exposure.unit import Member, Unit
from calbatch.cluster.planning.dependencies import (
    Dependencies,
    UnitResult,
    describe_blocking_failure,
)
from calbatch.models.errors import FileError

DONE = UnitResult("identity", ["/out/a_ramp.fits", "/out/a_rate.fits"])
FAILED = UnitResult("", (), "not begun: a failed")


def unit(number, *members):
    return Unit(number, exposure_path(number), members)


def science(maker, **how):
    return Member("science", "/elsewhere/a_rate.fits", maker, **how)


def take_numbers(dependencies):
    return [number for number, _ in dependencies.take_released(dependencies.count_released())]


def test_a_unit_is_released_when_the_last_maker_has_ended():
    dependencies = Dependencies([unit(2, science(0), science(1))])
    assert dependencies.is_held(2)
    assert dependencies.finish(0, DONE) == []
    assert take_numbers(dependencies) == []
    dependencies.finish(1, DONE)
    assert dependencies.release_event.is_set()
    assert take_numbers(dependencies) == [2]
    assert not dependencies.holds_any()


def test_the_latest_is_released_first():
    dependencies = Dependencies([unit(2, science(0)), unit(3, science(1))])
    dependencies.finish(0, DONE)
    dependencies.finish(1, DONE)
    assert take_numbers(dependencies) == [3, 2]


def test_failures_block_all_units_that_need_the_failed_one():
    dependencies = Dependencies(
        [unit(1, science(0)), unit(2, science(1)), unit(3, science(0, optional=True))]
    )
    blocked = dependencies.finish(0, FAILED)
    assert [(one.number, one.reason) for one in blocked] == [
        (1, FAILED.failure),
        (2, FAILED.failure),
    ]
    assert take_numbers(dependencies) == [3]


def test_inputs_are_found_among_the_products_by_name():
    waiting = unit(1, Member("background", "/in/file.fits"), science(0), Member("", "", 0))
    dependencies = Dependencies([waiting])
    dependencies.finish(0, DONE)
    assert dependencies.find_inputs(waiting) == [
        ("background", Path("/in/file.fits")), ("science", Path("/out/a_rate.fits")),
    ]  # fmt: skip
    assert dependencies.list_maker_identities(waiting) == ["identity"]


def test_a_product_that_was_not_made_is_an_error_unless_it_is_optional():
    waiting = unit(1, Member("science", "/out/a_cal.fits", 0))
    dependencies = Dependencies([waiting])
    dependencies.finish(0, DONE)
    with pytest.raises(FileError, match=r"a_cal.fits: was not made: there is only a_ramp.fits, a_"):
        dependencies.find_inputs(waiting)
    waiting = unit(2, Member("state", "/out/a_traps.fits", 0, optional=True), science(None))
    dependencies = Dependencies([waiting], {0: DONE})
    assert [role for role, _ in dependencies.find_inputs(waiting)] == ["science"]


def test_a_failed_optional_member_leaves_no_identity():
    waiting = unit(1, science(0, optional=True), science(2))
    dependencies = Dependencies([waiting], {2: DONE})
    dependencies.finish(0, FAILED)
    assert dependencies.list_maker_identities(waiting) == ["identity"]
    assert len(dependencies.find_inputs(waiting)) == 1


def test_failures_under_an_earlier_driver_block_units_at_the_start():
    dependencies = Dependencies([unit(1, science(0)), unit(2, science(3))], {0: FAILED, 3: DONE})
    assert dependencies.is_held(1)
    assert not dependencies.is_held(2)
    assert [one.number for one in dependencies.propagate_earlier_failures()] == [1]
    assert not dependencies.holds_any()


def test_results_are_forgotten_once_nothing_uses_them():
    dependencies = Dependencies([unit(1, science(0)), unit(2, science(0))])
    dependencies.finish(0, DONE)
    dependencies.finish(1, DONE)
    assert dependencies._results == {0: DONE}
    dependencies.finish(2, DONE)
    assert dependencies._results == {}
    assert dependencies.find_unit(2) is None


def test_the_reason_names_the_file_that_failed():
    path = exposure_path(1)
    assert describe_blocking_failure(path) == "not begun: e1_uncal.fits failed"
    assert describe_blocking_failure(path, quarantined=True).endswith(
        "e1_uncal.fits was quarantined"
    )
