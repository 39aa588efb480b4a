"""The main loop: submit planned exposures to a site and handle their outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from calbatch.cluster.driver.batch_setup import BatchSetup
from calbatch.cluster.driver.control import StopRequest, read_stop_request
from calbatch.cluster.driver.deaths import RecordedDeath, explain_death
from calbatch.cluster.driver.feed import Feed
from calbatch.cluster.driver.recording import Attempt, Recorder
from calbatch.cluster.driver.retry_queue import RetryQueue
from calbatch.cluster.driver.room import Room
from calbatch.cluster.errors import FencedError, LostError, RequestError, SiteLostError
from calbatch.cluster.exposure.interrupts import require_no_interrupt
from calbatch.cluster.exposure.job import Job
from calbatch.cluster.exposure.log import collect_log
from calbatch.cluster.exposure.outcome import Outcome, Stopwatch, failure
from calbatch.cluster.exposure.policy import (
    DEATHS,
    FailureKind,
    RetryAction,
    RetryPolicy,
)
from calbatch.cluster.planning.planned_exposure import PlannedExposure
from calbatch.cluster.sites.silence import GONE, Condition, SilenceReports, SilentWorker
from calbatch.cluster.sites.site import Site
from calbatch.models.errors import FileError, format_count
from calbatch.models.fits.writer import Product

TICK = 0.2
"""Seconds to wait for an outcome in each iteration of the main loop."""

LOOK_EVERY = 2.0
"""Seconds between checks of deadlines."""

SITE_DELAY = 1.0
"""Seconds to wait before a lost site is entered again."""


class Driver:
    """Runs the exposures of a batch on a site, retrying those that fail.

    Parameters
    ----------
    setup : BatchSetup
        The settings that all jobs share.
    feed : Feed
        Source of planned exposures, already entered.
    recorder : Recorder
        Writes outcomes to the ledger.
    policy : RetryPolicy, optional
        Limits on retries and waiting.
    deaths : mapping, optional
        The deaths that earlier drivers have left, by exposure.

    Attributes
    ----------
    stopping : str
        The reason why the batch is being stopped; empty while it is not.
    """

    def __init__(
        self,
        setup: BatchSetup,
        feed: Feed,
        recorder: Recorder,
        policy: RetryPolicy | None = None,
        *,
        deaths: Mapping[int, Sequence[RecordedDeath]] | None = None,
    ) -> None:
        self.setup, self.feed, self.recorder = setup, feed, recorder
        self.policy, self._deaths = policy or RetryPolicy(), deaths or {}
        self.stopping = ""
        self._running: dict[int, Attempt] = {}  # the window: submitted, and not yet settled
        self._waiting = RetryQueue()
        self._reports = SilenceReports()
        self._room = Room(setup.output, recorder, self.policy.patience)
        self._looked = 0.0
        self._lost_since = 0.0
        self._logs_seen = False

    # -- running the batch --------------------------------------------------------------------

    def run(self, enter: Callable[[bool], AbstractContextManager[Site]]) -> None:
        """Run until no work is left or the batch is stopped.

        Suspects, which must run alone, come last; units that wait for their products follow.

        Parameters
        ----------
        enter : callable
            Returns a context manager that yields the site. Its argument is True for a site that
            runs one exposure at a time. Called again after the site is lost.
        """
        while not self.stopping and (self._has_work(alone=False) or self._has_work(alone=True)):
            alone = not self._has_work(alone=False)
            try:
                with enter(alone) as site:
                    self.recorder.record_event("site", site.description)
                    self._drive(site, alone=alone)
            except SiteLostError as lost:
                self._wait_for_site(lost)
            except RequestError as error:
                if not self._lost_since:  # otherwise, the lost site has not come back yet
                    raise
                self._wait_for_site(SiteLostError(str(error)))

    def prepare(self) -> bool:
        """Handle exposures that need no site until one needs it; return whether one does."""
        self.recorder.record_earlier_failures()
        attempt = self._next(alone=False)
        while attempt is None and not self.feed.exhausted and not self.stopping:
            time.sleep(TICK / 10)
            attempt = self._next(alone=False)
            self.recorder.ledger.tick()
        if attempt is not None:
            self._waiting.add(attempt)
        return self._waiting.peek() is not None and not self.stopping

    def first_job(self) -> Job | None:
        """Return the job of a waiting exposure, as an example of the batch's jobs."""
        attempt = self._waiting.peek()
        return self.setup.job(attempt) if attempt else None

    def _has_work(self, *, alone: bool) -> bool:
        has_waiting = self._waiting.has_exposures(alone=alone)
        return bool(has_waiting or self._running or (not alone and not self.feed.exhausted))

    def _drive(self, site: Site, *, alone: bool) -> None:
        try:
            while self._has_work(alone=alone):
                require_no_interrupt()
                self._check_stop_request(site)
                if self.stopping and not self._running:
                    return
                self._admit(site, alone=alone)
                self.recorder.ledger.tick()
                if site.is_blocking:  # others can read the ledger meanwhile
                    self.recorder.ledger.commit()
                for job, outcome in site.collect(self._pause()):
                    self._lost_since = 0.0
                    attempt = self._running.pop(job.number, None)
                    if attempt is not None:
                        self._settle(attempt, job, outcome)
                self._check_deadlines(site)
                self._check_silence(site)
        finally:
            site.withdraw()

    def _pause(self) -> float:
        """Return the time to wait for an outcome, in seconds."""
        return TICK if self._running else TICK / 10

    def _wait_for_site(self, lost: SiteLostError) -> None:
        """Requeue in-flight exposures after losing the site, and wait before the next attempt."""
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        self.recorder.record_event("site lost", str(lost))
        self.recorder.record_lost_site(f"the site was lost: {lost}")
        for attempt in list(self._running.values()):
            collect_log(self._log(attempt))
            self._fence(self.setup.job(attempt))
            self._waiting.add(replace(attempt, due=now, running=0.0))
        self._running.clear()
        if now - self._lost_since > self.policy.patience:
            self.stopping = f"the site was lost: {lost}"
            return
        self.recorder.ledger.commit()
        time.sleep(SITE_DELAY)

    def _fence(self, job: Job, *, ended: bool = False) -> None:
        """Keep an attempt from publishing anything more; stop the batch if that fails."""
        try:
            self.setup.fence(job, ended=ended)
        except (OSError, FileError) as error:
            self.stopping = f"{job.path}: cannot keep an attempt from publishing products: {error}"
            self.recorder.record_event("staging", self.stopping)

    def _log(self, attempt: Attempt) -> Path:
        return self.setup.job(attempt).log or Path()

    # -- admission ----------------------------------------------------------------------------

    def _admit(self, site: Site, *, alone: bool) -> None:
        """Submit exposures while the site and the disk have room."""
        while not self.stopping and len(self._running) < (1 if alone else site.room()):
            attempt = self._next(alone=alone)
            if attempt is None:
                return
            if not self._room.is_available(busy=bool(self._running)):
                self._waiting.add(attempt)
                self.stopping = self._room.end_reason
                return
            self._submit(site, attempt)

    def _next(self, *, alone: bool) -> Attempt | None:
        """Return an attempt that is due, or else the first attempt at the next exposure."""
        due = self._waiting.take(time.monotonic(), alone=alone)
        if due is not None:
            return due
        while not alone and (planned := self.feed.next()) is not None:
            attempt = self._begin_exposure(planned)
            if attempt is not None:
                return attempt
        return None

    def _begin_exposure(self, planned: PlannedExposure) -> Attempt | None:
        """Return the first attempt at an exposure; None if it needs none or must run alone."""
        attempt = Attempt(planned)
        if planned.error is not None:
            outcome = failure(planned.number, planned.path, planned.error, Stopwatch())
            self.recorder.record_plan(planned)
            self._end(attempt, outcome)
            return None
        if planned.earlier_products:
            self.recorder.record_kept(planned, _earlier_outcome(planned))
            return None
        self.recorder.record_plan(planned)
        deaths = self._deaths.get(planned.number, ())
        action = self.policy.recall(attempt.history, planned.deaths, [d.kind for d in deaths])
        if action is RetryAction.QUARANTINE:
            number, path, (kind, reason) = planned.number, planned.path, deaths[-1]
            self._end(
                attempt, Outcome(number=number, path=path, error=reason, kind=kind), "", action
            )
            return None
        if action is RetryAction.ALONE:
            if deaths:
                self.recorder.say(f"{deaths[-1].reason}; it runs alone, after all others")
            self._waiting.add(replace(attempt, alone=True))
            return None
        return attempt

    def _submit(self, site: Site, attempt: Attempt) -> None:
        attempt = replace(attempt, serial=self.recorder.next_attempt(attempt), running=0.0)
        self._running[attempt.planned.number] = attempt
        self.recorder.record_start(attempt)
        job = self.setup.job(attempt)
        outcome = self._start(site, job)
        if outcome is not None:
            del self._running[attempt.planned.number]
            self._settle(attempt, job, outcome)

    def _start(self, site: Site, job: Job) -> Outcome | None:
        """Make the staging folder and submit the job; return the outcome if that failed."""
        try:
            self.setup.make_staging(job)
        except FencedError as error:
            self.stopping = str(error)
            return failure(job.number, job.path, LostError(str(error)), Stopwatch())
        except (OSError, FileError) as error:
            return failure(job.number, job.path, error, Stopwatch())
        return site.submit(job)

    # -- outcomes -----------------------------------------------------------------------------

    def _settle(self, attempt: Attempt, job: Job, outcome: Outcome) -> None:
        """Record an outcome that is final, or schedule a retry."""
        lost = outcome.failed and outcome.kind in (*DEATHS, FailureKind.LOST)
        self._fence(job, ended=not lost)
        log = collect_log(job.log) if job.log and lost else ""
        if not outcome.failed:
            self._room.expect(sum(product.size for product in outcome.written))
            self.recorder.record_outcome(attempt, outcome)
            return
        outcome = explain_death(outcome, log)
        self._logs_seen = self._logs_seen or bool(log)
        if (
            outcome.kind is FailureKind.DEATH
            and not (attempt.alone or log)
            and self._has_seen_logs()
        ):
            # Without a log it had not started: it was only queued at the worker that died.
            outcome = replace(outcome, kind=FailureKind.LOST)
        decision = self.policy.decide(outcome.kind, attempt.history, alone=attempt.alone)
        if decision.action in (RetryAction.FAIL, RetryAction.QUARANTINE):
            self._end(attempt, outcome, log, decision.action)
            return
        if outcome.kind is FailureKind.CHANGED:
            planned = self.feed.replan(attempt.planned.number, attempt.planned.path)
            attempt = replace(attempt, planned=planned)
            if planned.error is not None:
                self._end(
                    attempt, failure(planned.number, planned.path, planned.error, Stopwatch())
                )
                return
            self.recorder.record_plan(planned)
        alone = decision.action is RetryAction.ALONE
        self.recorder.record_retry(attempt, outcome, log, decision.delay, alone=alone)
        self._waiting.add(replace(attempt, due=time.monotonic() + decision.delay, alone=alone))

    def _has_seen_logs(self) -> bool:
        """Return whether the workers' logs can be seen here; each started attempt has one."""
        folder = self.setup.logs
        if not self._logs_seen and folder is not None:
            self._logs_seen = any(folder.glob("*.log"))
        return self._logs_seen

    def _end(
        self,
        attempt: Attempt,
        outcome: Outcome,
        log: str = "",
        action: RetryAction = RetryAction.FAIL,
    ) -> None:
        if action is RetryAction.QUARANTINE:
            processes = format_count(attempt.history.deaths_alone, "process", "processes")
            text = f"{outcome.error}; quarantined: {processes} died while it was running alone"
            outcome = replace(outcome, error=text)
        self.recorder.record_outcome(attempt, outcome, log, action)
        if self.policy.fail_fast and not self.stopping:
            self.stopping = f"an exposure failed: {outcome.error}"

    # -- periodic checks ----------------------------------------------------------------------

    def _check_stop_request(self, site: Site) -> None:
        """Follow a stop request in the control file."""
        request = read_stop_request(self.setup.control)
        if request is not None and not self.stopping:
            later = request is StopRequest.LATER
            self.stopping = "the driver's time is up" if later else f"cancelled ({request})"
            self.recorder.record_event("pause" if later else "cancel", self.stopping)
        if request is StopRequest.NOW or (self.stopping and self.policy.fail_fast):
            site.withdraw()
            self._running.clear()

    def _check_silence(self, site: Site) -> None:
        """Report workers that are silent, and abandon those that are stopped or cut off."""
        silent = site.find_silent(self.policy.silence)
        if silent is None:
            return
        for worker in self._reports.news(silent):
            self.recorder.record_event("silence", worker.line())
            if worker.condition is not Condition.BUSY:
                self.recorder.say(worker.line())
        for worker in silent:
            if worker.condition in GONE and worker.seconds >= self.policy.silence:
                self._abandon_worker(site, worker)

    def _abandon_worker(self, site: Site, silent: SilentWorker) -> None:
        """Treat a worker as dead, and keep it from publishing in case it resumes."""
        lost = [self._running.pop(number) for number in silent.numbers & self._running.keys()]
        site.withdraw([attempt.planned.number for attempt in lost])
        for attempt in lost:
            self._fence(self.setup.job(attempt))
        site.discard_worker(silent)
        for attempt in lost:
            number, path = attempt.planned.number, attempt.planned.path
            text = f"{path}: lost its worker: {silent.line()}"
            kind = FailureKind.DEATH
            outcome = Outcome(number=number, path=path, error=text, kind=kind)
            self._settle(attempt, self.setup.job(attempt), outcome)

    def _check_deadlines(self, site: Site) -> None:
        """End attempts that have exceeded the deadline."""
        now = time.monotonic()
        if self.policy.deadline is None or now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        started = site.running_numbers()
        for number, attempt in self._running.items():
            if number in started and not attempt.running:
                attempt.running = now
        late = [o for o in self._running.values() if 0 < o.running < now - self.policy.deadline]
        if late:
            site.withdraw([o.planned.number for o in late], kill=True)
        for attempt in late:
            self._running.pop(attempt.planned.number)
            self._fence(self.setup.job(attempt))
            log = collect_log(self._log(attempt))
            text = f"{attempt.planned.path}: took longer than {self.policy.deadline:g} s"
            number, path = attempt.planned.number, attempt.planned.path
            kind = FailureKind.DEADLINE
            outcome = Outcome(number=number, path=path, error=text, kind=kind)
            self._end(attempt, outcome, log)


def _earlier_outcome(planned: PlannedExposure) -> Outcome:
    products = tuple(
        Product(p.path, p.size, p.mtime_ns, p.digest) for p in planned.earlier_products
    )
    return Outcome(
        number=planned.number,
        path=planned.path,
        written=products,
        content=planned.content,
        kept=True,
    )
