"""What killed drivers and workers leave behind, and who may remove it.

Whoever holds the ledger of a folder of products knows that no other driver of that folder lives, on
any host: all that batches left there can go. What lies elsewhere goes when its process is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from calbatch.cluster.folder import BatchFolder, batch_folders

_PART = re.compile(r"\..+\.\d{8}-\d{6}-[a-z0-9]{4}-.+-\d+-[0-9a-f]{32}\.part")
"""Unfinished products beside their final names, as releases without staging folders made them."""


def clear(folder: BatchFolder) -> None:
    """Remove what the batches of a folder of products left there unfinished.

    Parameters
    ----------
    folder : BatchFolder
        Any of them; the caller holds the ledger.
    """
    for path in [*_unfinished(folder), *_logs(folder.state)]:
        with suppress(OSError):  # in a folder that others may write to, it may be theirs
            path.unlink(missing_ok=True)


def _unfinished(folder: BatchFolder) -> Iterator[Path]:
    return (p for p in folder.unfinished.glob(".*.part") if _PART.fullmatch(p.name))


def _logs(state: Path) -> Iterator[Path]:
    """Yield the logs of workers; of other batches, too: none is running."""
    for batch in batch_folders(state):
        yield from batch.glob("logs/*.log")
        yield from batch.glob("manifest.part")
