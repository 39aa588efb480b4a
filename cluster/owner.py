"""The process that a file belongs to: written down, and looked up later."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path

import psutil

from calbatch.models.private import write_private_text


def write_owner(file: Path, pid: int | None = None) -> None:
    """Write to a file which process it belongs to: this one, or another of this host."""
    created = 0.0
    with suppress(psutil.NoSuchProcess):  # ended already: its log says why
        created = psutil.Process(pid).create_time()
    who = {"host": socket.gethostname(), "pid": pid or os.getpid(), "created": created}
    write_private_text(file, json.dumps(who))


def owner_is_dead(file: Path) -> bool:
    """Return whether a file belongs to a process of this host that has ended."""
    try:
        who = json.loads(file.read_text(encoding="ascii"))
        return who["host"] == socket.gethostname() and not is_running(who["pid"], who["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_running(pid: int, created: float) -> bool:
    """Return whether a process of this machine still runs, and is no other of the same number."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1.0 and process.status() != "zombie"
    except (psutil.Error, ValueError, OverflowError):  # or a number that is no process's
        return False
