"""Another host on this machine, whose file locks do not reach this one.

It has a name of its own, and sees another file in the place of a ledger's lock, as if both hosts
shared a network file system without sharing its locks.
"""

import sys
from contextlib import contextmanager
from pathlib import Path

from support.services import end_process, require_available, start_process

NAME = "elsewhere"
"""The host's name."""

_PREPARE = f'hostname {NAME} && mount --bind "$1" "$2" && shift 2 && exec "$@"'


@contextmanager
def run_elsewhere(state: Path, *command: object, log: Path):
    """Run a Python program on the other host; it can lock the ledger in ``state`` at any time."""
    require_available("unshare", "mount", "hostname", package="util-linux hostname")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    here, there = state / "ledger.lock", log.with_suffix(".lock")
    for file in (here, there):
        file.touch(0o600)
    host = ("unshare", "--uts", "--mount", "sh", "-c", _PREPARE, "sh", there, here)
    with log.open("ab") as file:
        process = start_process(*host, sys.executable, *command, log=file)
        try:
            yield process
        finally:
            end_process(process)
