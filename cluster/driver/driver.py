"""The loop that feeds a site, and settles what comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from calbatch.cluster.driver.control import Wish, wished
from calbatch.cluster.driver.feed import Feed
from calbatch.cluster.driver.recording import Attempted, Recorder
from calbatch.cluster.driver.retry_queue import Waiting
from calbatch.cluster.driver.room import Room
from calbatch.cluster.driver.staging import Fence
from calbatch.cluster.errors import FencedError, LostError, RequestError, SiteLostError
from calbatch.cluster.exposure.job import Job, Options
from calbatch.cluster.exposure.log import left_behind, ran_out_of_memory
from calbatch.cluster.exposure.outcome import Clock, Outcome, failure
from calbatch.cluster.exposure.policy import DEATHS, Action, History, Kind, Policy
from calbatch.cluster.planning.planner import Planned
from calbatch.cluster.sites.places import Site
from calbatch.cluster.sites.silence import GONE, Condition, Reports, Silent
from calbatch.models.errors import FileError
from calbatch.models.fits.writer import Product

TICK = 0.2
"""Seconds between looks at what is due, while nothing ends."""

LOOK_EVERY = 2.0
"""Seconds between looks at deadlines and at the disk."""


@dataclass(frozen=True)
class Task:
    """What is done with each exposure of a batch.

    Attributes
    ----------
    name : str
        The batch's; tasks and unfinished files carry it.
    options : Options
        How.
    output : Path
        Where products go.
    logs : Path, optional
        Where workers keep what they say.
    control : Path, optional
        A file by which users ask for an end.
    staging : Fence, optional
        Where products are made; by default beside their final names.
    """

    name: str
    options: Options
    output: Path
    logs: Path | None = None
    control: Path | None = None
    staging: Fence | None = None

    def job(self, one: Attempted) -> Job:
        """Return a try at an exposure, as it travels to a worker."""
        planned = one.planned
        stamp = None if planned.source is None else (planned.source[1], planned.source[2])
        log = self.logs / f"{planned.number}-{one.serial}.log" if self.logs else None
        step, references = planned.settings.step, planned.references
        staging = self.staging.of(planned.number, one.serial) if self.staging else None
        return Job(
            planned.number, planned.path, step, references, self.options, self.name, stamp, log,
            staging,
        )  # fmt: skip

    def make_room(self, job: Job) -> None:
        """Make the folder in which a try makes its products; see `Staging.make`."""
        if self.staging and job.staging:
            self.staging.make(job.staging)

    def fence(self, job: Job, *, ended: bool) -> None:
        """Remove the folder of a try that has ended, or is given up; see `Staging.remove`."""
        if self.staging and job.staging:
            self.staging.remove(job.staging, ended=ended)


class Driver:
    """Keeps a window of exposures under way, and has each done once.

    Parameters
    ----------
    task : Task
        What is done with each.
    feed : Feed
        Gives planned exposures; entered already.
    recorder : Recorder
        Keeps what became of them.
    policy : Policy
        How patient to be.
    """

    def __init__(
        self, task: Task, feed: Feed, recorder: Recorder, policy: Policy | None = None
    ) -> None:
        self.task, self.feed, self.recorder = task, feed, recorder
        self.policy = policy or Policy()
        self.stopping = ""
        self._running: dict[int, Attempted] = {}
        self._waiting = Waiting()
        self._reports = Reports()
        self._room = Room(task.output, recorder, self.policy.patience)
        self._looked = 0.0
        self._lost_since = 0.0
        self._logs_seen = False

    # -- the whole ----------------------------------------------------------------------------

    def run(self, enter: Callable[[bool], AbstractContextManager[Site]]) -> None:
        """Run until nothing is left to do, or a user wants an end.

        Parameters
        ----------
        enter : callable
            Gives the site; told whether it is for a single exposure that may need all of it. Called
            again when the site is lost.
        """
        for alone in (False, True):
            while not self.stopping and self._left(alone=alone):
                try:
                    with enter(alone) as site:
                        self.recorder.event("site", site.description)
                        self._drive(site, alone=alone)
                except SiteLostError as lost:
                    self._wait_for_site(lost)
                except RequestError as error:  # of a site that is not there again yet
                    if not self._lost_since:
                        raise
                    self._wait_for_site(SiteLostError(str(error)))

    def prepare(self) -> bool:
        """Settle what needs no site; return whether anything is left that does."""
        one = self._next(alone=False)
        while one is None and not self.feed.exhausted and not self.stopping:
            time.sleep(TICK / 10)
            one = self._next(alone=False)
            self.recorder.ledger.tick()
        if one is not None:
            self._waiting.add(one)
        return self._waiting.example() is not None and not self.stopping

    def first_job(self) -> Job | None:
        """Return the job of an exposure that waits, as an example of all."""
        one = self._waiting.example()
        return self.task.job(one) if one else None

    def _left(self, *, alone: bool) -> bool:
        mine = self._waiting.left(alone=alone)
        return bool(mine or self._running or (not alone and not self.feed.exhausted))

    def _drive(self, site: Site, *, alone: bool) -> None:
        try:
            while self._left(alone=alone):
                self._obey(site)
                if self.stopping and not self._running:
                    return
                self._admit(site, alone=alone)
                for job, outcome in site.ended(self._pause()):
                    self._lost_since = 0.0
                    one = self._running.pop(job.number, None)
                    if one is not None:
                        self._settle(one, job, outcome)
                self._look(site)
                self._heed_silence(site)
                self.recorder.ledger.tick()
        finally:
            site.give_up()

    def _pause(self) -> float:
        """Return the seconds to wait for an exposure to end."""
        return TICK if self._running else TICK / 10

    def _wait_for_site(self, lost: SiteLostError) -> None:
        """Have what was under way done again, once there is a site again."""
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        self.recorder.event("site lost", str(lost))
        self.recorder.lost(f"the site was lost: {lost}")
        for one in list(self._running.values()):
            left_behind(self._log(one))
            self._fence(self.task.job(one))
            self._waiting.add(replace(one, due=now, running=0.0))
        self._running.clear()
        if now - self._lost_since > self.policy.patience:
            self.stopping = f"the site was lost: {lost}"
            return
        self.recorder.ledger.commit()
        time.sleep(1.0)

    def _fence(self, job: Job, *, ended: bool = False) -> None:
        """See that a try publishes nothing any more; where that cannot be, try nothing again."""
        try:
            self.task.fence(job, ended=ended)
        except (OSError, FileError) as error:
            self.stopping = f"{job.path}: a try cannot be kept from publishing products: {error}"
            self.recorder.event("staging", self.stopping)

    def _log(self, one: Attempted) -> Path:
        return self.task.job(one).log or Path()

    # -- admission ----------------------------------------------------------------------------

    def _admit(self, site: Site, *, alone: bool) -> None:
        """Hand exposures to the site while there is room on it and on the disk."""
        while not self.stopping and len(self._running) < (1 if alone else site.room()):
            one = self._next(alone=alone)
            if one is None:
                return
            if not self._room.there(busy=bool(self._running)):
                self._waiting.add(one)
                self.stopping = self._room.ended
                return
            self._submit(site, one)

    def _next(self, *, alone: bool) -> Attempted | None:
        """Return what is due, or the next exposure that has not been tried."""
        due = self._waiting.take(time.monotonic(), alone=alone)
        if due is not None:
            return due
        while not alone and (planned := self.feed.next()) is not None:
            one = self._taken_up(planned)
            if one is not None:
                return one
        return None

    def _taken_up(self, planned: Planned) -> Attempted | None:
        """Settle an exposure that needs no try; otherwise return it, to be tried."""
        one = Attempted(planned)
        if planned.fault is not None:
            outcome = failure(planned.number, planned.path, planned.fault, Clock())
            self.recorder.planned(planned)
            self._end(one, outcome)
            return None
        if planned.made:
            self.recorder.kept(planned, _kept(planned))
            return None
        self.recorder.planned(planned)
        if planned.deaths >= self.policy.deaths_alone:  # it was quarantined: once more, alone
            deaths = self.policy.deaths_alone - 1
            one = replace(one, alone=True, history=History(deaths_alone=deaths))
            self._waiting.add(one)
            return None
        return one

    def _submit(self, site: Site, one: Attempted) -> None:
        one = replace(one, serial=self.recorder.next_try(one), running=0.0)
        self._running[one.planned.number] = one
        self.recorder.began(one)
        job = self.task.job(one)
        outcome = self._begun(site, job)
        if outcome is not None:
            del self._running[one.planned.number]
            self._settle(one, job, outcome)

    def _begun(self, site: Site, job: Job) -> Outcome | None:
        """Give a try its folder and hand it to the site; return its outcome if it has failed."""
        try:
            self.task.make_room(job)
        except FencedError as error:
            self.stopping = str(error)
            return failure(job.number, job.path, LostError(str(error)), Clock())
        except (OSError, FileError) as error:
            return failure(job.number, job.path, error, Clock())
        return site.submit(job)

    # -- settling -----------------------------------------------------------------------------

    def _settle(self, one: Attempted, job: Job, outcome: Outcome) -> None:
        """Note an outcome, or have the exposure tried again."""
        self._fence(job, ended=outcome.kind not in (*DEATHS, Kind.LOST) or not outcome.failed)
        log = left_behind(job.log) if job.log and outcome.kind in (*DEATHS, Kind.LOST) else ""
        if not outcome.failed:
            self._room.expect(sum(product.size for product in outcome.written))
            self.recorder.ended(one, outcome)
            return
        outcome = _explained(outcome, log)
        self._logs_seen = self._logs_seen or bool(log)
        if outcome.kind is Kind.DEATH and not (one.alone or log) and self._logs_are_seen():
            outcome = replace(outcome, kind=Kind.LOST)  # it only waited at a worker that died
        decision = self.policy.after(outcome.kind, one.history, alone=one.alone)
        if decision.action in (Action.FAIL, Action.QUARANTINE):
            self._end(one, outcome, log, decision.action)
            return
        if outcome.kind is Kind.CHANGED:
            planned = self.feed.replan(one.planned.number, one.planned.path)
            one = replace(one, planned=planned)
            if planned.fault is not None:
                self._end(one, failure(planned.number, planned.path, planned.fault, Clock()))
                return
            self.recorder.planned(planned)
        alone = decision.action is Action.ALONE
        self.recorder.again(one, outcome, log, decision.delay, alone=alone)
        self._waiting.add(replace(one, due=time.monotonic() + decision.delay, alone=alone))

    def _logs_are_seen(self) -> bool:
        """Return whether workers' logs are seen here: whatever was begun has one."""
        folder = self.task.logs
        if not self._logs_seen and folder is not None:
            self._logs_seen = any(folder.glob("*.log"))
        return self._logs_seen

    def _end(
        self, one: Attempted, outcome: Outcome, log: str = "", action: Action = Action.FAIL
    ) -> None:
        if action is Action.QUARANTINE:
            count = one.history.deaths_alone
            text = f"{outcome.error}; quarantined: alone, it took {count} workers with it"
            outcome = replace(outcome, error=text)
        self.recorder.ended(one, outcome, log, action)
        if self.policy.fail_fast and not self.stopping:
            self.stopping = f"an exposure failed: {outcome.error}"

    # -- what time brings ---------------------------------------------------------------------

    def _obey(self, site: Site) -> None:
        """Do what users ask for by the control file."""
        wish = wished(self.task.control)
        if wish is not None and not self.stopping:
            later = wish is Wish.LATER
            self.stopping = "the driver's time is up" if later else f"cancelled ({wish})"
            self.recorder.event("pause" if later else "cancel", self.stopping)
        if wish is Wish.NOW or (self.stopping and self.policy.fail_fast):
            site.give_up()
            self._running.clear()

    def _heed_silence(self, site: Site) -> None:
        """Tell of workers that are not heard of; try again what those had that are stopped."""
        silent = site.silent(self.policy.silence)
        if silent is None:
            return
        for one in self._reports.news(silent):
            self.recorder.event("silence", one.line())
            if one.condition is not Condition.BUSY:
                self.recorder.say(one.line())
        for one in silent:
            if one.condition in GONE and one.seconds >= self.policy.silence:
                self._give_up_worker(site, one)

    def _give_up_worker(self, site: Site, silent: Silent) -> None:
        """Treat a worker as dead, so that it publishes nothing should it go on after all."""
        lost = [self._running.pop(number) for number in silent.numbers & self._running.keys()]
        site.give_up([one.planned.number for one in lost])
        for one in lost:
            self._fence(self.task.job(one))
        site.discard(silent)
        for one in lost:
            number, path = one.planned.number, one.planned.path
            text = f"{path}: its worker was given up: {silent.line()}"
            outcome = Outcome(number, path, error=text, kind=Kind.DEATH)
            self._settle(one, self.task.job(one), outcome)

    def _look(self, site: Site) -> None:
        """End what takes longer than it may."""
        now = time.monotonic()
        if self.policy.deadline is None or now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        started = site.started()
        for number, one in self._running.items():
            if number in started and not one.running:
                one.running = now
        late = [o for o in self._running.values() if 0 < o.running < now - self.policy.deadline]
        if late:
            site.give_up([o.planned.number for o in late], kill=True)
        for one in late:
            self._running.pop(one.planned.number)
            self._fence(self.task.job(one))
            log = left_behind(self._log(one))
            text = f"{one.planned.path}: took longer than {self.policy.deadline:g} s"
            outcome = Outcome(one.planned.number, one.planned.path, error=text, kind=Kind.DEADLINE)
            self._end(one, outcome, log)


def _kept(planned: Planned) -> Outcome:
    written = tuple(Product(p.path, p.size, p.mtime_ns, p.digest) for p in planned.made)
    return Outcome(
        planned.number, planned.path, written=written, content=planned.content, kept=True
    )


def _explained(outcome: Outcome, log: str) -> Outcome:
    """Say why a worker died, as far as its log tells."""
    if outcome.kind is not Kind.DEATH:
        return outcome
    memory = ran_out_of_memory(log)
    if memory:
        return replace(outcome, kind=Kind.MEMORY, error=f"{outcome.path}: {memory}")
    fatal = next((line for line in log.splitlines() if line.startswith("Fatal Python error")), "")
    if fatal:
        return replace(outcome, kind=Kind.CRASH, error=f"{outcome.error}: {fatal}")
    return outcome
