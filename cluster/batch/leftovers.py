"""Removing the leftovers of killed drivers and workers.

The process that holds the ledger of an output folder is the folder's only driver, on any host. In
case a file system does not lock across hosts, drivers also record signs of life in the ledger, and
their batches are spared. Files outside the folder are removed once their process is gone.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from calbatch.cluster.batch.liveness import SILENCE
from calbatch.cluster.batch.order import Order
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow, Ledger
from calbatch.cluster.ledger.sqlite_errors import batch_folders
from calbatch.cluster.sites.kinds import find_kind
from calbatch.models.temporary import remove_abandoned

OLD = 60.0
"""Age in seconds beyond which no command, such as ``cancel``, can still be writing a file."""

_PART = re.compile(r"\..+\.(\d{8}-\d{6}-[a-z0-9]{4})-.+-\d+-[0-9a-f]{32}\.part")
"""Pattern of the unfinished products that releases without staging folders left in the output."""


def living_batches(ledger: Ledger) -> frozenset[str]:
    """Return the names of batches whose drivers, on other hosts, show signs of life.

    Parameters
    ----------
    ledger : Ledger
        The open ledger, whose lock keeps other processes on this host from driving.
    """
    host, since = socket.gethostname(), time.time() - SILENCE
    rows = ledger.running_batches()
    return frozenset(r.name for r in rows if r.host != host and (r.beat or 0.0) > since)


def remove_leftovers(folder: BatchFolder, spared: Collection[str] = ()) -> None:
    """Remove unfinished files of all batches from an output folder.

    Parameters
    ----------
    folder : BatchFolder
        Any batch of the output folder; the caller holds the ledger.
    spared : collection of str
        Names of batches that are left alone.
    """
    for path in [*_find_unfinished(folder, spared), *_logs(folder.state, spared)]:
        with suppress(OSError):  # in a shared folder, the file may be another user's
            path.unlink(missing_ok=True)
    _clear_temporary()


def _clear_temporary() -> None:
    """Remove temporary files of killed local clusters, plans, and workers' commands."""
    import dask

    base = dask.config.get("temporary-directory", None)
    remove_abandoned("hooks")
    remove_abandoned("plan")
    remove_abandoned("sockets")
    remove_abandoned("workers", Path(base).absolute() if base else None)


def end_abandoned_batches(
    ledger: Ledger, batch: int, spared: Collection[str] = ()
) -> Iterator[str]:
    """Mark other batches whose drivers have died as interrupted, and end their jobs.

    Parameters
    ----------
    ledger : Ledger
        Held by the caller.
    batch : int
        ID of the caller's own batch.
    spared : collection of str
        Names of batches that are left alone.

    Yields
    ------
    str
        A message about each batch whose jobs could not be ended.
    """
    for row in ledger.running_batches(batch):
        if row.name in spared:
            continue
        try:
            _end_jobs(row)
        except RequestError as error:
            yield f"{row.name}: its worker jobs may continue for a while: {error}"
        ledger.end_batch(row.id, "interrupted", "its driver died")


def _end_jobs(row: BatchRow) -> None:
    site = Order.from_json(row.request).site.named_site()
    if site is not None:
        find_kind(site.kind).end_jobs(site.options, row.name)


def _find_unfinished(folder: BatchFolder, spared: Collection[str]) -> Iterator[Path]:
    """Yield unfinished products; in a scratch folder, only those of this ledger's batches."""
    names = {path.name for path in batch_folders(folder.state)}
    for path in folder.unfinished.glob(".*.part"):
        match = _PART.fullmatch(path.name)
        name = match[1] if match else ""
        if name and name not in spared and (isinstance(folder.output, Path) or name in names):
            yield path


def _logs(state: Path, spared: Collection[str]) -> Iterator[Path]:
    """Yield logs of workers and unfinished records of all batches, none of which is running."""
    for batch in batch_folders(state):
        if batch.name in spared:
            continue
        yield from batch.glob("logs/*.log")
        yield from batch.glob("manifest.part")
        yield from (path for path in batch.glob(".*.part") if _is_old(path))


def _is_old(path: Path) -> bool:
    """Return whether a file is older than the time that any command takes to write it."""
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > OLD
    return False
