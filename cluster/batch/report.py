"""The summary of a batch, as tables and lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from calbatch.cluster.batch.result import Result
from calbatch.cluster.display.progress import MemoryUse
from calbatch.cluster.display.quantities import duration
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.outcome import Outcome, peak_memory
from calbatch.cluster.exposure.terminal import print_text
from calbatch.cluster.ledger import LedgerError
from calbatch.models.errors import format_count

SHOWN = 20
"""Maximum number of warnings and names listed; a long list would hide the summary."""


def print_summary(result: Result, console: Console, *, timings: bool = False) -> None:
    """Print the counts of a batch, its warnings and failures, and the folder of its products.

    Parameters
    ----------
    result : Result
        The batch's result.
    console : rich.console.Console
        Prints the summary.
    timings : bool
        Print the CPU time of each stage.
    """
    totals = _add_up(result)
    _print_warnings(totals, console)
    if timings:
        console.print(_stages(totals))
    console.print(_totals(totals))
    if totals.failed:
        names = totals.names[:SHOWN]
        more = f" and {totals.failed - SHOWN} more" if totals.failed > SHOWN else ""
        _say(console, f"failed: {', '.join(names)}{more}", "red")
    if result.reason:
        _say(console, f"{result.state}: {result.reason}", "red")
    if totals.done:
        _say(console, f"products are in {result.output_dir}")
    if result.exit_status and totals.readable:
        _say(console, f"`calbatch resume {result.name}` calibrates the remaining exposures")


def describe_unrecorded(outcomes: Sequence[Outcome]) -> str:
    """Return a line about outcomes that are missing from the ledger."""
    names = ", ".join(outcome.path.name for outcome in outcomes[:SHOWN])
    more = f" and {len(outcomes) - SHOWN} more" if len(outcomes) > SHOWN else ""
    count = format_count(len(outcomes), "outcome")
    return f"{count} could not be recorded; these exposures would be repeated: {names}{more}"


def _add_up(result: Result) -> _Totals:
    """Return the totals of a batch, from its ledger or, if that cannot be read, from its driver."""
    try:
        return _Totals(result, result.batch.total, result.each())
    except LedgerError:
        if result.ending is None:
            raise
        totals = _Totals(result, result.ending.total, result.unrecorded, readable=False)
        totals.done, totals.failed = result.ending.done, result.ending.failed
        return totals


class _Totals:
    """Totals of a batch, added up from its outcomes one by one."""

    def __init__(
        self, result: Result, total: int, outcomes: Iterable[Outcome], *, readable: bool = True
    ) -> None:
        self.result, self.total, self.readable = result, total, readable
        self.done = self.kept = self.failed = self.products = 0
        self.names: list[str] = []
        self.warnings: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.stages: Counter[str] = Counter()
        self.memory = MemoryUse()
        for outcome in outcomes:
            self._add(outcome)
        self.memory.add(peak_memory())

    def _add(self, outcome: Outcome) -> None:
        if outcome.failed:
            self.failed += 1
            self.names += [outcome.path.name] if self.failed <= SHOWN else []
        else:
            self.done += 1
        self.kept += outcome.kept
        self.products += len(outcome.written)
        self.memory.add(*outcome.peaks)
        self.stages.update(outcome.stages)
        name = escape_text(str(outcome.path))
        texts = {_without_name(escape_text(text), name) for text in outcome.warnings}
        self.warnings.update(texts)
        for text in texts:
            self.first.setdefault(text, name)


_NAME = "\0"


def _without_name(text: str, name: str) -> str:
    """Return a warning with a placeholder for the file's name, so that equal ones are counted."""
    return text.replace(name, _NAME) if name in text else f"{_NAME}: {text}"


def _say(console: Console, text: str, style: str = "") -> None:
    print_text(console, escape_text(text), style)


def _totals(totals: _Totals) -> Table:
    headings = ["earlier"] if totals.kept else []
    table = Table("exposures", "done", *headings, "failed", "products", "wall time", "peak memory")
    counts = [totals.total, totals.done]
    counts += [totals.kept] if totals.kept else []
    counts += [totals.failed, totals.products]
    seconds = duration(totals.result.seconds)
    table.add_row(*(str(count) for count in counts), seconds, str(totals.memory))
    return table


def _print_warnings(totals: _Totals, console: Console) -> None:
    for text, count in totals.warnings.most_common(SHOWN):
        more = f" (and in {format_count(count - 1, 'more exposure')})" if count > 1 else ""
        _say(console, f"warning: {text.replace(_NAME, totals.first[text])}{more}", "yellow")
    if len(totals.warnings) > SHOWN:
        count = len(totals.warnings) - SHOWN
        rest = format_count(count, "more kind of warning", "more kinds of warnings")
        _say(console, f"... and {rest}", "yellow")


def _stages(totals: _Totals) -> Table:
    count = max(totals.done - totals.kept, 1)
    table = Table("stage", "CPU s per exposure")
    for stage, seconds in totals.stages.items():
        table.add_row(stage, f"{seconds / count:.3f}")
    table.add_row("all", f"{sum(totals.stages.values()) / count:.3f}")
    return table
