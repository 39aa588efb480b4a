"""What memory a process may have, and refusing what cannot fit in it before it is allocated."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

import dask
import psutil

from calbatch.models.errors import FileError, ModelError

SETTING = "calbatch.memory-bytes"
"""In dask's configuration: what a process may have, where something ends it for having more."""

_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_limit() -> int:
    """Return the bytes that this process may have at most: the least of all limits known.

    These are the setting ``calbatch.memory-bytes``, the machine's memory, its container's, and the
    limits that ``ulimit -v`` and ``ulimit -d`` set.
    """
    limits = [psutil.virtual_memory().total, dask.config.get(SETTING, None) or 0]
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    limits += [resource.getrlimit(kind)[0] for kind in kinds]  # -1 where there is none
    for path in _GROUPS:
        with suppress(OSError, ValueError):  # "max" where there is no limit
            limits.append(int(Path(path).read_text()))
    return min(limit for limit in limits if limit > 0)


def require_memory(path: str | os.PathLike[str], size: int, what: str) -> None:
    """Refuse what cannot be held in memory.

    Parameters
    ----------
    path : str or path-like
        The file that asks for it.
    size : int
        Bytes.
    what : str
        What has to be held, for the message.

    Raises
    ------
    FileError
        If the process may not have so much.
    """
    limit = memory_limit()
    if size > limit:
        raise FileError(path, f"{what} {describe_excess(size, limit)}")


def require_row(size: int) -> None:
    """Refuse an exposure of which a single row, with all that is made of it, is too much.

    Raises
    ------
    ModelError
        If the process may not have so many bytes.
    """
    limit = memory_limit()
    if size > limit:
        raise ModelError(
            f"one row of its frame, with all that is made of it, {describe_excess(size, limit)}"
        )


def describe_excess(size: int, limit: int) -> str:
    """Return how much is needed, and how much there is, in words."""
    return f"takes {size / 1e9:.3g} GB of memory, and this process may have {limit / 1e9:.3g} GB"
