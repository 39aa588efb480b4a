"""`calbatch logs`: the events of a batch, or of one of its exposures."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from calbatch.cluster.batch import liveness
from calbatch.cluster.batch.watching.batch_status import EVERY, read_status
from calbatch.cluster.display.plain_lines import print_json_lines
from calbatch.cluster.display.quantities import format_time
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import BatchFolder, find_batch, find_registered
from calbatch.cluster.ledger import BatchRow, DamagedLedgerError, ExposureRow, LedgerError, View
from calbatch.cluster.ledger.records import AttemptRow, EventRow
from calbatch.models.errors import format_count

SHOWN = 10
"""Maximum number of exposures to name if several match."""


def logs(
    batch: str | None,
    exposure: str | None,
    *,
    number: int | None = None,
    follow: bool = False,
    as_json: bool = False,
) -> int:
    """Print the events of a batch, or of one of its exposures.

    Parameters
    ----------
    batch : str, optional
        See `calbatch.cluster.folder.find_batch`. If it is the only one of these and no batch has
        that name, it is an exposure of the latest batch.
    exposure : str, optional
        The exposure's path, its file name, or a part of the name.
    number : int, optional
        The exposure's number, instead of its name.
    follow : bool
        Continue with new events until the batch has ended.
    as_json : bool
        Print a JSON object for each event or attempt instead.
    """
    if as_json and follow:
        raise RequestError("--follow, --json: give one of them")
    if exposure is not None and number is not None:
        raise RequestError(f"{exposure}, --number {number}: give one of them")
    if exposure is not None and not exposure:  # a part of all names
        raise RequestError("the name of the exposure is empty; give a part of its file's name")
    console = Console(soft_wrap=True)
    if exposure is None and number is None:
        folder, exposure = _find_batch_or_exposure(batch)
    else:
        folder = find_batch(batch)
    is_whole = exposure is None and number is None
    found = None if is_whole else _find_exposure(folder, exposure, number)
    if as_json:
        _print_records(folder, found)
        return 0
    read_news = _of_batch(folder) if found is None else _of_exposure(folder, found)

    def say(lines: Iterator[str]) -> None:
        for line in lines:
            console.print(Text(escape_text(line)))

    say(read_news())
    while (
        follow
        and not console.quiet
        and read_status(folder).exit_status == liveness.EXIT_STATUS["running"]
    ):
        time.sleep(EVERY)
        say(read_news())
    say(read_news())
    return 0


def _print_records(folder: BatchFolder, number: int | None) -> None:
    """Print the events of a batch, or the attempts at one of its exposures, as JSON."""
    with View(folder.state) as view:
        batch = view.batch(folder.name).id
        rows: Sequence[EventRow | AttemptRow] = (
            view.events(batch) if number is None else view.attempts(view.exposure(batch, number).id)
        )
    print_json_lines(map(asdict, rows))


def _find_batch_or_exposure(name: str | None) -> tuple[BatchFolder, str | None]:
    """Return the batch of a name; if there is none, the latest batch, and the exposure's name."""
    try:
        return find_batch(name), None
    except RequestError:
        batches = list(find_registered()) if name else []
        if not batches or name is None or not _is_in(batches[-1], name):
            raise
    return batches[-1], name


def _is_in(folder: BatchFolder, wanted: str) -> bool:
    """Return whether the name of one of a batch's exposures is or contains a text."""
    try:
        with View(folder.state) as view:
            return bool(_match(view, view.batch(folder.name), wanted))
    except DamagedLedgerError:
        raise
    except LedgerError:  # pruned
        return False


def _of_batch(folder: BatchFolder) -> Callable[[], Iterator[str]]:
    """Return a function that yields the events since its last call."""
    seen = [0, 0]

    def read_news() -> Iterator[str]:
        with View(folder.state) as view:
            events = view.events(view.batch(folder.name).id)
        for event in events[seen[0] :]:
            yield f"{_time(event.time)} {event.kind}: {event.text}"
        seen[0] = len(events)
        yield from _news(folder.log, seen, 1)

    return read_news


