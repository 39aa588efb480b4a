"""The driver's loop, with a fake site, a fake planner and a real ledger."""

from types import SimpleNamespace

import pytest
from support.driven_batches import Batch, failing_times, omit_delays
from support.fakes import (
    FakePlanner,
    FakeSite,
    FakeSites,
    exposure_path,
    fail,
    plan,
    succeed,
)
from support.waiting import be_slow

from calbatch.cluster.driver import room
from calbatch.cluster.driver.control import StopRequest, request_stop
from calbatch.cluster.driver.staging import Staging
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.policy import FailureKind, RetryPolicy
from calbatch.cluster.ledger import ProductRow, View
from calbatch.cluster.sites.silence import Condition, SilentWorker
from calbatch.models.errors import FileError


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch):
    omit_delays(monkeypatch)


def test_all_exposures_are_calibrated_within_the_sites_room(tmp_path):
    batch, site = Batch(tmp_path, count=7), FakeSite(slots=3)
    driver = batch.run(site)
    assert batch.states == ["done"] * 7
    assert sorted(job.number for job in site.submitted) == list(range(7))
    assert site.most == 3
    assert driver.stopping == ""
    assert ("site", "on a fake site") in batch.events


def test_a_job_carries_the_input_version_the_log_and_the_batch(tmp_path):
    batch, site = Batch(tmp_path, count=1), FakeSite()
    batch.run(site)
    (job,) = site.submitted
    assert (job.path, job.stamp, job.batch) == (exposure_path(0), (10, 20), "b")
    assert job.log == batch.logs / "0-1.log"


def test_a_storage_failure_is_retried(tmp_path):
    batch = Batch(tmp_path)
    batch.run(FakeSite(failing_times({1: 2}, FailureKind.STORAGE)))
    assert batch.states == ["done"] * 4
    assert batch.rows[1]["attempts"] == 3
    assert [result for number, result, _ in batch.attempts if number == 1] == [
        "storage", "storage", "done",
    ]  # fmt: skip
    assert sum(kind == "retry" for kind, _ in batch.events) == 2


def test_a_fault_is_final_and_leaves_the_others_alone(tmp_path):
    batch = Batch(tmp_path)
    batch.run(FakeSite(failing_times({2: 1}, FailureKind.FAULT)))
    assert batch.states == ["done", "done", "failed", "done"]
    assert [outcome.number for outcome in batch.outcomes if outcome.failed] == [2]


def test_the_first_failure_can_end_the_batch(tmp_path):
    batch = Batch(tmp_path, count=9, policy=RetryPolicy(fail_fast=True))
    driver = batch.run(FakeSite(failing_times({0: 1}, FailureKind.FAULT), slots=1))
    assert driver.stopping.startswith("an exposure failed: ")
    assert batch.states[0] == "failed"
    assert "waiting" in batch.states


def test_intact_products_and_planning_errors_need_no_site(tmp_path):
    row = ProductRow("/out/0_rate.fits", 1, 2, "x")
    planner = FakePlanner(
        {
            0: [plan(0, earlier_products=[row], is_known=True, content="c")],
            1: [plan(1, error=FileError(exposure_path(1), "is empty"), source=None)],
        }
    )
    batch = Batch(tmp_path, count=2, planner=planner)
    batch.run(FakeSite())
    assert not batch.needs_site
    assert batch.states == ["kept", "failed"]
    assert [outcome.kept for outcome in batch.outcomes] == [True, False]
    assert batch.rows[1]["reason"] == f"{exposure_path(1)}: is empty"


class SlowPlanner(FakePlanner):
    """Takes a while for all blocks but the first."""

    def plan_block(self, exposures):
        if self.calls:
            be_slow(0.05)
        return super().plan_block(exposures)


def test_the_driver_waits_for_the_first_exposure_that_needs_a_site(tmp_path):
    row = ProductRow("/out/0_rate.fits", 1, 2, "x")
    kept = {n: [plan(n, earlier_products=[row], is_known=True, content="c")] for n in range(4)}
    batch = Batch(tmp_path, count=5, planner=SlowPlanner(kept))
    batch.run(FakeSite())
    assert batch.needs_site
    assert batch.states == ["kept"] * 4 + ["done"]


def test_a_changed_input_is_planned_again(tmp_path):
    batch = Batch(tmp_path, count=2)
    batch.run(FakeSite(failing_times({1: 1}, FailureKind.CHANGED)))
    assert batch.states == ["done", "done"]
    assert batch.planner.calls == [[0, 1], [1]]


def test_a_changed_input_that_cannot_be_planned_fails(tmp_path):
    gone = plan(0, error=FileError(exposure_path(0), "is gone"), source=None)
    batch = Batch(tmp_path, count=1, planner=FakePlanner({0: [plan(0), gone]}))
    batch.run(FakeSite(failing_times({0: 1}, FailureKind.CHANGED)))
    assert batch.states == ["failed"]
    assert batch.rows[0]["reason"].endswith("is gone")


