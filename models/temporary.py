"""Temporary folders of one process, which the next process removes if that one was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_LOCK = "lock"
_held: list[int] = []  # descriptors whose locks end with this process


def make_process_folder(kind: str, base: Path | None = None) -> Path:
    """Make a folder for this process, and remove those that killed processes have left.

    Whether a folder's process lives is told by the kernel, which holds a lock for it until it ends.
    Removing the folder at an ordinary end is up to the caller.

    Parameters
    ----------
    kind : str
        What it is for: a part of its name.
    base : Path, optional
        Where it is made; by default in the system's folder for temporary files.
    """
    prefix = _prefix(kind)
    base = base or Path(tempfile.gettempdir())
    _remove_abandoned(base, prefix)
    made = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=base))
    descriptor = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _held.append(descriptor)
    # Only now does it have a name by which others look for abandoned ones.
    return made.rename(base / made.name.removeprefix("."))


def remove_abandoned(kind: str, base: Path | None = None) -> None:
    """Remove the folders of a kind that killed processes have left; see `make_process_folder`."""
    _remove_abandoned(base or Path(tempfile.gettempdir()), _prefix(kind))


def _prefix(kind: str) -> str:
    return f"calbatch-{kind}-{os.getuid()}-"


def _remove_abandoned(base: Path, prefix: str) -> None:
    for folder in base.glob(f"{prefix}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and _is_abandoned(folder / _LOCK):
                shutil.rmtree(folder)


def _is_abandoned(lock: Path) -> bool:
    """Return whether no process holds a lock."""
    descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
