"""The memory limit of a process, checks against it, and arrays on memory pages of their own."""

from __future__ import annotations

import math
import mmap
import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import psutil

from calbatch.models.errors import FileError, ModelError

SETTING = "calbatch.memory-bytes"
"""Setting in dask's configuration: the memory, in bytes, at which the process is killed."""

_GROUPS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory.high",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def memory_limit() -> int:
    """Return the memory that this process may use, in bytes: the lowest of all known limits.

    These are the setting ``calbatch.memory-bytes``, the memory of the machine and of the container,
    and the limits set by ``ulimit -v`` and ``ulimit -d``.
    """
    limits = [shared_memory_limit(), dask.config.get(SETTING, None) or 0]
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    limits += [resource.getrlimit(kind)[0] for kind in kinds]  # -1 if unlimited
    return min(limit for limit in limits if limit > 0)


def shared_memory_limit() -> int:
    """Return the memory that the processes of this machine or container may use, in bytes."""
    limits = [_machine_memory()]
    for path in _GROUPS:
        with suppress(OSError, ValueError):  # "max" if unlimited
            limits.append(int(Path(path).read_text()))
    return min(limit for limit in limits if limit > 0)


@cache
def _machine_memory() -> int:
    """Return the memory of the machine in bytes, which the system counts anew at each question."""
    return psutil.virtual_memory().total


def require_memory(path: str | os.PathLike[str], size: int, what: str) -> None:
    """Raise an error if data do not fit in memory.

    Parameters
    ----------
    path : str or path-like
        The file that the data belong to.
    size : int
        Size in bytes.
    what : str
        Name of the data, for the message.

    Raises
    ------
    FileError
        If the size exceeds the limit of the process.
    """
    limit = memory_limit()
    if size > limit:
        raise FileError(path, f"{what} {describe_excess(size, limit)}")


def require_row(size: int) -> None:
    """Raise an error if a single row of an exposure, with all data derived from it, is too large.

    Raises
    ------
    ModelError
        If the size exceeds the limit of the process.
    """
    limit = memory_limit()
    if size > limit:
        raise ModelError(
            f"one row of its frame, with all data derived from it, {describe_excess(size, limit)}"
        )


def describe_excess(size: int, limit: int) -> str:
    """Return a phrase that compares the memory needed with the limit."""
    return f"takes {size / 1e9:.3g} GB of memory, and this process may use {limit / 1e9:.3g} GB"


def allocate_pages(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of zeros on memory pages of its own, which are returned with the array.

    A long-lived array on the heap, among those allocated and freed with every tile, leaves gaps
    too small for the next ones: that takes a third more memory. Huge pages are not asked for:
    where memory is fragmented, the kernel takes longer to find them than to map small ones.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    pages = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, kind, math.prod(shape)).reshape(shape)


def has_own_pages(array: npt.NDArray[Any]) -> bool:
    """Return whether an array is all of one that `allocate_pages` returned."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    is_mapped = isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)
    return is_mapped and base.nbytes == max(1, array.nbytes)