def test_a_suspect_runs_alone_after_the_others(tmp_path):
    batch, first, second = Batch(tmp_path), FakeSite(), FakeSite(slots=9)
    first.work = failing_times({1: 2}, FailureKind.CRASH)
    sites = FakeSites(first, second)
    batch.run(enter=sites.enter)
    assert sites.entered == [False, True]
    assert [job.number for job in second.submitted] == [1]
    assert batch.states == ["done"] * 4
    assert [alone for number, _, alone in batch.attempts if number == 1] == [0, 0, 1]


def test_an_exposure_that_kills_workers_alone_is_quarantined(tmp_path):
    batch = Batch(tmp_path, count=2, policy=RetryPolicy(first_delay=0.0, deaths_alone=2))
    batch.run(FakeSite(failing_times({1: 99}, FailureKind.MEMORY)))
    assert batch.states == ["done", "quarantined"]
    assert batch.rows[1]["deaths"] == 2
    assert batch.rows[1]["reason"].endswith(
        "quarantined: 2 processes died while it was running alone"
    )


def test_an_exposure_quarantined_before_is_retried_once_alone(tmp_path):
    planner = FakePlanner({0: [plan(0, deaths=3)]})
    batch, site = Batch(tmp_path, count=2, planner=planner), FakeSite()
    site.work = failing_times({0: 1}, FailureKind.CRASH)
    batch.run(site)
    assert [job.number for job in site.submitted] == [1, 0]
    assert batch.states == ["quarantined", "done"]


@pytest.mark.parametrize(
    ("log", "result", "reason"),
    [
        ("Fatal Python error: Segmentation fault", "crash", "Fatal Python error"),
        ("memory: 950 of 1000 bytes", "memory", "out of memory"),
        ("began now in vm:5", "death", "death"),
    ],
)
def test_the_log_explains_a_death(tmp_path, log, result, reason):
    batch = Batch(tmp_path, count=1)

    def die_once(job):
        if job.log.name == "0-1.log":
            job.log.write_text(f"began now in vm:5\n{log}\n")
            return fail(job, FailureKind.DEATH)
        return succeed(job)

    batch.run(FakeSite(die_once))
    assert batch.states == ["done"]
    assert batch.attempts[0][1] == result
    assert [text for kind, text in batch.events if kind == "retry" and reason in text]
    assert not list(batch.logs.iterdir())


def test_an_exposure_queued_at_a_dead_worker_is_not_blamed(tmp_path):
    """It has no log, although logs of others can be seen."""
    batch, dying = Batch(tmp_path, count=2), {0, 1}

    def work(job):
        if job.number not in dying:
            return succeed(job)
        dying.discard(job.number)
        if job.number == 0:
            job.log.write_text("began now in vm:5\n")
        return fail(job, FailureKind.DEATH)

    batch.run(FakeSite(work))
    assert batch.states == ["done", "done"]
    assert sorted(result for _, result, _ in batch.attempts) == ["death", "done", "done", "lost"]


def test_a_lost_site_is_entered_again_and_attempts_are_requeued(tmp_path):
    batch = Batch(tmp_path, count=4)
    sites = FakeSites(FakeSite(lost_after=2), FakeSite())
    batch.run(enter=sites.enter)
    assert sites.entered == [False, False]
    assert batch.states == ["done"] * 4
    assert ("site lost", "the fake site is gone") in batch.events
    assert sum(result == "lost" for _, result, _ in batch.attempts) == 2


def test_a_site_that_stays_lost_ends_the_batch(tmp_path):
    batch = Batch(tmp_path, policy=RetryPolicy(patience=0.0))
    driver = batch.run(FakeSite(lost_after=0))
    assert driver.stopping == "the site was lost: the fake site is gone"
    assert "done" not in batch.states


def test_a_lost_site_may_be_unavailable_for_a_while(tmp_path):
    answers = [FakeSite(lost_after=1), RequestError("not there yet"), FakeSite()]

    def enter(alone):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return FakeSites(answer).enter(alone)

    batch = Batch(tmp_path)
    batch.run(enter=enter)
    assert batch.states == ["done"] * 4
    assert ("site lost", "not there yet") in batch.events


def test_a_site_that_cannot_be_entered_at_first_is_an_error(tmp_path):
    def enter(alone):
        raise RequestError("no such scheduler")

    with pytest.raises(RequestError, match="no such scheduler"):
        Batch(tmp_path).run(enter=enter)


@pytest.mark.parametrize(
    ("request_", "stopping", "states"),
    [
        (StopRequest.DRAIN, "cancelled (drain)", {"done", "waiting"}),
        (StopRequest.NOW, "cancelled (now)", {"done", "waiting", "running"}),
        (StopRequest.LATER, "the driver's time is up", {"done", "waiting"}),
    ],
)
def test_a_stop_request_ends_the_batch(tmp_path, request_, stopping, states):
    batch = Batch(tmp_path, count=20)

    def work(job):
        if job.number == 3:
            request_stop(batch.control, request_)
        return succeed(job)

    driver = batch.run(FakeSite(work))
    assert driver.stopping == stopping
    assert set(batch.states) <= states
    assert {"done", "waiting"} <= set(batch.states)


