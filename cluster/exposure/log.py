"""What a worker says about an exposure, kept in a file that outlives the worker."""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from calbatch.cluster.exposure.messages import HarmlessFormatter

MEMORY_EVERY = 0.1
"""Seconds between looks at this process's memory."""

MEMORY_GROWTH = 1.02
"""A size is told when it is this many times the last one told."""

LONGEST = 256 * 2**10
"""Bytes of a log that are kept: its beginning and its end."""


class _OwnThread(logging.Filter):
    """Lets through what one thread logs: others work on other exposures."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread == self.thread


class _Memory(threading.Thread):
    """Tells how much memory the process has, as that grows: if it dies of it, one can read why."""

    def __init__(self, file: IO[str], limit: int) -> None:
        super().__init__(name="calbatch-memory", daemon=True)
        self.file, self.limit, self.stop = file, limit, threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        process, told = psutil.Process(), 0.5 * self.limit
        while not self.stop.wait(MEMORY_EVERY):
            size = process.memory_info().rss
            if size >= min(told * MEMORY_GROWTH, 0.9 * self.limit) and size > told:
                told = size
                with suppress(ValueError, OSError):
                    print(f"memory: {size} of {self.limit} bytes", file=self.file, flush=True)


@contextmanager
def logged(path: Path | None, limit: int = 0) -> Iterator[None]:
    """Keep what is logged in a file, while an exposure is calibrated; remove it in the end.

    Whoever started this reads what is left of it should the process die: a crash of compiled code
    leaves a traceback, and growing memory its size.

    Parameters
    ----------
    path : Path, optional
        The file; without one nothing is kept.
    limit : int
        Bytes of memory that the process may have; 0 where nobody limits it.
    """
    file = _opened(path) if path else None
    if path is None or file is None:
        yield
        return
    handler = logging.StreamHandler(file)
    handler.addFilter(_OwnThread())
    inner = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(HarmlessFormatter(inner))
    print(f"began {_now()} in {socket.gethostname()}:{os.getpid()}", file=file, flush=True)
    memory = _Memory(file, limit) if limit else None
    log = logging.getLogger("calbatch")
    try:
        faulthandler.enable(file)
        log.addHandler(handler)
        if memory:
            memory.start()
        yield
    finally:
        faulthandler.disable()
        log.removeHandler(handler)
        if memory:
            memory.stop.set()
            memory.join()
        file.close()
        path.unlink(missing_ok=True)


def _opened(path: Path) -> IO[str] | None:
    """Open a log for this user alone; None where it cannot be: calibrating matters more."""
    try:
        return open(path, "w", encoding="utf-8", errors="backslashreplace", opener=_private)
    except OSError:
        return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def left_behind(path: Path) -> str:
    """Return what a dead worker's log says, and remove it; "" where there is none."""
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST)
            if file.seek(0, os.SEEK_END) > 2 * LONGEST:
                text += b"\n...\n"
                file.seek(-LONGEST, os.SEEK_END)
            else:
                file.seek(len(text))
            text += file.read()
        path.unlink()
    except OSError:
        return ""
    return text.decode("utf-8", "backslashreplace")


def ran_out_of_memory(log: str) -> str:
    """Return how much memory a dead worker had, in words, if that was nearly all it could have."""
    told = [line for line in log.splitlines() if line.startswith("memory: ")]
    if not told:
        return ""
    words = told[-1].split()
    size, limit = int(words[1]), int(words[3])
    if size < 0.8 * limit:
        return ""
    return f"out of memory: it had {size / 1e6:.0f} MB of {limit / 1e6:.0f} MB"
