"""Temporary folders of a process, which later processes remove if the process was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = "lock"
_RENAMED_WITHIN = 60.0  # seconds
_SEMAPHORES = Path("/dev/shm")
_locks: list[int] = []  # descriptors of locks that are released when this process ends


def make_process_folder(kind: str, base: Path | None = None) -> Path:
    """Make a folder for this process, and remove the folders of killed processes.

    A process locks its folder, and the kernel releases the lock when the process ends. On a normal
    exit, the caller removes the folder.

    Parameters
    ----------
    kind : str
        Purpose of the folder; part of its name.
    base : Path, optional
        Parent folder; by default the system's folder for temporary files.
    """
    folder, lock = _make_locked(kind, base)
    _locks.append(lock)
    return folder


@contextmanager
def open_process_folder(kind: str, base: Path | None = None) -> Iterator[Path]:
    """Make such a folder for a part of this process's work, and remove it at the end of the block.

    Parameters
    ----------
    kind, base
        See `make_process_folder`.
    """
    folder, lock = _make_locked(kind, base)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make_locked(kind: str, base: Path | None) -> tuple[Path, int]:
    """Return a new folder, and the descriptor of its lock."""
    prefix = _prefix(kind)
    base = base or Path(tempfile.gettempdir())
    _remove_abandoned(base, prefix)
    folder = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=base))
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Other processes look for abandoned folders under the final name.
    return folder.rename(base / folder.name.removeprefix(".")), lock


def remove_abandoned(kind: str, base: Path | None = None) -> None:
    """Remove the folders of a kind left by killed processes, and semaphores named after them.

    See `make_process_folder`.
    """
    _remove_abandoned(base or Path(tempfile.gettempdir()), _prefix(kind))


def is_process_folder(folder: Path, kind: str) -> bool:
    """Return whether a folder is one that `make_process_folder` has made."""
    return folder.name.startswith(_prefix(kind))


def _prefix(kind: str) -> str:
    return f"calbatch-{kind}-{os.getuid()}-"


def _remove_abandoned(base: Path, prefix: str) -> None:
    hidden = [path for path in base.glob(f".{prefix}*") if _is_old(path)]
    for folder in [*base.glob(f"{prefix}*"), *hidden]:
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and _is_abandoned(folder / _LOCK):
                for semaphore in _SEMAPHORES.glob(f"sem.{folder.name}-*"):
                    semaphore.unlink(missing_ok=True)
                shutil.rmtree(folder)


def _is_old(folder: Path) -> bool:
    """Return whether a folder would have its final name by now if its process were alive."""
    with suppress(OSError):
        return time.time() - folder.lstat().st_mtime > _RENAMED_WITHIN
    return False


def _is_abandoned(lock: Path) -> bool:
    """Return whether no process holds a lock, or its folder was only partly removed."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # the lock is made before the folder gets its name
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