def test_an_exposure_past_its_deadline_fails(tmp_path):
    batch, site = Batch(tmp_path, count=2, policy=RetryPolicy(deadline=0.02)), FakeSite()
    site.work = lambda job: succeed(job) if job.number == 1 else None
    batch.run(site)
    assert site.killed == [0]
    assert batch.states == ["failed", "done"]
    assert batch.rows[0]["reason"] == f"{exposure_path(0)}: took longer than 0.02 s"


def test_a_stopped_worker_is_discarded_and_its_exposure_retried(tmp_path):
    batch, site = Batch(tmp_path, count=2), FakeSite()
    silent = SilentWorker("tcp://w", 99.0, Condition.STOPPED, frozenset({0}))
    attempts = []

    def work(job):
        attempts.append(job.number)
        if job.number == 0 and attempts.count(0) == 1:
            site.silent = [silent]
            return None
        return succeed(job)

    site.work = work
    batch.run(site)
    assert site.discarded == [silent]
    assert batch.states == ["done", "done"]
    assert batch.said == [silent.line()]
    assert ("silence", silent.line()) in batch.events


class SlowToEnd(FakeSite):
    """A site whose workers may go on after they are discarded."""

    def discard_worker(self, silent):
        assert not self.submitted[0].staging.exists()
        super().discard_worker(silent)


@pytest.mark.parametrize("end", ["silence", *FailureKind])
def test_an_attempt_is_fenced_off_before_the_next_one_begins(tmp_path, end):
    staging = Staging(tmp_path / "fence")
    batch, site = Batch(tmp_path, count=1, staging=staging), SlowToEnd()
    silent = SilentWorker("tcp://w", 99.0, Condition.STOPPED, frozenset({0}))
    seen = []

    def work(job):
        seen.append(job.staging)
        assert [place.exists() for place in seen] == [False] * (len(seen) - 1) + [True]
        if len(seen) > 1:
            return succeed(job)
        site.silent = [silent] if end == "silence" else []
        return None if end == "silence" else fail(job, end)

    site.work = work
    batch.run(site)
    assert [place.exists() for place in seen] == [False] * len(seen)
    assert site.discarded == ([silent] if end == "silence" else [])
    assert len(seen) == (1 if end in (FailureKind.FAULT, FailureKind.DEADLINE) else 2)


def test_a_busy_worker_is_waited_for(tmp_path):
    batch, site = Batch(tmp_path, count=1), FakeSite()
    site.silent = [SilentWorker("tcp://w", 99.0, Condition.BUSY, frozenset({0}))]
    batch.run(site)
    assert site.discarded == []
    assert batch.said == []
    assert batch.states == ["done"]


def test_silent_workers_are_looked_for_until_the_site_reports_them(tmp_path):
    batch, site = Batch(tmp_path, count=1), FakeSite()
    mute = SilentWorker("tcp://w", 99.0, Condition.MUTE, frozenset({0}))
    looks = iter([None, [mute], None])
    site.find_silent = lambda limit: next(looks, None)
    site.work = lambda job: succeed(job) if batch.said else None
    batch.run(site)
    assert batch.said == [mute.line()]
    assert batch.states == ["done"]


def test_others_see_what_runs_in_the_drivers_own_thread(tmp_path):
    """Exposures that end at once are followed by longer ones."""
    seen = []

    def work(job):
        with View(tmp_path / "state") as view:
            rows = view._rows("SELECT state FROM exposures ORDER BY number")
            seen.append([row["state"] for row in rows])
        return succeed(job)

    site = FakeSite(work, slots=1)
    site.is_blocking = True
    Batch(tmp_path, count=3).run(site)
    assert seen == [
        ["running", "waiting", "waiting"],
        ["done", "running", "waiting"],
        ["done", "done", "running"],
    ]


def test_the_outcome_of_a_withdrawn_exposure_is_ignored(tmp_path):
    """The outcome may be on its way when its worker is taken for dead."""
    late = []

    class Site(FakeSite):
        def withdraw(self, numbers=None, *, kill=False):
            late.extend((job, succeed(job)) for n, job in self._jobs.items() if n in numbers)
            super().withdraw(numbers, kill=kill)

        def collect(self, timeout):
            arrived = late[:]
            late.clear()
            return arrived or super().collect(timeout)

    batch = Batch(tmp_path, count=2, policy=RetryPolicy(deadline=0.02))
    batch.run(Site(lambda job: succeed(job) if job.number == 1 else None, slots=1))
    assert batch.states == ["failed", "done"]
    assert [outcome.number for outcome in batch.outcomes if not outcome.failed] == [1]


def test_a_full_disk_ends_the_batch(tmp_path, monkeypatch):
    full = SimpleNamespace(free=0)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: full)
    batch = Batch(tmp_path, policy=RetryPolicy(patience=0.0))
    site = FakeSite()

    driver = batch.run(site)
    assert driver.stopping.startswith("the disk is full: ")
    assert site.submitted == []
    assert "paused" in [kind for kind, _ in batch.events]


def test_a_waiting_job_is_an_example_for_compiling(tmp_path):
    batch = Batch(tmp_path, count=1)
    driver = batch.run(FakeSite())
    assert batch.example.number == 0
    assert driver.first_job() is None
