"""Estimates of a batch's time and memory from exposures that were calibrated before."""

import json

import pytest
from support.recorded import record_batch

from calbatch.cluster.ledger import Ledger, View
from calbatch.cluster.planning.experience import (
    MeasuredExposure,
    count_values,
    estimate,
    find_experience,
    read_experience,
)
from calbatch.cluster.planning.forecast import ExposureGroup

SMALL, LARGE = "NRCA1 FULL BRIGHT2, 1 x 2 x 10 x 10", "NRCA1 FULL BRIGHT2, 1 x 4 x 10 x 10"


def make_group(title, members):
    return ExposureGroup(title=title, members=members, budget=None, output_bytes=0)


def make_measured(title, *works, peak=7):
    return [MeasuredExposure(title=title, work=work, peak=peak) for work in works]


def test_an_exposure_takes_as_long_as_those_of_its_kind():
    found = estimate(
        [make_group(SMALL, 3)], [*make_measured(SMALL, 1, 2, 9), *make_measured(LARGE, 50, peak=8)]
    )
    assert (found.work, found.measured, found.is_scaled, found.peak) == (6, 3, False, 7)


def test_if_sizes_are_scaled_all_exposures_count():
    measured = [*make_measured(SMALL, 1, 2), *make_measured("a, 9 x 9", 1, peak=9)]
    found = estimate([make_group(SMALL, 1), make_group(LARGE, 1)], measured)
    assert (found.measured, found.is_scaled, found.peak) == (3, True, 9)


def test_exposures_of_another_kind_take_longer_if_they_are_larger():
    found = estimate(
        [make_group(SMALL, 1), make_group(LARGE, 2)], make_measured(SMALL, 3, peak=None)
    )
    assert (found.work, found.is_scaled, found.peak) == (3 + 2 * 6, True, None)


@pytest.mark.parametrize("title", [SMALL, "? ? ?, ? x ? x ? x ?"])
def test_nothing_is_known_without_experience_or_size(title):
    assert estimate([make_group(title, 1)], []) is None
    assert (estimate([make_group(title, 1)], make_measured(LARGE, 1)) is None) == (title != SMALL)


@pytest.mark.parametrize(("title", "count"), [(SMALL, 200), ("a, ? x 2", None), ("a", None)])
def test_values_are_counted_from_the_description(title, count):
    assert count_values(title) == count


HEADER = {
    "meta.instrument.detector": "NRCA1", "meta.subarray.name": "FULL",
    "meta.exposure.readpatt": "BRIGHT2", "array.shape": "1 x 2 x 10 x 10",
}  # fmt: skip


def record(output, *exposures):
    """Record exposures that have been calibrated, all of one kind."""
    folder = record_batch(output, [{"state": "done", "peak": 7} | each for each in exposures])
    with Ledger(folder.state) as ledger:
        for number in range(len(exposures)):
            path = f"/in/e{number}_uncal.fits"
            ledger.add_header(path, 1, 1, "d", HEADER)
    return folder


def test_the_slower_of_wall_and_processor_time_counts(tmp_path):
    """A waiting process takes longer than its processor, and several threads take less long."""
    folder = record(tmp_path, {"seconds": 5.0, "cpu": 2.0}, {"seconds": 1.0, "cpu": 4.0}, {})
    with View(folder.state) as view:
        found = read_experience(view, "jump")
        assert read_experience(view, "superbias") == []
    assert [(each.title, each.work, each.peak) for each in found] == [(SMALL, 4, 7), (SMALL, 5, 7)]


def test_the_processors_of_all_workers_count(tmp_path):
    """`cpu` is that of the driver alone if workers make the tiles."""
    stages = {"superbias": 3.0, "jump": 9.0}
    folder = record(tmp_path, {"seconds": 5.0, "cpu": 0.1, "stages": json.dumps(stages)})
    with View(folder.state) as view:
        assert [each.work for each in read_experience(view, "jump")] == [12]


def test_other_ledgers_are_searched_in_turn_if_the_own_knows_nothing(tmp_path):
    own = record(tmp_path / "own")
    damaged = record(tmp_path / "damaged", {"seconds": 3.0})
    (damaged.state / "ledger.sqlite").write_bytes(b"no database")
    others = [record(tmp_path / name, {"seconds": n}) for n, name in ((1.0, "a"), (2.0, "b"))]
    states = [damaged.state, tmp_path / "none", *(folder.state for folder in others)]
    with View(own.state) as view:
        assert [each.work for each in find_experience(view, states, "jump")] == [1.0]
    with View(others[1].state) as view:
        assert [each.work for each in find_experience(view, states, "jump")] == [2.0]
    assert find_experience(None, states, "superbias") == []
