"""Outcomes of attempts: products or an error in one line, warnings, times and memory."""

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
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.models.errors import (
    ChangedError,
    FullError,
    ModelError,
    StorageError,
    SupersededError,
    format_count,
)
from calbatch.models.fits.writer import Product
from calbatch.models.statistics.product_statistics import ProductStatistics
from calbatch.models.storage.location import Location, location
from calbatch.models.storage.stamps import Stamp

EXPECTED = (CalibrationError, ModelError, OSError)
"""Errors of an exposure that are reported in one line, without a class name."""

_READING_MODULES = re.compile(
    r"calbatch\.(models\.(dq|opening|storage\.\w+|fits\.(?!writer|output_)\w+)"
    r"|calibrate\.(pars|references)|crds_client\..*)"
)
"""Modules that parse foreign data: an unexpected exception there means that the data is damaged."""


@dataclass(frozen=True)
class MemoryPeak:
    """Peak memory of a process.

    Attributes
    ----------
    process : str
        Host and process id.
    bytes : int
        Highest resident size so far.
    """

    process: str
    bytes: int


@dataclass(frozen=True, kw_only=True, repr=False)
class Outcome:
    """The outcome of an exposure.

    Attributes
    ----------
    number, path
        The exposure's position in the batch and its input.
    written : tuple of Product
        The files written.
    content : str
        Digest of the input's bytes, or its version; see
        `calbatch.models.storage.content_digests.content_digest`.
    error : str
        The reason for a failure, in one line; empty on success.
    details : str
        The traceback of a failure.
    kind : FailureKind
        The kind of failure.
    warnings : tuple of str
        Warnings, in order and each once.
    began : float
        Start time, in seconds since 1970.
    seconds, cpu : float
        Wall time, and CPU time of the process that calibrated the exposure.
    stages : mapping
        CPU seconds by step.
    peaks : tuple of MemoryPeak
        Peak memory of the processes that worked on the exposure.
    kept : bool
        True if its products already existed and were kept.
    cache_requests, cache_hits : int
        Numbers of requests for parts of references to the process's cache, and of hits.
    statistics : mapping
        Statistics of the files written, by path.
    """

    number: int
    path: Location
    written: tuple[Product, ...] = ()
    content: str = ""
    error: str = ""
    details: str = ""
    kind: FailureKind = FailureKind.FAULT
    warnings: tuple[str, ...] = ()
    began: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    peaks: tuple[MemoryPeak, ...] = ()
    kept: bool = False
    cache_requests: int = 0
    cache_hits: int = 0
    statistics: Mapping[str, ProductStatistics] = field(default_factory=dict)

    def __repr__(self) -> str:
        if self.failed:
            return f"<Outcome of {self.path.name}: failed, {self.error}>"
        products = format_count(len(self.written), "product")
        state = "kept" if self.kept else "done"
        return f"<Outcome of {self.path.name}: {state}, {products}>"

    @property
    def failed(self) -> bool:
        """True if the exposure failed."""
        return bool(self.error)

    @property
    def products(self) -> tuple[Location, ...]:
        """Paths or URLs of the files written."""
        return tuple(location(product.path) for product in self.written)


class Times(TypedDict):
    """The times of an outcome."""

    began: float
    seconds: float
    cpu: float


class Stopwatch:
    """Measures wall time and CPU time from its creation on."""

    def __init__(self) -> None:
        self.began = time.time()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def times(self) -> Times:
        """Return the times since the start, as fields of an outcome."""
        seconds, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"began": self.began, "seconds": seconds, "cpu": cpu}


def classify_failure(error: BaseException) -> FailureKind:
    """Return the kind of failure that an exception stands for."""
    if isinstance(error, LostError):
        return error.kind
    if isinstance(error, SupersededError):
        return FailureKind.LOST
    if isinstance(error, FullError):
        return FailureKind.FULL
    if isinstance(error, ChangedError):
        return FailureKind.CHANGED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FailureKind.FULL
    if isinstance(error, (StorageError, ConnectionError, TimeoutError)):
        return FailureKind.STORAGE
    return FailureKind.FAULT


