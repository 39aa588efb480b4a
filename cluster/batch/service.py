"""Beginning a batch, driving it, and what is left when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from calbatch.calibrate import cfg, warm
from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.leftovers import clear, end_abandoned, living
from calbatch.cluster.batch.liveness import sign
from calbatch.cluster.batch.manifest import write_manifest
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.registering import abandon, enter
from calbatch.cluster.batch.report import unrecorded_line
from calbatch.cluster.batch.result import Ending, Result
from calbatch.cluster.display.fetch_progress import fetched
from calbatch.cluster.display.progress import Watching, watching
from calbatch.cluster.driver.control import take_back
from calbatch.cluster.driver.driver import Driver, Task
from calbatch.cluster.driver.feed import Feed
from calbatch.cluster.driver.recording import Recorder
from calbatch.cluster.driver.room import committed_in_time, unwritable
from calbatch.cluster.driver.staging import Fence, taken_over
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.terminal import harmless
from calbatch.cluster.faults import is_expected
from calbatch.cluster.folder import BatchFolder, new_name, remove
from calbatch.cluster.ledger import DamagedLedgerError, Known, Ledger, LedgerError
from calbatch.cluster.ledger.faults import decoding
from calbatch.cluster.planning.configure import configured, input_pattern
from calbatch.cluster.planning.identity import Sums
from calbatch.cluster.planning.inputs import (
    exposures,
    refuse_name_clashes,
    total_bytes,
    writable_place,
)
from calbatch.cluster.planning.planner import Planner, references_of
from calbatch.cluster.sites import places
from calbatch.models.storage.location import Location, location

Entering = Callable[[places.Place, bool, str], AbstractContextManager[places.Site]]


@dataclass(frozen=True)
class Begun:
    """A batch that is in the ledger.

    Attributes
    ----------
    folder : BatchFolder
        Its files.
    step : Step
        Configured.
    order : Order
        How it is to be done.
    inputs : sequence of (int, Path)
        What is still to be done.
    total : int
        Exposures in all.
    fresh : bool
        Whether it was made just now, rather than taken up.
    """

    folder: BatchFolder
    step: Step
    order: Order
    inputs: Sequence[tuple[int, Location]]
    total: int
    fresh: bool = False

    @property
    def place(self) -> places.Place:
        """Where it runs."""
        paths = [path for _, path in self.inputs]
        return places.decided(self.order.wish, len(paths), total_bytes(paths))


def inputs_of(step: Step, order: Order) -> list[Location]:
    """Return the input files that an order means.

    Raises
    ------
    RequestError
        When there are none, or two would have products of one name.
    """
    paths = exposures(order.inputs, input_pattern(step), recursive=order.recursive)
    refuse_name_clashes(paths)
    if step.output_file and len(paths) > 1:
        raise RequestError(f"output_file = {step.output_file}: {len(paths)} exposures need names")
    return paths


def failed_of(paths: Sequence[Location], books: Known, output: Location) -> list[Location]:
    """Return those inputs that failed when they were tried last.

    Raises
    ------
    RequestError
        When there are none.
    """
    failed = books.failed_before()
    chosen = [path for path in paths if str(path) in failed]
    if not chosen:
        raise RequestError(f"none of the exposures has failed before in {output}")
    return chosen


def begin(step: Step, order: Order, notes: Mapping[str, str] | None = None) -> Begun:
    """Enter a batch in the ledger of its output folder.

    Parameters
    ----------
    step : Step
        Configured; its ``output_dir`` is where products go, by default this folder.
    order : Order
        How it is to be done.
    notes : mapping, optional
        Input to why it is done, for the ledger.

    Raises
    ------
    RequestError
        When it cannot be begun: no inputs, names that clash, an output that cannot be written.
    """
    output = writable_place(step.output_dir or ".")
    paths = inputs_of(step, order)
    places.checked(order.wish)
    step.output_dir = str(output)
    references_of(step, order.context)  # refused before there is a batch, not after
    config = _config_of(step)
    folder = BatchFolder(output, new_name())
    folder.secure()
    with Ledger(folder.state) as ledger:
        if order.again.only_failed:
            paths = failed_of(paths, ledger, output)
        try:
            enter(folder, ledger, step, order, paths, config, notes or {})
        except BaseException:
            remove(folder)
            raise
    return Begun(folder, step, order, list(enumerate(paths)), len(paths), fresh=True)


def _config_of(step: Step) -> str:
    """Return a step as the batch's ``.cfg``, before there is a batch."""
    try:
        return cfg.format_cfg(step, chosen=True)
    except ParameterError as error:
        raise RequestError(str(error)) from error


def taken_up(folder: BatchFolder, *, failed: bool = False) -> Begun:
    """Return a batch of the ledger that is to be continued.

    Parameters
    ----------
    folder : BatchFolder
        The batch.
    failed : bool
        Whether what failed, or was quarantined, is tried again.

    Raises
    ------
    RequestError
        When there is no such batch, or another driver has it.
    """
    folder.secure()
    step = configured(folder.config)
    step.output_dir = str(folder.output)
    with Ledger(folder.state) as ledger:
        row = ledger.batch(folder.name)
        with decoding(ledger.path):
            order = Order.of(row.request)
        if failed:
            take_back(folder.control)  # whoever resumes it wants no end any more
            ledger.reopen(row.id)
        left = [(n, location(p)) for n, p in ledger.unfinished(row.id)]
        if failed and not left:  # its driver may have died when all was done but saying so
            _conclude(folder, ledger, row.id)
    return Begun(folder, step, order, left, row.total)


