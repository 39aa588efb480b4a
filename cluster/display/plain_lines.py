"""Output of long lists, such as JSON for programs, in lines that are never wrapped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from calbatch.cluster.exposure.terminal import Console

_BLOCK = 1000
"""Number of lines printed at once."""


def print_lines(lines: Iterable[str], console: Console | None = None) -> None:
    """Print lines without wrapping, until the reader closes the pipe.

    Parameters
    ----------
    lines : iterable of str
        The lines, in which control characters have been escaped.
    console : Console, optional
        Prints them; by default on standard output.
    """
    console, waiting = console or Console(), iter(lines)
    while not console.quiet and (block := list(islice(waiting, _BLOCK))):
        console.out("\n".join(block), highlight=False)


def print_json_lines(records: Iterable[Mapping[str, Any]]) -> None:
    """Print a JSON object on a line for each record; values that JSON lacks become text."""
    print_lines(_as_json(record) for record in records)


def _as_json(record: Mapping[str, Any]) -> str:
    try:
        return json.dumps(record, default=str, allow_nan=False)
    except ValueError:  # NaN and infinities, which JSON does not have
        finite = {k: str(v) if isinstance(v, float) else v for k, v in record.items()}
        return json.dumps(finite, default=str)
