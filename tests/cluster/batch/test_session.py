"""Driving a batch to its end, with a fake site, real exposures and a real ledger."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
from support.batches import DATE, quiet_console
from support.fakes import FakeSite, fail, succeed
from support.recorded import record_batch

from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.registering import begin_batch, resume_batch
from calbatch.cluster.batch.session import drive
from calbatch.cluster.driver import driver as driver_module
from calbatch.cluster.driver.control import StopRequest, request_stop
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.job import ExposureOptions
from calbatch.cluster.exposure.policy import FailureKind, RetryPolicy
from calbatch.cluster.ledger import View
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.cluster.sites.placement import SiteRequest

pytestmark = pytest.mark.usefixtures("simulated")


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch):
    monkeypatch.setattr(driver_module, "SITE_DELAY", 0.0)
    monkeypatch.setattr(driver_module, "LOOK_EVERY", 0.0)


class Session:
    """A registered batch of the simulated exposures, its console, and the sites to enter."""

    def __init__(self, simulated, folder, policy=None, scheduler="sync"):
        order = Order(
            inputs=tuple(map(str, simulated.exposures)),
            exposure=ExposureOptions(date=DATE, fsync=False),
            policy=policy or RetryPolicy(first_delay=0.0, patience=0.0),
            site=SiteRequest(scheduler, workers=2),
        )
        step = configure_step("superbias")
        step.output_dir = str(folder)
        self.begun = begin_batch(step, order, hold=True)
        self.folder, self.console, self.entered = self.begun.folder, quiet_console(), []

    @property
    def said(self):
        return self.console.file.getvalue()

    def drive(self, *sites):
        """Drive the batch on one site after another; an exception refuses to be entered."""
        left = list(sites)

        @contextmanager
        def enter(place, alone, name):
            self.entered.append((alone, name))
            site = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(site, Exception):
                raise site
            yield site

        return drive(self.begun, self.console, open_site=enter)

    def exposures(self):
        with View(self.folder.state) as view:
            return list(view.exposures(view.batch(self.folder.name).id))

    def batch(self):
        with View(self.folder.state) as view:
            return view.batch(self.folder.name)


@pytest.fixture
def session(simulated, tmp_path):
    return Session(simulated, tmp_path)


def test_a_batch_is_done_with_its_ledger_its_manifest_and_its_folder(session):
    result = session.drive(FakeSite())
    assert (result.state, result.exit_status) == ("done", 0)
    assert result.counts == {"done": 3}
    assert [path.name for path in result.products] == [f"{n}_rate.fits" for n in range(3)]
    assert session.batch().state == "done"
    assert json.loads(session.folder.manifest.read_text())["state"] == "done"
    assert list(session.folder.logs.iterdir()) == []
    assert not (session.folder.state / "staging").exists()
    assert session.entered == [(False, session.folder.name)]


def test_the_first_line_names_the_step_the_place_and_the_context(session, simulated):
    session.drive(FakeSite())
    context = session.batch().context
    first, second = session.said.splitlines()[:2]
    assert context.startswith("jwst_")
    assert first.startswith("superbias: 3 exposures, in this process, without threads, ")
    assert f", context {context} (" in first
    assert first.endswith(f"; batch {session.folder.name}")
    assert second.partition(" running")[2] == f" on {FakeSite.description}"


def test_failed_exposures_fail_the_batch(session):
    result = session.drive(FakeSite(lambda job: fail(job) if job.number == 1 else succeed(job)))
    assert (result.state, result.exit_status) == ("failed", 1)
    assert [outcome.number for outcome in result.failed] == [1]
    assert [row.state for row in session.exposures()] == ["done", "failed", "done"]
    assert json.loads(session.folder.manifest.read_text())["state"] == "failed"


def test_a_new_batch_whose_site_cannot_be_entered_disappears(session):
    with pytest.raises(RequestError, match="no such scheduler"):
        session.drive(RequestError("no such scheduler"))
    assert not session.folder.path.exists()
    with View(session.folder.state) as view:
        assert view.batches() == []


def test_a_resumed_batch_whose_site_cannot_be_entered_stays_with_the_reason(session):
    session.drive(FakeSite(lambda job: fail(job) if job.number == 1 else succeed(job)))
    session.begun = resume_batch(session.folder, failed=True, hold=True)
    with pytest.raises(RequestError):
        session.drive(RequestError("no such scheduler"))
    assert (session.batch().state, session.batch().reason) == ("failed", "no such scheduler")
    assert [row.state for row in session.exposures()] == ["done", "waiting", "done"]


def test_a_resumed_batch_calibrates_the_remaining_exposures(session):
    session.drive(FakeSite(lambda job: fail(job) if job.number == 1 else succeed(job)))
    session.begun, site = resume_batch(session.folder, failed=True, hold=True), FakeSite()
    result = session.drive(site)
    assert [job.number for job in site.submitted] == [1]
    assert (result.state, result.counts) == ("done", {"done": 3})


def test_an_interrupt_leaves_the_batch_interrupted(session):
    def interrupt(job):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.drive(FakeSite(interrupt))
    assert "stopping: " in session.said
    assert session.batch().state == "interrupted"
    assert {row.state for row in session.exposures()} == {"waiting"}


def test_a_defect_is_raised_and_leaves_the_batch_interrupted(session):
    def crash(job):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.drive(FakeSite(crash))
    assert (session.batch().state, session.batch().reason) == (
        "interrupted", "the driver was terminated",
    )  # fmt: skip
    assert {row.state for row in session.exposures()} == {"waiting"}


def test_a_ledger_that_is_damaged_meanwhile_ends_the_batch(session):
    def damage(job):
        session.begun.ledger._connection.execute("DROP TABLE IF EXISTS attempts")
        return succeed(job)

    result = session.drive(FakeSite(damage, slots=3))
    assert (result.state, result.exit_status) == ("interrupted", 130)
    assert "calbatch rebuild" in result.reason
    assert [outcome.number for outcome in result.unrecorded] == [0, 1, 2]


def test_a_manifest_that_cannot_be_written_is_reported(session):
    def obstruct(job):
        session.folder.manifest.mkdir(exist_ok=True)
        return succeed(job)

    assert session.drive(FakeSite(obstruct)).state == "done"
    assert f"{session.folder.manifest}: cannot be written: " in session.said


def test_jobs_of_a_dead_driver_that_cannot_be_ended_are_reported(session, tmp_path):
    session.begun.ledger.close()
    session.begun = replace(session.begun, ledger=None)
    gone = Order(inputs=("in",), site=SiteRequest(site="gone"))
    dead = record_batch(tmp_path, [{}], state="running", order=gone)
    assert session.drive(FakeSite()).state == "done"
    assert f"{dead.name}: its worker jobs may continue for a while: site 'gone'" in session.said
    with View(dead.state) as view:
        row = view.batch(dead.name)
    assert (row.state, row.reason) == ("interrupted", "its driver died")


def test_a_stop_request_cancels_the_batch(session):
    def work(job):
        request_stop(session.folder.control, StopRequest.NOW)
        return succeed(job)

    result = session.drive(FakeSite(work, slots=1))
    assert (result.state, result.reason) == ("cancelled", "cancelled (now)")
    assert result.exit_status == 130
    assert result.counts == {"done": 1, "waiting": 2}


def test_outcomes_that_the_ledger_has_no_room_for_are_reported(session):
    def fill(job):
        connection = session.begun.ledger._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return replace(fail(job), details="x" * 100_000)

    result = session.drive(FakeSite(fill, slots=3))  # all outcomes arrive before a commit
    assert result.state == "interrupted"
    assert "full" in result.reason
    assert [outcome.number for outcome in result.unrecorded] == [0, 1, 2]
    assert "3 outcomes could not be recorded; these exposures would be repeated: " in session.said
    assert result.counts == {"failed": 3}


def test_a_suspect_runs_on_the_usual_site_if_there_is_no_larger_one(simulated, tmp_path):
    session = Session(simulated, tmp_path, scheduler="local")
    deaths = [1, 1]

    def work(job):
        if job.number == 1 and deaths:
            deaths.pop()
            return fail(job, FailureKind.CRASH)
        return succeed(job)

    site = FakeSite(work)
    result = session.drive(site, RequestError("not so much memory"), site)
    assert result.state == "done"
    assert [alone for alone, _ in session.entered] == [False, True, False]
    assert "not so much memory" in session.said
