"""The status of a batch as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from calbatch.cluster.batch.watching.batch_status import Status
from calbatch.cluster.batch.watching.quick_looks_html import make_figures
from calbatch.models.errors import format_count
from calbatch.models.markup import (
    Markup,
    join,
    make_bar,
    make_details,
    make_display,
    make_link,
    make_table,
    wrap,
)


def status_as_html(status: Status, images: Sequence[tuple[str, str]] = ()) -> str:
    """Return the progress of a batch with its states, failures, workers and dashboard.

    It needs neither scripts nor style sheets, and follows the colours of the page.

    Parameters
    ----------
    status : Status
        The progress.
    images : sequence of (str, str)
        Quick-looks to be shown below; see `make_figures`.
    """
    return make_display(*_sections(status), make_figures(images))


def _sections(status: Status) -> Iterator[Markup]:
    _, _, summary = status.line().partition(": ")
    yield wrap("div", wrap("strong", status.batch), f" {status.state}: {summary}")
    ended = status.total - status.waiting - status.running
    yield make_bar(ended, status.total)
    if status.reason:
        yield wrap("div", status.reason)
    yield make_table(_facts(status))
    counts = status.counts().items()
    yield make_details("states", make_table(counts, ("state", "exposures")), is_open=True)
    if status.failures:
        yield _failures(status)


def _facts(status: Status) -> Iterator[tuple[str, object]]:
    yield "pipeline", status.pipeline
    yield "products", status.output
    if status.state == "running":
        yield from [("workers", status.workers)] if status.workers else []
        yield from [("dashboard", make_link(status.dashboard))] if status.dashboard else []


def _failures(status: Status) -> Markup:
    rows = [(each.path.rpartition("/")[2], each.reason) for each in status.failures]
    count = status.failed + status.quarantined
    more = count - len(rows)
    parts = [make_table(rows, ("exposure", "reason"))]
    parts += [wrap("div", f"and {more} more")] if more > 0 else []
    summary = f"{format_count(count, 'exposure')} failed"
    return make_details(summary, join(parts), is_open=True)  # each update would fold it again
