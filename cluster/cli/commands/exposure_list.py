"""The list of all exposures of a batch, for `calbatch status --exposures`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from calbatch.cluster.display.progress import megabytes
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import ExposureRow, View

HEADINGS = ("number", "state", "tries", "seconds", "memory", "exposure", "reason")
_TO_THE_RIGHT = frozenset({"number", "tries", "seconds", "memory"})
_BLOCK = 1000
"""Lines printed at once: a batch can have 100,000."""


def print_exposures(folder: BatchFolder, console: Console, *, as_json: bool) -> None:
    """Print all exposures of a batch, each with its state, tries, seconds and memory.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.
    console : Console
        Prints them.
    as_json : bool
        Print a JSON object for each exposure instead.
    """
    with View(folder.state) as view:
        rows = view.exposures(view.batch(folder.name).id)
        if as_json:
            lines = (json.dumps(_record(row)) for row in rows)
        else:
            lines = _align([HEADINGS, *_cells(list(rows))])
        _print_lines(lines, console)


def short_reason(row: ExposureRow) -> str:
    """Return the reason for an exposure's state, without the path with which errors begin."""
    return row.reason.removeprefix(f"{row.path}: ")


def _record(row: ExposureRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "exposure": row.path,
        "state": row.state,
        "reason": row.reason,
        "note": row.note,
        "tries": row.attempts,
        "seconds": row.seconds,
        "cpu": row.cpu,
        "memory": row.peak,
        "warnings": row.warnings,
    }


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


def _print_lines(lines: Iterator[str], console: Console) -> None:
    """Print lines as they are, in blocks, as long as anybody reads them."""
    while not console.quiet and (block := list(islice(lines, _BLOCK))):
        console.out("\n".join(block), highlight=False)
