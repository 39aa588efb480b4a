"""Driving a batch to its end, in this process."""

from __future__ import annotations

import gc
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console

from calbatch.calibrate.compilation import Compilation
from calbatch.cluster.batch.leftovers import end_abandoned_batches, living_batches, remove_leftovers
from calbatch.cluster.batch.liveness import record_driver
from calbatch.cluster.batch.manifest import write_manifest
from calbatch.cluster.batch.page_reports import make_monitor, show_on_page
from calbatch.cluster.batch.registering import RegisteredBatch, abandon_batch
from calbatch.cluster.batch.report import describe_unrecorded
from calbatch.cluster.batch.result import Ending, Result
from calbatch.cluster.display.fetch_progress import fetch_references
from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.display.progress import ProgressDisplay, show_progress
from calbatch.cluster.driver.batch_setup import BatchSetup
from calbatch.cluster.driver.driver import Driver
from calbatch.cluster.driver.feed import Feed
from calbatch.cluster.driver.recording import Recorder
from calbatch.cluster.driver.room import describe_unwritable, wait_for_commit
from calbatch.cluster.driver.staging import Fence, take_over
from calbatch.cluster.errors import RequestError, is_expected
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.exposure.terminal import print_text
from calbatch.cluster.folder import registry
from calbatch.cluster.ledger import DamagedLedgerError, Ledger, LedgerError
from calbatch.cluster.planning.checksum_memory import ChecksumMemory
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.sites import placement
from calbatch.cluster.sites.site import Site
from calbatch.models.errors import format_count

SiteOpener = Callable[[placement.Place, bool, str], AbstractContextManager[Site]]


def drive(
    registered: RegisteredBatch,
    console: Console,
    *,
    open_site: SiteOpener = placement.open_place,
    debug: bool = False,
) -> Result:
    """Drive a batch to its end, in this process.

    Parameters
    ----------
    registered : RegisteredBatch
        The batch.
    console : rich.console.Console
        Shows the progress.
    open_site : callable
        Returns a context manager that opens the site of a place. Its further arguments are whether
        the site is for one exposure alone, and the batch's name. By default the site is started,
        and closed afterwards.
    debug : bool
        Show the tracebacks of failures.

    Raises
    ------
    RequestError
        If the batch cannot be started. If it was registered for this call, it is removed.
    """
    with registered.hold_ledger() as ledger, _exclude_from_collection():
        try:
            return _drive(registered, ledger, console, open_site, debug=debug)
        except Exception as error:
            if is_expected(error):
                abandon_batch(ledger, registered.folder, str(error), fresh=registered.fresh)
            raise


