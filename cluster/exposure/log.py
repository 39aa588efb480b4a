"""Log files of attempts, which outlive their processes."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from calbatch.cluster.exposure.messages import EscapingFormatter

MEMORY_EVERY = 0.1
"""Seconds between measurements of this process's memory."""

MEMORY_GROWTH = 1.02
"""Growth since the last reported size at which memory is reported again."""

LONGEST = 256 * 2**10
"""Bytes kept of the beginning and of the end of a log."""


class _OwnThread(logging.Filter):
    """Passes the records of one thread: other threads work on other exposures."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread == self.thread


class _MemoryMonitor(threading.Thread):
    """Logs the growth of this process's memory, which shows afterwards if it ran out of memory."""

    def __init__(self, file: IO[str], limit: int) -> None:
        super().__init__(name="calbatch-memory", daemon=True)
        self.file, self.limit, self.stop = file, limit, threading.Event()

    def run(self) -> None:
        """Measure until `stop` is set."""
        process, reported = psutil.Process(), 0.5 * self.limit
        while not self.stop.wait(MEMORY_EVERY):
            size = process.memory_info().rss
            if size >= min(reported * MEMORY_GROWTH, 0.9 * self.limit) and size > reported:
                reported = size
                with suppress(ValueError, OSError):
                    print(f"memory: {size} of {self.limit} bytes", file=self.file, flush=True)


@contextmanager
def log_to_file(path: Path | None, limit: int = 0) -> Iterator[None]:
    """Log to a file while an exposure is calibrated, and remove the file afterwards.

    If the process dies, its driver, or the next one, reads the file: a crash of compiled code
    leaves a traceback, and growing memory its size. A process that already writes the tracebacks of
    crashes elsewhere, as a user's own may, continues to.

    Parameters
    ----------
    path : Path, optional
        The log file; nothing is logged without one.
    limit : int
        Memory limit of this process in bytes; 0 for no limit.
    """
    file = _open_log(path) if path else None
    if path is None or file is None:
        yield
        return
    handler = logging.StreamHandler(file)
    handler.addFilter(_OwnThread())
    inner = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(EscapingFormatter(inner))
    print(f"began {_now()} in {socket.gethostname()}:{os.getpid()}", file=file, flush=True)
    memory = _MemoryMonitor(file, limit) if limit else None
    log = logging.getLogger("calbatch")
    catches_crashes = not faulthandler.is_enabled()
    try:
        if catches_crashes:
            faulthandler.enable(file)
        log.addHandler(handler)
        if memory:
            memory.start()
        yield
    finally:
        if catches_crashes:
            faulthandler.disable()
        log.removeHandler(handler)
        if memory:
            memory.stop.set()
            memory.join()
        file.close()
        path.unlink(missing_ok=True)


def _open_log(path: Path) -> IO[str] | None:
    """Open a log file private to this user; None if it cannot be opened, which is no failure."""
    try:
        return open(path, "w", encoding="utf-8", errors="backslashreplace", opener=_open_private)
    except OSError:
        return None


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def collect_log(path: Path) -> str:
    """Return the text of a dead process's log and remove the file; "" if there is none."""
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


def find_process(log: str) -> str:
    """Return the process that wrote a log, as ``HOST:PID``; "" if the log does not name it."""
    first = log.partition("\n")[0]
    return first.rpartition(" in ")[2] if first.startswith("began ") else ""


def find_memory_exhaustion(log: str) -> str:
    """Return a message if a dead worker's log shows that it had reached its memory limit."""
    matches = re.findall(r"^memory: (\d+) of (\d+) bytes", log, re.MULTILINE)
    if not matches:
        return ""
    size, limit = map(int, matches[-1])
    if size < 0.8 * limit:
        return ""
    return f"out of memory: the worker had {size / 1e6:.0f} MB of {limit / 1e6:.0f} MB"