def failure(
    number: int,
    path: Location,
    error: BaseException,
    clock: Stopwatch,
    remarks: Sequence[str] = (),
) -> Outcome:
    """Return the outcome of a failed exposure.

    Parameters
    ----------
    number, path
        The exposure's position in the batch and its input.
    error : exception
        The reason for the failure.
    clock : Stopwatch
        Started together with the attempt.
    remarks : sequence of str
        Warnings collected until then.
    """
    remarks = tuple(dict.fromkeys(remarks))
    text = describe_failure(error, path)
    if isinstance(error, ReferenceFileError):
        # A header value that was rejected is often the reason why no reference was found.
        plain, escaped = f"{path}: ", f"{escape_text(str(path))}: "
        values = [
            remark.removeprefix(plain).removeprefix(escaped)
            for remark in remarks
            if ": must " in remark
        ]
        text = "; ".join([text, *values])
    return Outcome(
        number=number,
        path=path,
        error=text,
        details="".join(traceback.format_exception(error)),
        kind=classify_failure(error),
        warnings=remarks,
        **clock.times(),
        peaks=(peak_memory(),),
    )


def describe_failure(error: BaseException, path: Location) -> str:
    """Return the reason for a failure in one line that begins with the file's name."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"not enough memory: {text}"
    elif not isinstance(error, EXPECTED):
        text = _describe_unexpected(error, f"{type(error).__name__}: {text}")
    name = escape_text(str(path))
    text = escape_text(text.replace(" ".join(str(path).split()), name, 1))
    return text if text.startswith(name) else f"{name}: {text}"


def _describe_unexpected(error: BaseException, text: str) -> str:
    """Return the message for an unexpected exception, with its likely cause.

    Libraries raise arbitrary exceptions for damaged files. If the exception passed through a module
    that parses foreign data, the message therefore blames the file rather than the code.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not any(_READING_MODULES.fullmatch(f.f_globals.get("__name__", "")) for f in frames):
        return f"{text} (a defect in calbatch or in one of your steps)"
    stamps = [value for f in frames for value in f.f_locals.values() if isinstance(value, Stamp)]
    name = f"{stamps[-1].path}: " if stamps else ""
    return f"{name}cannot be read, and may be damaged: {text}"


def peak_memory() -> MemoryPeak:
    """Return the peak memory of this process so far."""
    return MemoryPeak(f"{socket.gethostname()}:{os.getpid()}", _read_peak_rss())


def _read_peak_rss() -> int:
    # A child's ru_maxrss starts at its parent's size; on Linux, VmHWM is the process's own.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:  # pragma: no cover - Linux alone has /proc/self
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next((s for s in status.splitlines() if s.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024


class _Collector(logging.Handler):
    """Collects the warnings that steps log in the creating thread."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.found, self.thread = found, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Collect a message."""
        if record.thread == self.thread:
            self.found.append(record.getMessage())


_ONE_AT_A_TIME = threading.Lock()
_collecting = threading.local()


def is_collecting_warnings() -> bool:
    """Return whether this thread is the one that collects Python warnings."""
    return getattr(_collecting, "is_on", False)


@contextmanager
def collect_warnings(remarks: list[str]) -> Iterator[None]:
    """Collect Python warnings and the warnings that steps log about an exposure.

    Warnings meant for developers, such as deprecations and NumPy's runtime warnings, are left out.
    """
    collector, log = _Collector(remarks), logging.getLogger("calbatch")
    log.addHandler(collector)
    try:
        with _catch_warnings(remarks):
            yield
    finally:
        log.removeHandler(collector)


@contextmanager
def _catch_warnings(remarks: list[str]) -> Iterator[None]:
    # Python's warning filters are global to the process: only one thread at a time collects.
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        yield
        return
    caught: list[warnings.WarningMessage] = []
    _collecting.is_on = True
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            yield
    finally:
        _collecting.is_on = False
        _ONE_AT_A_TIME.release()
        remarks.extend(str(w.message) for w in caught)