@contextmanager
def _exclude_from_collection() -> Iterator[None]:
    """Exclude the objects that exist, such as a batch's units, from garbage collection.

    They last as long as the batch. Otherwise each full collection would visit all of them, which
    is a twentieth of a driver's work with 100,000 exposures.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _drive(
    registered: RegisteredBatch,
    ledger: Ledger,
    console: Console,
    open_site: SiteOpener,
    *,
    debug: bool,
) -> Result:
    start = time.perf_counter()
    folder, order, place = registered.folder, registered.order, registered.place
    references = open_references(registered.step, order.context)
    if open_site is placement.open_place:
        placement.prepare_place(place)
    memory = ChecksumMemory(registry() / "checksums")
    sums = ReferenceChecksums(ledger.find_checksum, ledger.add_reference, memory)
    compilation = Compilation(lambda text: print_text(console, escape_text(text)))
    planner = Planner(
        registered.step,
        references,
        date=order.exposure.date,
        use_pars=order.pars,
        fetch=partial(fetch_references, console=console, beside=compilation.describe),
        history=ledger,
        checksums=sums,
        rerun=order.rerun,
        verify_inputs=order.exposure.verify_inputs,
        dependencies=registered.dependencies,
        compilation=compilation,
    )
    session = _Session(
        registered=registered,
        place=place,
        ledger=ledger,
        planner=planner,
        compilation=compilation,
        sums=sums,
        console=console,
        debug=debug,
        open_site=open_site,
    )
    try:
        ending = session.run()
    finally:
        sums.close()
    return Result(folder, time.perf_counter() - start, ending)


@dataclass(kw_only=True)
class _Session:
    """The work of one driver on a batch."""

    registered: RegisteredBatch
    place: placement.Place
    ledger: Ledger
    planner: Planner
    compilation: Compilation
    sums: ReferenceChecksums
    console: Console
    debug: bool
    open_site: SiteOpener
    has_begun: bool = False  # exposures may have been calibrated
    recorder: Recorder | None = None
    monitor: BatchMonitor | None = None  # of a batch that may be shown on a page
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    def run(self) -> Ending:
        """Drive the batch, finalize its ledger, manifest and folder, and return the ending."""
        batch = self.ledger.batch(self.registered.folder.name).id
        record_driver(self.registered.folder)
        self.ledger.set_driver(batch, self.place.scheduler, None)
        state, reason = "interrupted", "the driver was terminated"
        try:
            with self._take_over(batch) as staging:
                state, reason = self._drive(batch, staging)
        except DamagedLedgerError as error:  # the ending still reports the completed exposures
            reason = str(error)
        except Exception as error:
            if isinstance(error, RequestError):
                state, reason = "failed", str(error)
            if not (self.has_begun and is_expected(error)):
                raise
            state, reason = "interrupted", str(error)
        except KeyboardInterrupt:
            self._say("stopping: unfinished exposures are abandoned")
            raise
        finally:
            ending = self._end(batch, state, reason)
        return ending

    def _explain(self, reason: str) -> str:
        """Return why a batch that had begun could not go on, and what to do."""
        state = self.registered.folder.state
        try:
            state.stat()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:  # nothing shows that it has gone
            return reason
        else:
            return reason
        return (
            f"{state} is gone: an output folder must not be moved or removed while a batch runs; "
            "the same command calibrates what is not done"
        )

    def _end(self, batch: int, state: str, reason: str) -> Ending:
        """Record the end of the batch, and print the outcomes that could not be recorded."""
        try:
            recorded = self.ledger.reset_running(batch, reason)
            state, reason = self._await_commit(recorded, state, reason)
            self._leave_manifest(state)
            recorded, final_state = self.ledger.end_batch(batch, state, reason), state
            state, reason = self._await_commit(recorded, state, reason)
            if state != final_state:
                self.ledger.end_batch(batch, state, reason)
                self._leave_manifest(state)
        except LedgerError as error:
            state, reason = "interrupted", reason or str(error)
        if state == "interrupted":
            reason = self._explain(reason)
        recorder = self.recorder
        lost = tuple(recorder.find_uncommitted()) if recorder else ()
        if lost:
            self._say(describe_unrecorded(lost))
        done, failed = (recorder.done, recorder.failed) if recorder else (0, 0)
        return Ending(
            state=state,
            reason=reason,
            total=self.registered.total,
            done=done,
            failed=failed,
            unrecorded=lost,
        )

    def _await_commit(self, recorded: bool, state: str, reason: str) -> tuple[str, str]:
        """Wait until the ledger can be written; return the state and the reason to record then."""
        if recorded or state not in ("done", "failed"):
            return state, reason
        self._say(f"waiting: {describe_unwritable(self.ledger)}")
        if wait_for_commit(self.ledger, self.registered.order.policy.patience):
            return state, reason
        return "interrupted", describe_unwritable(self.ledger)

    @contextmanager
    def _take_over(self, batch: int) -> Iterator[Fence]:
        """Prevent workers of earlier drivers from publishing, and remove their leftovers.

        At the end, the same is done to the workers of this driver.
        """
        folder = self.registered.folder
        staging = take_over(folder)
        try:
            spared = living_batches(self.ledger)
            remove_leftovers(folder, spared)
            remarks = end_abandoned_batches(self.ledger, batch, spared)
            for remark in filter(None, [staging.remark, *remarks]):
                self._say(remark)
            yield staging
        finally:
            staging.close()
            remove_leftovers(folder, living_batches(self.ledger))

    def _leave_manifest(self, state: str) -> None:
        try:
            write_manifest(self.registered.folder, state)
        except OSError as error:  # the ledger has the same information
            self._say(f"{self.registered.folder.manifest}: cannot be written: {error.strerror}")

    def _drive(self, batch: int, staging: Fence) -> tuple[str, str]:
        """Drive the batch; return its state, and the reason if it was stopped early."""
        inputs, policy = self.registered.inputs, self.registered.order.policy
        dependencies = self.registered.dependencies
        free = inputs.select(lambda number: not dependencies.is_held(number))
        ahead = self.place.site is not None and self.place.grain == "exposure"
        with (
            self.compilation,
            Feed(self.planner, free, policy, dependencies=dependencies, ahead=ahead) as feed,
        ):
            rules = self.planner.resolution
            self.ledger.set_context(batch, rules.context, rules.context_reason)
            self._introduce()
            with show_progress(len(inputs), self.console, debug=self.debug) as display:
                recorder = self._make_recorder(batch, display)
                driver = self._driver(feed, recorder, staging)
                if driver.prepare():
                    self._compile(driver)
                    driver.run(partial(self._enter, display, batch))
        if driver.stopping:
            cancelled = driver.stopping.startswith("cancelled")
            return ("cancelled" if cancelled else "interrupted"), driver.stopping
        return ("failed" if recorder.failed else "done"), ""

    def _make_recorder(self, batch: int, display: ProgressDisplay) -> Recorder:
        """Return the recorder, which reports to the display and to a monitor, if needed."""
        if self.registered.order.page:
            self.monitor = make_monitor(self.registered, self.ledger, batch)
        monitor = self.monitor

        def show(outcome: Outcome) -> None:
            display(outcome)
            if monitor is not None:
                monitor.add(outcome)

        self.recorder = Recorder(
            self.ledger,
            batch,
            self.sums,
            show,
            display.say,
            dependencies=self.registered.dependencies,
            on_state=monitor.set_state if monitor is not None else None,
        )
        return self.recorder

    def _driver(self, feed: Feed, recorder: Recorder, staging: Fence) -> Driver:
        folder, order = self.registered.folder, self.registered.order
        setup = BatchSetup(
            name=folder.name,
            options=order.exposure,
            output=folder.unfinished,
            logs=folder.logs,
            control=folder.control,
            staging=staging,
        )
        return Driver(setup, feed, recorder, order.policy, deaths=self.registered.deaths)

    @contextmanager
    def _enter(self, display: ProgressDisplay, batch: int, alone: bool) -> Iterator[Site]:
        """Open the site, and show and record its place."""
        with ExitStack() as stack:
            site = self._enter_site(stack, alone=alone)
            if site.description != self.place.description:
                display.say(f"running on {site.description}")
            link = site.dashboard
            if self.monitor is not None:
                page = show_on_page(
                    site, self.registered.folder, self.monitor, self.token, display.say
                )
                link = stack.enter_context(page)
            self.has_begun = True
            self.ledger.set_dashboard(batch, link)
            display.show_dashboard(link)
            yield site

    def _enter_site(self, stack: ExitStack, *, alone: bool) -> Site:
        name = self.registered.folder.name
        if alone:
            try:
                return stack.enter_context(self.open_site(self.place, True, name))
            except RequestError as error:
                if self.place.for_one() == self.place:
                    raise
                # the site may not offer more memory
                self._say(f"{error}: an exposure that runs alone gets no more memory than others")
        return stack.enter_context(self.open_site(self.place, False, name))

    def _compile(self, driver: Driver) -> None:
        job = driver.first_job()
        if job is not None:
            self.compilation.finish(job.step, job.path, job.references)

    def _introduce(self) -> None:
        rules, count = self.planner.resolution, len(self.registered.inputs)
        context = f", context {rules.context} ({rules.context_reason})" if rules.context else ""
        self._say(
            f"{self.registered.step.name}: {format_count(count, 'exposure')}, "
            f"{self.place.description}{context}; batch {self.registered.folder.name}"
        )
        for name, members in sorted(rules.parameters.items()):
            self._say(f"parameters from {name}: {format_count(members, 'exposure')}")

    def _say(self, text: str) -> None:
        print_text(self.console, escape_text(text))
