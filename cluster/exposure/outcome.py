"""What became of an exposure, told in a line."""

from __future__ import annotations

import errno
import logging
import os
import re
import resource
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from calbatch.calibrate.errors import CalibrationError, ReferenceFileError
from calbatch.cluster.errors import LostError
from calbatch.cluster.exposure.policy import Kind
from calbatch.cluster.exposure.terminal import harmless
from calbatch.models.errors import (
    ChangedError,
    FullError,
    ModelError,
    StorageError,
    SupersededError,
)
from calbatch.models.fits.writer import Product
from calbatch.models.storage.files import Stamp
from calbatch.models.storage.location import Location, location

EXPECTED = (CalibrationError, ModelError, OSError)
"""Faults of an exposure, told in one line."""

_READING = re.compile(
    r"calbatch\.(models\.(dq|opening|storage\.\w+|fits\.(?!writer|output_)\w+)"
    r"|calibrate\.(pars|references)|crds_client\..*)"
)
"""Modules that make sense of what comes from elsewhere: unexpected faults there are its damage."""


@dataclass(frozen=True)
class Peak:
    """The most memory that a process has had.

    Attributes
    ----------
    process : str
        Host and process id.
    bytes : int
        Its highest resident size so far.
    """

    process: str
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """What became of an exposure.

    Attributes
    ----------
    number, path
        The exposure.
    written : tuple of Product
        Files written.
    content : str
        Digest of the input's bytes, or its version; see
        `calbatch.models.storage.files.content_digest`.
    error : str
        The reason of a failure, in one line; empty when it went well.
    details : str
        The traceback of a failure.
    kind : Kind
        The kind of failure.
    warnings : tuple of str
        What was remarkable.
    began : float
        When it was begun, in seconds since 1970.
    seconds, cpu : float
        Wall time, and CPU time of the process that did it.
    stages : mapping
        CPU seconds by step.
    peaks : tuple of Peak
        Memory of the processes that worked on it.
    kept : bool
        Whether it was done before, and nothing was to do.
    """

    number: int
    path: Location
    written: tuple[Product, ...] = ()
    content: str = ""
    error: str = ""
    details: str = ""
    kind: Kind = Kind.FAULT
    warnings: tuple[str, ...] = ()
    began: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    peaks: tuple[Peak, ...] = ()
    kept: bool = False

    @property
    def failed(self) -> bool:
        """Whether there are no products for a reason."""
        return bool(self.error)

    @property
    def products(self) -> tuple[Location, ...]:
        """Where the files are that were written."""
        return tuple(location(product.path) for product in self.written)


class Times(TypedDict):
    """An outcome's times."""

    began: float
    seconds: float
    cpu: float


class Clock:
    """When something began, and how long it has taken since."""

    def __init__(self) -> None:
        self.began = time.time()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def times(self) -> Times:
        """Return an outcome's times."""
        seconds, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"began": self.began, "seconds": seconds, "cpu": cpu}


def kind_of(error: BaseException) -> Kind:
    """Return what kind of failure an exception is."""
    if isinstance(error, LostError):
        return error.kind
    if isinstance(error, SupersededError):
        return Kind.LOST
    if isinstance(error, FullError):
        return Kind.FULL
    if isinstance(error, ChangedError):
        return Kind.CHANGED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Kind.FULL
    if isinstance(error, (StorageError, ConnectionError, TimeoutError)):
        return Kind.STORAGE
    return Kind.FAULT


def failure(
    number: int, path: Location, error: BaseException, clock: Clock, remarkable: Sequence[str] = ()
) -> Outcome:
    """Return the outcome of an exposure that failed.

    Parameters
    ----------
    number, path
        The exposure.
    error : exception
        Why.
    clock : Clock
        Started when it was begun.
    remarkable : sequence of str
        What was remarkable until then.
    """
    remarkable = tuple(dict.fromkeys(remarkable))
    text = reason(error, path)
    if isinstance(error, ReferenceFileError):
        # Values that were not accepted are often why nothing was found.
        names = f"{path}: ", f"{harmless(str(path))}: "
        values = [
            r.removeprefix(names[0]).removeprefix(names[1]) for r in remarkable if ": must " in r
        ]
        text = "; ".join([text, *values])
    return Outcome(
        number,
        path,
        error=text,
        details="".join(traceback.format_exception(error)),
        kind=kind_of(error),
        warnings=remarkable,
        **clock.times(),
        peaks=(peak_memory(),),
    )


def reason(error: BaseException, path: Location) -> str:
    """Return a failure in one line that names the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"not enough memory: {text}"
    elif not isinstance(error, EXPECTED):
        text = _unexpected(error, f"{type(error).__name__}: {text}")
    name = harmless(str(path))
    text = harmless(text.replace(" ".join(str(path).split()), name, 1))
    return text if text.startswith(name) else f"{name}: {text}"


def _unexpected(error: BaseException, text: str) -> str:
    """Return what to say of an exception that nobody foresaw: whose fault it is, by where it arose.

    Libraries assert all kinds of things of the files that they read, and raise all kinds of
    exceptions where those do not hold.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not any(_READING.fullmatch(f.f_globals.get("__name__", "")) for f in frames):
        return f"{text} (a fault of calbatch, or of a step of yours)"
    stamps = [value for f in frames for value in f.f_locals.values() if isinstance(value, Stamp)]
    name = f"{stamps[-1].path}: " if stamps else ""
    return f"{name}cannot be read, and may be damaged: {text}"


def peak_memory() -> Peak:
    """Return this process's highest resident size so far."""
    return Peak(f"{socket.gethostname()}:{os.getpid()}", _highest_resident())


def _highest_resident() -> int:
    # A child's ru_maxrss begins at what its parent had: Linux tells the process's own elsewhere.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next((s for s in status.splitlines() if s.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024


class _Collector(logging.Handler):
    """Keeps the warnings that this thread's steps log."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.found, self.thread = found, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        if record.thread == self.thread:
            self.found.append(record.getMessage())


_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def remarks(found: list[str]) -> Iterator[None]:
    """Collect what is remarkable about an exposure: warnings, and what steps log as such.

    What only a developer needs (deprecations, NumPy's about arithmetic) is left out.
    """
    collector, log = _Collector(found), logging.getLogger("calbatch")
    log.addHandler(collector)
    try:
        with _caught(found):
            yield
    finally:
        log.removeHandler(collector)


@contextmanager
def _caught(found: list[str]) -> Iterator[None]:
    # Python's warnings belong to the process: of several threads, one collects them.
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        yield
        return
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            yield
    finally:
        _ONE_AT_A_TIME.release()
        found.extend(str(w.message) for w in caught)
