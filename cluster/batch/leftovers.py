"""What killed drivers and workers leave behind, and who may remove it.

Whoever holds the ledger of a folder of products is its only driver, on any host. Should a file
system not lock across hosts, drivers still give signs of life in the ledger: batches of those are
spared. What lies outside the folder goes when its process is gone.
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
"""Seconds after which a file is not being written any more by a command such as ``cancel``."""

_PART = re.compile(r"\..+\.(\d{8}-\d{6}-[a-z0-9]{4})-.+-\d+-[0-9a-f]{32}\.part")
"""Unfinished products beside their final names, as releases without staging folders made them."""


def living_batches(ledger: Ledger, batch: int) -> frozenset[str]:
    """Return the names of other batches that show signs of life, from other hosts.

    Parameters
    ----------
    ledger : Ledger
        Held by the caller, so that nobody else on this host drives.
    batch : int
        The number of the caller's batch.
    """
    here, since = socket.gethostname(), time.time() - SILENCE
    rows = ledger.abandoned_batches(batch)
    return frozenset(r.name for r in rows if r.host != here and (r.beat or 0.0) > since)


def remove_leftovers(folder: BatchFolder, spared: Collection[str] = ()) -> None:
    """Remove what the batches of a folder of products left there unfinished.

    Parameters
    ----------
    folder : BatchFolder
        Any of them; the caller holds the ledger.
    spared : collection of str
        Names of batches that are left alone.
    """
    for path in [*_find_unfinished(folder, spared), *_logs(folder.state, spared)]:
        with suppress(OSError):  # in a folder that others may write to, it may be theirs
            path.unlink(missing_ok=True)
    _clear_temporary()


def _clear_temporary() -> None:
    """Remove what killed local clusters have left on this host, whatever kind this batch has."""
    import dask

    base = dask.config.get("temporary-directory", None)
    remove_abandoned("sockets")
    remove_abandoned("workers", Path(base).absolute() if base else None)


def end_abandoned_batches(
    ledger: Ledger, batch: int, spared: Collection[str] = ()
) -> Iterator[str]:
    """Note that earlier drivers of other batches have died, and end their jobs of Slurm's.

    Parameters
    ----------
    ledger : Ledger
        Held by the caller.
    batch : int
        The number of the caller's own batch.
    spared : collection of str
        Names of batches that are left alone.

    Yields
    ------
    str
        What could not be ended, and why.
    """
    for row in ledger.abandoned_batches(batch):
        if row.name in spared:
            continue
        try:
            _end_jobs(row)
        except RequestError as error:
            yield f"{row.name}: its workers' jobs may go on for a while: {error}"
        ledger.end_batch(row.id, "interrupted", "its driver died")


def _end_jobs(row: BatchRow) -> None:
    site = Order.from_json(row.request).site.named_site()
    if site is not None:
        find_kind(site.kind).end_jobs(site.options, row.name)


def _find_unfinished(folder: BatchFolder, spared: Collection[str]) -> Iterator[Path]:
    """Yield unfinished products; in a folder for scratch, only those of this ledger's batches."""
    names = {path.name for path in batch_folders(folder.state)}
    for path in folder.unfinished.glob(".*.part"):
        found = _PART.fullmatch(path.name)
        name = found[1] if found else ""
        if name and name not in spared and (isinstance(folder.output, Path) or name in names):
            yield path


def _logs(state: Path, spared: Collection[str]) -> Iterator[Path]:
    """Yield the logs of workers; of other batches, too: none is running."""
    for batch in batch_folders(state):
        if batch.name in spared:
            continue
        yield from batch.glob("logs/*.log")
        yield from batch.glob("manifest.part")
        yield from (path for path in batch.glob(".*.part") if _is_old(path))


def _is_old(path: Path) -> bool:
    """Return whether a file is older than any command takes to write a few lines."""
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > OLD
    return False