def _of_exposure(folder: BatchFolder, number: int) -> Callable[[], Iterator[str]]:
    """Return a function that yields what is new about an exposure since its last call."""
    is_named = False
    reported: set[int] = set()  # the attempts whose ends have been reported
    read: dict[int, list[int]] = defaultdict(lambda: [0])  # the bytes of their logs

    def read_news() -> Iterator[str]:
        nonlocal is_named
        with View(folder.state) as view:
            row = view.exposure(view.batch(folder.name).id, number)
            attempts = view.attempts(row.id)
        if not is_named:
            is_named = True
            yield f"{row.path}: {row.state}{f', {row.reason}' if row.reason else ''}"
        for attempt in attempts:
            if attempt.number in reported:
                continue
            reported.add(attempt.number)
            alone = ", alone" if attempt.alone else ""
            where = f" in {attempt.worker}" if attempt.worker else ""
            yield f"{_time(attempt.ended)} try {attempt.number}{where}{alone}: {attempt.result}"
            yield from _unread(attempt.log, read[attempt.number][0])
            if attempt.number == row.attempts and attempt.result == "done":
                yield from _describe_steps(row)
        if row.state == "running" and row.attempts not in reported:
            path = folder.logs / f"{row.number}-{row.attempts}.log"
            yield from _news(path, read[row.attempts], 0)

    return read_news


def _unread(log: str, count: int) -> list[str]:
    """Return the lines of an attempt's log, but those that were read while it was running."""
    return log.encode("utf-8", "replace")[count:].decode("utf-8", "replace").splitlines()


def _find_exposure(folder: BatchFolder, wanted: str | None, number: int | None) -> int:
    """Return the number of the exposure with a path, a file name or a part of a file name.

    Raises
    ------
    RequestError
        If none or several match.
    """
    with View(folder.state) as view:
        batch = view.batch(folder.name)
        if number is not None and number < batch.total:
            return number
        matches = [] if number is not None else _match(view, batch, str(wanted))
    if len(matches) == 1:
        return matches[0].number
    if not matches:
        text = wanted if number is None else f"--number {number}"
        raise RequestError(
            f"{batch.name}: {text}: no such exposure; give a part of its file's name, or "
            f"--number N (0 to {batch.total - 1})"
        )
    lines = [f"--number {row.number}  {escape_text(row.path)}" for row in matches[:SHOWN]]
    more = len(matches) - SHOWN
    lines += [f"and {more} more"] if more > 0 else []
    count = format_count(len(matches), "exposure")
    raise RequestError(
        "\n  ".join(
            [f"{batch.name}: {escape_text(str(wanted))} matches {count}; be more specific:", *lines]
        )
    )


def _match(view: View, batch: BatchRow, wanted: str) -> list[ExposureRow]:
    """Return the exposures of a path or file name, or else those whose names contain it."""
    rows = list(view.exposures(batch.id))
    return [row for row in rows if wanted in (row.path, row.path.rpartition("/")[2])] or [
        row for row in rows if wanted in row.path.rpartition("/")[2]
    ]


def _describe_steps(row: ExposureRow) -> Iterator[str]:
    """Yield a line for each step of a calibrated exposure, with its CPU seconds."""
    width = max(map(len, row.stages), default=0)
    for step, seconds in row.stages.items():
        yield f"  {step:{width}}  {seconds:9.3f} s of CPU"


def _news(path: Path, seen: list[int], index: int) -> Iterator[str]:
    """Yield the lines that a growing file has gained since the last call."""
    try:
        with path.open("rb") as file:
            file.seek(seen[index])
            data = file.read()
    except OSError:
        return
    whole = data[: data.rfind(b"\n") + 1]
    seen[index] += len(whole)
    yield from whole.decode("utf-8", "backslashreplace").splitlines()


def _time(seconds: float | None) -> str:
    return format_time(seconds) if seconds else "?"
