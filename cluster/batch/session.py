"""Driving a batch to its end, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from calbatch.calibrate import warm
from calbatch.cluster.batch.leftovers import end_abandoned_batches, living_batches, remove_leftovers
from calbatch.cluster.batch.liveness import record_driver
from calbatch.cluster.batch.manifest import write_manifest
from calbatch.cluster.batch.registering import RegisteredBatch, abandon_batch
from calbatch.cluster.batch.report import describe_unrecorded
from calbatch.cluster.batch.result import Ending, Result
from calbatch.cluster.display.fetch_progress import fetch_references
from calbatch.cluster.display.progress import ProgressDisplay, show_progress
from calbatch.cluster.driver.batch_setup import BatchSetup
from calbatch.cluster.driver.driver import Driver
from calbatch.cluster.driver.feed import Feed
from calbatch.cluster.driver.recording import Recorder
from calbatch.cluster.driver.room import describe_unwritable, wait_for_commit
from calbatch.cluster.driver.staging import Fence, take_over
from calbatch.cluster.errors import RequestError, is_expected
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.ledger import DamagedLedgerError, Ledger, LedgerError
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.sites import placement
from calbatch.cluster.sites.site import Site

Entering = Callable[[placement.Place, bool, str], AbstractContextManager[Site]]


def drive(
    begun: RegisteredBatch,
    console: Console,
    *,
    entered: Entering = placement.open_place,
    debug: bool = False,
) -> Result:
    """Run a batch to its end, in this process.

    Parameters
    ----------
    begun : Begun
        The batch.
    console : rich.console.Console
        Where progress is shown.
    entered : callable
        Gives a site for a place; told whether it is for one exposure alone, and the batch's name.
        By default starts one, and ends it afterwards.
    debug : bool
        Show tracebacks of failures.

    Raises
    ------
    RequestError
        When it cannot be started. A batch that was made for this is then gone.
    """
    with begun.hold_ledger() as ledger:
        try:
            return _drive(begun, ledger, console, entered, debug=debug)
        except Exception as error:
            if is_expected(error):
                abandon_batch(ledger, begun.folder, str(error), fresh=begun.fresh)
            raise


def _drive(
    begun: RegisteredBatch, ledger: Ledger, console: Console, entered: Entering, *, debug: bool
) -> Result:
    start = time.perf_counter()
    folder, order, place = begun.folder, begun.order, begun.place
    references = open_references(begun.step, order.context)
    if entered is placement.open_place:
        placement.prepare_place(place)
    sums = ReferenceChecksums(ledger.find_checksum, ledger.add_reference)
    planner = Planner(
        begun.step, references, date=order.exposure.date, use_pars=order.pars,
        fetch=partial(fetch_references, console=console), history=ledger, checksums=sums,
        rerun=order.rerun, verify_inputs=order.exposure.verify_inputs,
    )  # fmt: skip
    session = _Session(begun, place, ledger, planner, sums, console, debug, entered)
    try:
        ending = session.run()
    finally:
        sums.close()
    return Result(folder, time.perf_counter() - start, ending)


@dataclass
class _Session:
    """One driver's work on a batch."""

    begun: RegisteredBatch
    place: placement.Place
    ledger: Ledger
    planner: Planner
    sums: ReferenceChecksums
    console: Console
    debug: bool
    entered: Entering
    recorder: Recorder | None = None

    def run(self) -> Ending:
        """Drive, leave the ledger, the manifest and the folder in order, and return the outcome."""
        batch = self.ledger.batch(self.begun.folder.name).id
        record_driver(self.begun.folder)
        self.ledger.set_driver(batch, self.place.scheduler, None)
        state, reason = "interrupted", "the driver was ended"
        try:
            with self._taken_over(batch) as staging:
                state, reason = self._driven(batch, staging)
        except DamagedLedgerError as error:  # what was done is told all the same
            reason = str(error)
        except RequestError as error:
            state, reason = "failed", str(error)
            raise
        except KeyboardInterrupt:
            self._say("stopping: what is not finished is given up")
            raise
        finally:
            ending = self._end(batch, state, reason)
        return ending

    def _end(self, batch: int, state: str, reason: str) -> Ending:
        """Record how the batch ended, and say what could not be recorded."""
        try:
            recorded = self.ledger.reset_running(batch, reason)
            state, reason = self._await_commit(recorded, state, reason)
            self._leave_manifest(state)
            recorded, wanted = self.ledger.end_batch(batch, state, reason), state
            state, reason = self._await_commit(recorded, state, reason)
            if state != wanted:
                self.ledger.end_batch(batch, state, reason)
                self._leave_manifest(state)
        except LedgerError as error:
            state, reason = "interrupted", reason or str(error)
        recorder = self.recorder
        lost = tuple(recorder.find_uncommitted()) if recorder else ()
        if lost:
            self._say(describe_unrecorded(lost))
        done, failed = (recorder.done, recorder.failed) if recorder else (0, 0)
        return Ending(state, reason, self.begun.total, done, failed, lost)

    def _await_commit(self, recorded: bool, state: str, reason: str) -> tuple[str, str]:
        """Wait until the ledger can be written; return the state, and why if that took too long."""
        if recorded or state not in ("done", "failed"):
            return state, reason
        self._say(f"waiting: {describe_unwritable(self.ledger)}")
        if wait_for_commit(self.ledger, self.begun.order.policy.patience):
            return state, reason
        return "interrupted", describe_unwritable(self.ledger)

    @contextmanager
    def _taken_over(self, batch: int) -> Iterator[Fence]:
        """Keep earlier drivers' workers from publishing anything more, and remove what they left.

        In the end, the same is done to what this driver's own workers are still at.
        """
        folder = self.begun.folder
        staging = take_over(folder)
        try:
            spared = living_batches(self.ledger, batch)
            remove_leftovers(folder, spared)
            remarks = end_abandoned_batches(self.ledger, batch, spared)
            for remark in filter(None, [staging.remark, *remarks]):
                self._say(remark)
            yield staging
        finally:
            staging.close()
            remove_leftovers(folder, living_batches(self.ledger, batch))

    def _leave_manifest(self, state: str) -> None:
        try:
            write_manifest(self.begun.folder, state)
        except OSError as error:  # the ledger has it all, as soon as there is room for it
            self._say(f"{self.begun.folder.manifest}: cannot be written: {error.strerror}")

    def _driven(self, batch: int, staging: Fence) -> tuple[str, str]:
        begun = self.begun
        ahead = self.place.scheduler not in ("threads", "sync") and self.place.grain == "exposure"
        with Feed(self.planner, begun.inputs, begun.order.policy, ahead=ahead) as feed:
            rules = self.planner.resolution
            self.ledger.set_context(batch, rules.context, rules.context_reason)
            self._introduce()
            with show_progress(len(begun.inputs), self.console, debug=self.debug) as watch:
                recorder = Recorder(self.ledger, batch, self.sums, watch, watch.say)
                self.recorder = recorder
                driver = self._driver(feed, recorder, staging)
                if driver.prepare():
                    self._compile(driver)
                    driver.run(partial(self._entered, watch))
        if driver.stopping:
            cancelled = driver.stopping.startswith("cancelled")
            return ("cancelled" if cancelled else "interrupted"), driver.stopping
        return ("failed" if recorder.failed else "done"), ""

    def _driver(self, feed: Feed, recorder: Recorder, staging: Fence) -> Driver:
        folder, order = self.begun.folder, self.begun.order
        setup = BatchSetup(
            name=folder.name,
            options=order.exposure,
            output=folder.unfinished,
            logs=folder.logs,
            control=folder.control,
            staging=staging,
        )
        return Driver(setup, feed, recorder, order.policy)

    @contextmanager
    def _entered(self, watch: ProgressDisplay, alone: bool) -> Iterator[Site]:
        with ExitStack() as stack:
            site = self._found(stack, alone=alone)
            if site.description != self.place.description:
                watch.say(f"running on {site.description}")
            watch.show_dashboard(site.dashboard)
            yield site

    def _found(self, stack: ExitStack, *, alone: bool) -> Site:
        name = self.begun.folder.name
        if alone:
            try:
                return stack.enter_context(self.entered(self.place, True, name))
            except RequestError as error:
                if self.place.alone() == self.place:
                    raise
                # there may be no more memory to have
                self._say(f"{error}: what runs alone has no more than others")
        return stack.enter_context(self.entered(self.place, False, name))

    def _compile(self, driver: Driver) -> None:
        job = driver.first_job()
        if job is not None:
            tell = partial(self.console.print, markup=False)
            warm.compile_kernels(tell, job.step, job.path, job.references)

    def _introduce(self) -> None:
        rules, count = self.planner.resolution, len(self.begun.inputs)
        context = f", context {rules.context} ({rules.context_reason})" if rules.context else ""
        self._say(
            f"{self.begun.step.name}: {count} exposure{'s' * (count != 1)}, "
            f"{self.place.description}{context}; batch {self.begun.folder.name}"
        )
        for name, members in sorted(rules.parameters.items()):
            self._say(f"parameters from {name}: {members} exposure{'s' * (members != 1)}")

    def _say(self, text: str) -> None:
        text = escape_text(text)
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
