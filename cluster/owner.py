"""Owner files: record which process a file belongs to, and check whether it still runs."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path

import psutil

from calbatch.models.private import write_private_text


def write_owner(file: Path, pid: int | None = None) -> None:
    """Record the owner of a file: this process by default, or another one on this host."""
    created = 0.0
    with suppress(psutil.NoSuchProcess):  # it has already ended; its log says why
        created = psutil.Process(pid).create_time()
    owner = {"host": socket.gethostname(), "pid": pid or os.getpid(), "created": created}
    write_private_text(file, json.dumps(owner))


def is_owner_dead(file: Path) -> bool:
    """Return whether the owner of a file was a process on this host that has ended."""
    try:
        owner = json.loads(file.read_text(encoding="ascii"))
        on_this_host = owner["host"] == socket.gethostname()
        return on_this_host and not is_running(owner["pid"], owner["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_running(pid: int, created: float) -> bool:
    """Return whether a process of this host is still running.

    The creation time distinguishes it from a later process with the same ID.
    """
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1.0 and process.status() != "zombie"
    except (psutil.Error, ValueError, OverflowError):  # the last two: not a valid process id
        return False
