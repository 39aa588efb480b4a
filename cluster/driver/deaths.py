"""Deaths of the processes that were calibrating exposures: of workers, and of earlier drivers.

A driver may calibrate in its own process. While it does so, the exposure's log is in the batch's
folder, and names the driver's process. The log of an exposure that has ended is removed, and so are
all logs when a driver ends in order. A log of the process that the ledger names as the driver of a
running batch thus shows that the driver died, and over which exposure. Writing it costs no wait for
the disk: a driver's death leaves it behind, and a power failure, which is no exposure's fault, may
not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from calbatch.cluster.exposure.log import collect_log, find_memory_exhaustion, find_process
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow, HistoryQueries, Ledger
from calbatch.cluster.ledger.records import OPEN, ExposureRow
from calbatch.models.storage.location import Location, location

_NAME = re.compile(r"(\d{1,15})-(\d{1,15})\.log")
"""Pattern of a log's name: the number of the exposure, and that of the attempt."""

_LONGEST_LINE = 1000


class RecordedDeath(NamedTuple):
    """A process's death under an earlier driver, while an exposure was running alone in it.

    Attributes
    ----------
    kind : FailureKind
        The kind of death.
    reason : str
        A description for users, which names the exposure.
    """

    kind: FailureKind
    reason: str


class _DriverDeath(NamedTuple):
    """The death of a driver over an exposure, as the log shows that it has left."""

    batch: int
    exposure: ExposureRow
    attempt: int
    log: Path


def explain_death(outcome: Outcome, log: str) -> Outcome:
    """Return an outcome with the reason for its process's death, if the log shows one."""
    if outcome.kind is not FailureKind.DEATH:
        return outcome
    memory = find_memory_exhaustion(log)
    if memory:
        return replace(outcome, kind=FailureKind.MEMORY, error=f"{outcome.path}: {memory}")
    fatal = next((line for line in log.splitlines() if line.startswith("Fatal Python error")), "")
    if fatal:
        return replace(outcome, kind=FailureKind.CRASH, error=f"{outcome.error}: {fatal}")
    return outcome


def find_deaths(ledger: Ledger, batch: int) -> Mapping[int, Sequence[RecordedDeath]]:
    """Return the deaths that earlier drivers have left to a batch, by exposure.

    See `calbatch.cluster.ledger.queries.HistoryQueries.find_unsettled_deaths`.
    """
    return {
        number: [RecordedDeath(FailureKind(kind), reason) for kind, reason in deaths]
        for number, deaths in ledger.find_unsettled_deaths(batch).items()
    }


def has_killed(
    history: HistoryQueries,
    output: Location,
    inputs: Iterable[Location],
    spared: Collection[str] = (),
) -> bool:
    """Return whether `find_deaths` would find any in a new batch, without recording anything.

    Parameters
    ----------
    history : HistoryQueries
        The ledger of the output folder.
    output : Path or Url
        The output folder.
    inputs : iterable of Path or Url
        The batch's inputs.
    spared : collection of str
        Names of batches whose drivers are alive.
    """
    unrecorded = [death.exposure for death in _find_driver_deaths(history, output, spared)]
    return bool(history.find_killers(map(str, inputs), unrecorded))


def record_driver_deaths(ledger: Ledger, output: Location, spared: Collection[str] = ()) -> None:
    """Record the deaths of all earlier drivers of an output folder over their exposures.

    Parameters
    ----------
    ledger : Ledger
        The open ledger.
    output : Path or Url
        The output folder.
    spared : collection of str
        Names of batches whose drivers are alive on another host.
    """
    for death in _find_driver_deaths(ledger, output, spared):
        _record_death(ledger, death)
    ledger.commit()


def _find_driver_deaths(
    history: HistoryQueries, output: Location, spared: Collection[str]
) -> Iterator[_DriverDeath]:
    """Yield the deaths of drivers that no driver has recorded yet."""
    for row in history.running_batches():
        if row.name in spared:
            continue
        for log in _find_own_logs(BatchFolder(output, row.name), row):
            name = _NAME.fullmatch(log.name)
            number, attempt = map(int, name.groups()) if name else (-1, 0)
            exposure = history.find_exposure(row.id, number)
            if exposure and exposure.state in OPEN and attempt >= exposure.attempts:
                yield _DriverDeath(row.id, exposure, attempt, log)


def _find_own_logs(folder: BatchFolder, row: BatchRow) -> Iterator[Path]:
    """Yield the logs of a batch that its driver wrote, rather than a worker."""
    for log in sorted(folder.logs.glob("*.log")):
        try:
            with log.open(encoding="utf-8", errors="replace") as file:
                first = file.readline(_LONGEST_LINE)
        except OSError:
            continue
        if find_process(first) == f"{row.host}:{row.pid}":
            yield log


def _record_death(ledger: Ledger, death: _DriverDeath) -> None:
    """Record a driver's death as that of a worker that calibrated an exposure alone."""
    row = death.exposure
    text = collect_log(death.log)
    path = location(row.path)
    reason = f"{path}: the process that drove the batch died while calibrating it"
    outcome = explain_death(
        Outcome(number=row.number, path=path, error=reason, kind=FailureKind.DEATH), text
    )
    ledger.add_attempt(
        death.batch, row.number, number=death.attempt, alone=1, worker=find_process(text),
        started=row.started, ended=time.time(), result=str(outcome.kind), reason=outcome.error,
        log=text,
    )  # fmt: skip
    ledger.update_exposure(
        death.batch, row.number, state="waiting", reason=outcome.error, attempts=death.attempt,
        deaths=row.deaths + 1,
    )  # fmt: skip
    ledger.add_event(death.batch, "death", outcome.error, row.number)
