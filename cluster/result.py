"""What became of a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow, ExposureRow, View
from calbatch.cluster.ledger.records import FINAL
from calbatch.cluster.outcome import Outcome, Peak
from calbatch.models.location import Location, location
from calbatch.models.writer import Product


@dataclass(frozen=True)
class Result:
    """What became of a batch, as its ledger tells.

    Attributes
    ----------
    folder : BatchFolder
        The batch's files.
    seconds : float
        Wall time of this driver.
    """

    folder: BatchFolder
    seconds: float

    @property
    def output_dir(self) -> Location:
        """Where products are."""
        return self.folder.output

    @property
    def name(self) -> str:
        """The batch's name."""
        return self.folder.name

    @cached_property
    def batch(self) -> BatchRow:
        """The batch, as it was when this was first asked."""
        with View(self.folder.state) as view:
            return view.batch(self.name)

    @cached_property
    def counts(self) -> Counter[str]:
        """Exposures in each state."""
        with View(self.folder.state) as view:
            return Counter(view.counts(self.batch.id))

    @cached_property
    def outcomes(self) -> Sequence[Outcome]:
        """What became of each exposure that has an outcome, in the order of the inputs."""
        return list(self.each())

    def each(self, *states: str) -> Iterator[Outcome]:
        """Yield outcomes one by one, of a batch that may be long: all, or of some states."""
        with View(self.folder.state) as view:
            for row in view.exposures(self.batch.id, *(states or FINAL)):
                yield _outcome(view, row)

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
        """0 when all are done, 1 when some failed, 130 when it was ended before."""
        if self.batch.state in ("interrupted", "cancelled"):
            return 130
        return 1 if self.batch.state == "failed" else 0

    def __repr__(self) -> str:
        counts = self.counts
        done = counts["done"] + counts["kept"]
        failed = counts["failed"] + counts["quarantined"]
        return f"<Result {self.name}: {done} done, {failed} failed, in {self.output_dir}>"


def _outcome(view: View, row: ExposureRow) -> Outcome:
    last = view.attempts(row.id)[-1:]
    peaks = tuple(Peak(a.worker, a.peak) for a in last if a.worker and a.peak)
    return Outcome(
        row.number,
        location(row.path),
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
