"""Units that wait for others begin in order, once, and never without their inputs."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fakes import FakePlanner, FakeSite, exposure_path, fail, plan, succeed
from support.unit_batches import DriverDeath, UnitBatch, waiting_units

from calbatch.cluster.driver import driver as driver_module
from calbatch.cluster.exposure.policy import FailureKind, RetryPolicy
from calbatch.cluster.exposure.unit import Member, Unit
from calbatch.cluster.ledger import ProductRow


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch):
    monkeypatch.setattr(driver_module, "SITE_DELAY", 0.0)
    monkeypatch.setattr(driver_module, "TICK", 0.001)


def submitted_numbers(site):
    return [job.number for job in site.submitted]


def failing(*numbers, kind=FailureKind.FAULT):
    return lambda job: fail(job, kind) if job.number in numbers else succeed(job)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_unit_begins_when_its_makers_are_done(tmp_path, ahead):
    batch = UnitBatch(tmp_path, 5, waiting_units({4: [0, 3], 3: [1]}), ahead=ahead)
    site = FakeSite(slots=9)
    batch.drive(site)
    order = submitted_numbers(site)
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order.index(1) < order.index(3) < order.index(4)
    assert order.index(0) < order.index(4)
    assert batch.states == ["done"] * 5


def test_a_unit_whose_input_was_just_made_comes_before_new_ones(tmp_path):
    batch = UnitBatch(tmp_path, 40, waiting_units({39: [0]}), ahead=False)
    site = FakeSite(slots=1)
    batch.drive(site)
    assert submitted_numbers(site)[:2] == [0, 39]


def test_a_failure_fails_dependents_with_the_name_of_the_first_cause(tmp_path):
    batch = UnitBatch(tmp_path, 5, waiting_units({2: [0], 3: [2], 4: [1]}))
    site = FakeSite(failing(0))
    batch.drive(site)
    assert batch.states == ["failed", "done", "failed", "failed", "done"]
    reason = "not begun: e0_uncal.fits failed"
    assert [row["reason"] for row in batch.rows[2:4]] == [
        f"{exposure_path(n)}: {reason}" for n in (2, 3)
    ]
    assert sorted(submitted_numbers(site)) == [0, 1, 4]
    assert Counter(o.number for o in batch.outcomes) == dict.fromkeys(range(5), 1)


def test_a_quarantined_unit_is_named_as_such(tmp_path):
    policy = RetryPolicy(first_delay=0.0, deaths_alone=1)
    batch = UnitBatch(tmp_path, 2, waiting_units({1: [0]}), policy=policy)
    batch.drive(FakeSite(failing(0, kind=FailureKind.MEMORY)))
    assert batch.states == ["quarantined", "failed"]
    assert batch.rows[1]["reason"].endswith("not begun: e0_uncal.fits was quarantined")


def test_a_unit_can_do_without_an_optional_member(tmp_path):
    unit = Unit(2, exposure_path(2), (
        Member("science", "/out/0_rate.fits", 0),
        Member("background", "/out/1_rate.fits", 1, optional=True),
    ))  # fmt: skip
    batch = UnitBatch(tmp_path, 3, [unit])
    batch.drive(FakeSite(failing(1)))
    assert batch.states == ["done", "failed", "done"]


def test_a_suspect_releases_those_that_wait_for_it(tmp_path):
    dying = [0, 0]

    def work(job):
        if dying and job.number == 0:
            dying.pop()
            return fail(job, FailureKind.CRASH)
        return succeed(job)

    site = FakeSite(work, slots=3)
    batch = UnitBatch(tmp_path, 3, waiting_units({2: [0]}))
    batch.drive(site)
    assert batch.states == ["done"] * 3
    assert submitted_numbers(site)[-1] == 2


def test_kept_products_release_the_units_that_wait_for_them(tmp_path):
    row = ProductRow("/out/0_rate.fits", 1, 2, "x")
    planner = FakePlanner({0: [plan(0, earlier_products=[row], is_known=True)]})
    batch, site = UnitBatch(tmp_path, 2, waiting_units({1: [0]}), planner=planner), FakeSite()
    batch.drive(site)
    assert batch.states == ["kept", "done"]
    assert submitted_numbers(site) == [1]


def test_the_next_driver_fails_the_dependents_that_a_killed_one_left(tmp_path):
    batch = UnitBatch(tmp_path, 3, waiting_units({1: [0], 2: [1]}))
    batch.drive(FakeSite(failing(0)))
    with_ledger = batch.rows
    assert [row["state"] for row in with_ledger] == ["failed"] * 3
    _set_waiting(batch, 1, 2)
    site = FakeSite()
    batch.drive(site)
    assert batch.states == ["failed"] * 3
    assert site.submitted == []


def _set_waiting(batch, *numbers):
    """Undo the end of units, as if their driver had died before recording it."""
    from calbatch.cluster.ledger import Ledger

    with Ledger(batch.folder / "state") as ledger:
        for number in numbers:
            ledger.update_exposure(1, number, state="waiting", reason="")


KINDS = st.sampled_from([FailureKind.FAULT, FailureKind.CRASH, FailureKind.STORAGE])


@st.composite
def graphs(draw):
    """Return the units, their makers, the optional makers, failures by attempt, and deaths."""
    count = draw(st.integers(1, 9))
    waits = {n: sorted(draw(st.sets(st.integers(0, n - 1), max_size=3))) for n in range(1, count)}
    optional = draw(st.sets(st.integers(0, count - 1), max_size=2))
    failures = draw(st.dictionaries(st.integers(0, count - 1), st.lists(KINDS, max_size=5)))
    deaths = draw(st.lists(st.integers(0, 8), max_size=3))
    return count, waits, optional, failures, deaths


class Work:
    """Work on a fake site that fails, kills drivers, and checks that no unit begins too early."""

    def __init__(self, units, failures, deaths):
        self.units = {unit.number: unit for unit in units}
        self.failures = {n: list(kinds) for n, kinds in failures.items()}
        self.deaths, self.until_death = list(deaths), None
        self.done, self.early = Counter(), []

    def live(self):
        """Start another driver, which may be killed later."""
        self.until_death = self.deaths.pop(0) if self.deaths else None

    def __call__(self, job):
        if self.until_death is not None:
            if self.until_death == 0:
                raise DriverDeath
            self.until_death -= 1
        unit = self.units.get(job.number)
        for maker in unit.makers if unit else ():
            if unit.needs(maker) and not self.done[maker]:
                self.early.append((job.number, maker))
        if self.failures.get(job.number):
            return fail(job, self.failures[job.number].pop(0))
        self.done[job.number] += 1
        return succeed(job)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs(), slots=st.integers(1, 4), commit=st.booleans(), ahead=st.booleans())
def test_every_unit_ends_once_for_any_order_and_deaths(graph, slots, commit, ahead):
    count, waits, optional, failures, deaths = graph
    units = waiting_units(waits)
    units = [
        unit._replace(members=tuple(m._replace(optional=m.maker in optional) for m in unit.members))
        for unit in units
    ]
    work = Work(units, failures, deaths)
    with tempfile.TemporaryDirectory() as folder:
        batch = UnitBatch(Path(folder), count, units, ahead=ahead)
        while True:
            work.live()
            if batch.drive(FakeSite(work, slots=slots), commit=commit) is not None:
                break
        rows = batch.rows
    assert work.early == []
    failed = {row["number"] for row in rows if row["state"] in ("failed", "quarantined")}
    assert {row["state"] for row in rows} <= {"done", "failed", "quarantined"}
    by_number = {unit.number: unit for unit in units}
    for row in rows:
        unit = by_number.get(row["number"])
        needed_failed = [m for m in unit.makers if unit.needs(m) and m in failed] if unit else []
        is_blocked = "not begun: " in row["reason"]
        assert is_blocked == bool(needed_failed)
        if row["state"] == "done":
            assert work.done[row["number"]] >= 1
            if not deaths:
                assert work.done[row["number"]] == 1
        if is_blocked:
            assert row["attempts"] == 0
            assert work.done[row["number"]] == 0