def _conclude(folder: BatchFolder, ledger: Ledger, batch: int) -> None:
    """Leave a batch of which all is done as its driver would have."""
    taken_over(folder).close()
    clear(folder, living(ledger, batch))
    ledger.end(batch, "done")
    with suppress(OSError):
        write_manifest(folder)


def drive(
    begun: Begun,
    console: Console,
    *,
    entered: Entering = places.entered,
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
    try:
        return _driven(begun, console, entered, debug=debug)
    except Exception as error:
        if is_expected(error):
            abandon(begun.folder, str(error), fresh=begun.fresh)
        raise


def _driven(begun: Begun, console: Console, entered: Entering, *, debug: bool) -> Result:
    start = time.perf_counter()
    folder, order, place = begun.folder, begun.order, begun.place
    references = references_of(begun.step, order.context)
    if entered is places.entered:
        places.announced(place)
    with Ledger(folder.state) as ledger:
        sums = Sums(ledger.known_reference, ledger.reference)
        planner = Planner(
            begun.step, references, date=order.options.date, use_pars=order.pars,
            fetching=partial(fetched, console=console), books=ledger, sums=sums,
            again=order.again, verify_inputs=order.options.verify_inputs,
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

    begun: Begun
    place: places.Place
    ledger: Ledger
    planner: Planner
    sums: Sums
    console: Console
    debug: bool
    entered: Entering
    recorder: Recorder | None = None

    def run(self) -> Ending:
        """Drive, leave the ledger, the manifest and the folder in order, and return the outcome."""
        batch = self.ledger.batch(self.begun.folder.name).id
        sign(self.begun.folder)
        self.ledger.drive(batch, self.place.scheduler, None)
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
            recorded = self.ledger.end(batch, state, reason)
            if not recorded and state in ("done", "failed"):
                self._say(f"waiting: {unwritable(self.ledger)}")
                if not committed_in_time(self.ledger, self.begun.order.policy.patience):
                    state, reason = "interrupted", unwritable(self.ledger)
                    self.ledger.end(batch, state, reason)
            self._leave_manifest()
        except LedgerError as error:
            state, reason = "interrupted", reason or str(error)
        recorder = self.recorder
        lost = tuple(recorder.unrecorded()) if recorder else ()
        if lost:
            self._say(unrecorded_line(lost))
        done, failed = (recorder.done, recorder.failed) if recorder else (0, 0)
        return Ending(state, reason, self.begun.total, done, failed, lost)

    @contextmanager
    def _taken_over(self, batch: int) -> Iterator[Fence]:
        """Keep earlier drivers' workers from publishing anything more, and remove what they left.

        In the end, the same is done to what this driver's own workers are still at.
        """
        folder = self.begun.folder
        staging = taken_over(folder)
        try:
            spared = living(self.ledger, batch)
            clear(folder, spared)
            remarks = end_abandoned(self.ledger, batch, spared)
            for remark in filter(None, [staging.remark, *remarks]):
                self._say(remark)
            yield staging
        finally:
            staging.close()
            clear(folder, living(self.ledger, batch))

    def _leave_manifest(self) -> None:
        try:
            write_manifest(self.begun.folder)
        except OSError as error:  # the ledger has it all, as soon as there is room for it
            self._say(f"{self.begun.folder.manifest}: cannot be written: {error.strerror}")

    def _driven(self, batch: int, staging: Fence) -> tuple[str, str]:
        begun = self.begun
        ahead = self.place.scheduler not in ("threads", "sync") and self.place.grain == "exposure"
        with Feed(self.planner, begun.inputs, begun.order.policy, ahead=ahead) as feed:
            rules = self.planner.resolved
            self.ledger.context(batch, rules.context, rules.context_reason)
            self._introduce()
            with watching(len(begun.inputs), self.console, debug=self.debug) as watch:
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
        task = Task(
            folder.name, order.options, folder.unfinished, folder.logs, folder.control,
            staging,
        )  # fmt: skip
        return Driver(task, feed, recorder, order.policy)

    @contextmanager
    def _entered(self, watch: Watching, alone: bool) -> Iterator[places.Site]:
        with ExitStack() as stack:
            site = self._found(stack, alone=alone)
            if site.description != self.place.description:
                watch.say(f"running on {site.description}")
            watch.at(site.dashboard)
            yield site

    def _found(self, stack: ExitStack, *, alone: bool) -> places.Site:
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
        rules, count = self.planner.resolved, len(self.begun.inputs)
        context = f", context {rules.context} ({rules.context_reason})" if rules.context else ""
        self._say(
            f"{self.begun.step.name}: {count} exposure{'s' * (count != 1)}, "
            f"{self.place.description}{context}; batch {self.begun.folder.name}"
        )
        for name, members in sorted(rules.parameters.items()):
            self._say(f"parameters from {name}: {members} exposure{'s' * (members != 1)}")

    def _say(self, text: str) -> None:
        text = harmless(text)
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
