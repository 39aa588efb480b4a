"""The list of all exposures of a batch, for `calbatch status --exposures`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from calbatch.cluster.batch.watching.batch_status import describe_exposure, short_reason
from calbatch.cluster.display.plain_lines import print_json_lines, print_lines
from calbatch.cluster.display.quantities import megabytes
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import ExposureRow, View

HEADINGS = ("number", "state", "tries", "seconds", "memory", "exposure", "reason")
_TO_THE_RIGHT = frozenset({"number", "tries", "seconds", "memory"})


def print_exposures(folder: BatchFolder, *, as_json: bool) -> None:
    """Print all exposures of a batch, each with its state, tries, seconds and memory.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.
    as_json : bool
        Print a JSON object for each exposure instead.
    """
    with View(folder.state) as view:
        rows = view.exposures(view.batch(folder.name).id)
        if as_json:
            print_json_lines(map(describe_exposure, rows))
        else:
            print_lines(_align([HEADINGS, *_cells(list(rows))]))


def _cells(rows: Sequence[ExposureRow]) -> Iterator[Sequence[str]]:
    """Yield the cells of each exposure; paths are shown only where names are not unique."""
    names = [row.path.rpartition("/")[2] for row in rows]
    times = Counter(names)
    for row, name in zip(rows, names, strict=True):
        yield (
            str(row.number),
            row.state,
            str(row.attempts),
            "" if row.seconds is None else f"{row.seconds:.1f}",
            "" if row.peak is None else megabytes(row.peak),
            escape_text(name if times[name] == 1 else row.path),
            escape_text(short_reason(row)),
        )


def _align(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, with columns that are as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    ways = [">" if heading in _TO_THE_RIGHT else "<" for heading in table[0]]
    for cells in table:
        padded = (f"{c:{way}{w}}" for c, way, w in zip(cells, ways, widths, strict=True))
        yield "  ".join(padded).rstrip()
