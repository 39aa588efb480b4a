"""Checksums of reference files that are remembered from one batch to the next."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from calbatch.models.private import (
    NotPrivateError,
    check_private_folder,
    make_private_folder,
    write_private_text,
)

log = logging.getLogger(__name__)

MAX_FILES = 4096
"""Maximum number of remembered checksums; the most recently used ones are kept."""

_MAX_BYTES = 16 * 2**20
_SETTLED = 2 * 10**9  # nanoseconds; the coarsest times of file systems (FAT)
_SHA1 = re.compile(r"[0-9a-f]{40}")


class FileState(NamedTuple):
    """Size, times and inode of a file, which change if it is replaced or written to.

    Attributes
    ----------
    size, mtime_ns, ctime_ns, inode : int
        As `os.stat_result` has them.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Return the state of a file, from its status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    def is_settled(self) -> bool:
        """Return whether any further change of the file would change its times."""
        return max(self.mtime_ns, self.ctime_ns) < time.time_ns() - _SETTLED


class ChecksumMemory:
    """SHA-1 checksums of files, in a private file of the user's.

    A damaged or missing file, and a folder that others can write to, mean that nothing is
    remembered. If several processes write the file at once, some checksums are forgotten.

    Parameters
    ----------
    folder : Path
        Folder of the file; created when it is first needed, private to this user.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._sums: dict[str, tuple[FileState, str]] | None = None
        self._used: dict[str, tuple[FileState, str]] = {}

    @property
    def file(self) -> Path:
        """The file that holds the checksums."""
        return self._folder / "reference-checksums.json"

    def find(self, path: str, state: FileState) -> str | None:
        """Return the checksum of a file; None if it is unknown, or the file has changed."""
        with self._guard:
            if self._sums is None:
                self._sums = self._read()
            known = self._sums.get(path)
            if known is None or known[0] != state:
                return None
            self._used[path] = known
            return known[1]

    def add(self, path: str, state: FileState, checksum: str) -> None:
        """Remember the checksum of a file, whose state was settled before the file was read."""
        with self._guard:
            self._used[path] = state, checksum

    def save(self) -> None:
        """Write the checksums, the latest at the end, unless the file ended with them before.

        Errors are logged and ignored.
        """
        with self._guard:
            last = dict(islice(reversed((self._sums or {}).items()), len(self._used)))
            if last == self._used:
                return
            earlier = [each for each in self._read().items() if each[0] not in self._used]
            latest = [*earlier, *self._used.items()][-MAX_FILES:]
            sums = {path: [*state, checksum] for path, (state, checksum) in latest}
            text = json.dumps({"digest": _digest(sums), "sums": sums})
            try:
                make_private_folder(self._folder)
                write_private_text(self.file, text)
            except (OSError, NotPrivateError):
                log.debug("%s: cannot be written", self.file, exc_info=True)

    def _read(self) -> dict[str, tuple[FileState, str]]:
        try:
            check_private_folder(self._folder)
            if self.file.stat().st_size > _MAX_BYTES:
                return {}
            content = json.loads(self.file.read_text(encoding="utf-8"))
            sums = content["sums"]
            if content["digest"] != _digest(sums):
                return {}
            return {path: _parse_entry(*entry) for path, entry in sums.items()}
        except (OSError, NotPrivateError):
            return {}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # damaged
            return {}


def _digest(sums: Any) -> str:
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def _parse_entry(
    size: int, mtime_ns: int, ctime_ns: int, inode: int, checksum: str
) -> tuple[FileState, str]:
    if not _SHA1.fullmatch(checksum):
        raise ValueError(f"{checksum!r} is not a SHA-1 checksum")
    return FileState(size, mtime_ns, ctime_ns, inode), checksum
