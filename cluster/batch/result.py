"""The result of a batch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from calbatch.cluster.batch.liveness import EXIT_STATUS, batch_state
from calbatch.cluster.exposure.outcome import MemoryPeak, Outcome
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow, ExposureRow, LedgerError, View
from calbatch.cluster.ledger.records import FAILED, FINAL
from calbatch.models.fits.writer import Product
from calbatch.models.markup import Markup, make_details, make_display, make_table, wrap
from calbatch.models.storage.location import Location, location

SHOWN = 20
"""Maximum number of failures that a notebook shows."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a batch as its driver saw it, even if the ledger could not be written.

    Attributes
    ----------
    state : str
        ``done``, ``failed``, ``interrupted`` or ``cancelled``.
    reason : str
        The reason why the batch is not done.
    total, done, failed : int
        Number of exposures of the batch, and of those that this driver completed or saw fail.
    unrecorded : tuple of Outcome
        Outcomes that are missing from the ledger.
    """

    state: str
    reason: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    unrecorded: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class Result:
    """The result of a batch, from its driver and its ledger.

    Attributes
    ----------
    folder : BatchFolder
        The batch's files.
    seconds : float
        Wall time of this driver.
    ending : Ending, optional
        The end of the batch as this driver saw it; by default, only the ledger is consulted.
    """

    folder: BatchFolder
    seconds: float
    ending: Ending | None = None

    @property
    def output_dir(self) -> Location:
        """The folder of products."""
        return self.folder.output

    @property
    def name(self) -> str:
        """The batch's name."""
        return self.folder.name

    @cached_property
    def batch(self) -> BatchRow:
        """The batch's record in the ledger, read once."""
        with View(self.folder.state) as view:
            return view.batch(self.name)

    @property
    def state(self) -> str:
        """The batch's state, which changes while it runs in the background."""
        if self.ending:
            return self.ending.state
        with View(self.folder.state) as view:
            return batch_state(self.folder, view.batch(self.name))

    @property
    def reason(self) -> str:
        """The reason why the batch is not done."""
        return self.ending.reason if self.ending else self.batch.reason

    @property
    def unrecorded(self) -> Sequence[Outcome]:
        """Outcomes that could not be written to the ledger."""
        return self.ending.unrecorded if self.ending else ()

    @cached_property
    def counts(self) -> Counter[str]:
        """Number of exposures in each state."""
        with View(self.folder.state) as view:
            if not self.unrecorded:
                return Counter(view.counts(self.batch.id))
            states = {row.number: row.state for row in view.exposures(self.batch.id)}
        for outcome in self.unrecorded:
            states[outcome.number] = _state(outcome)
        return Counter(states.values())

    @cached_property
    def outcomes(self) -> Sequence[Outcome]:
        """The outcomes of exposures, in the order of the inputs."""
        return list(self.each())

    def each(self, *states: str) -> Iterator[Outcome]:
        """Yield outcomes one by one, without keeping them in memory.

        Parameters
        ----------
        *states : str
            States of exposures, such as ``done``; all final states by default.
        """
        newer = {outcome.number: outcome for outcome in self.unrecorded}
        with View(self.folder.state) as view:
            selected_states = states or FINAL
            for row in view.exposures(self.batch.id, *(() if newer else selected_states)):
                outcome = newer.get(row.number) or _outcome(view, row)
                state = _state(outcome) if row.number in newer else row.state
                if state in selected_states:
                    yield outcome

    @property
    def done(self) -> list[Outcome]:
        """The exposures with products."""
        return [o for o in self.outcomes if not o.failed]

    @property
    def failed(self) -> list[Outcome]:
        """The exposures without products."""
        return [o for o in self.outcomes if o.failed]

    @property
    def products(self) -> list[Location]:
        """All products."""
        return [path for outcome in self.outcomes for path in outcome.products]

    @property
    def exit_status(self) -> int:
        """0 if all exposures are done and recorded, 1 if some failed, 130 if it ended early."""
        return EXIT_STATUS.get(self.state, 1)

    def __repr__(self) -> str:
        try:
            counts = self.counts
        except LedgerError:  # pruned, or damaged
            return f"<Result {self.name}: its ledger cannot be read, in {self.output_dir}>"
        done = counts["done"] + counts["kept"]
        failed = counts["failed"] + counts["quarantined"]
        return f"<Result {self.name}: {done} done, {failed} failed, in {self.output_dir}>"

    def _repr_html_(self) -> str:
        try:
            return make_display(*_sections(self))
        except LedgerError:  # pruned, or damaged
            return make_display(repr(self))


def _sections(result: Result) -> Iterator[Markup]:
    """Yield the parts of a result's HTML."""
    yield wrap("div", wrap("strong", result.name), f" {result.state} in {result.seconds:.1f} s")
    if result.reason:
        yield wrap("div", result.reason)
    yield make_table(sorted(result.counts.items()), ("state", "exposures"))
    yield wrap("div", f"products are in {result.output_dir}")
    failed = list(islice(result.each(*FAILED), SHOWN + 1))
    if failed:
        rows = [(outcome.path.name, outcome.error) for outcome in failed[:SHOWN]]
        title = "failures" if len(failed) <= SHOWN else f"the first {SHOWN} failures"
        yield make_details(title, make_table(rows, ("exposure", "reason")))


def read_result(folder: BatchFolder) -> Result:
    """Return the result of a batch from its ledger alone, regardless of its driver.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.

    Raises
    ------
    LedgerError
        If there is no such batch.
    """
    with View(folder.state) as view:
        row = view.batch(folder.name)
    is_running = batch_state(folder, row) == "running"
    ended = time.time() if is_running else row.ended or row.created
    return Result(folder, ended - (row.started or row.created))


def _state(outcome: Outcome) -> str:
    if outcome.failed:
        return "failed"
    return "kept" if outcome.kept else "done"


def _outcome(view: View, row: ExposureRow) -> Outcome:
    last = view.attempts(row.id)[-1:]
    peaks = tuple(MemoryPeak(a.worker, a.peak) for a in last if a.worker and a.peak)
    return Outcome(
        number=row.number,
        path=location(row.path),
        written=tuple(Product(p.path, p.size, p.mtime_ns, p.digest) for p in view.products(row.id)),
        content=row.content or "",
        error=row.reason if row.state in ("failed", "quarantined") else "",
        details=last[0].log if last else "",
        warnings=tuple(row.warnings),
        began=row.started or 0.0,
        seconds=row.seconds or 0.0,
        cpu=row.cpu or 0.0,
        stages=row.stages,
        peaks=peaks,
        kept=row.state == "kept",
    )
