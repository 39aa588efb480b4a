"""Compiling the kernels of a batch once, in several processes, while references are fetched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from dask.system import CPU_COUNT
from numba.core import event

from calbatch.calibrate import hooks
from calbatch.calibrate.references import References, ResolvedReferences
from calbatch.calibrate.registry import is_built_in
from calbatch.calibrate.step import Step
from calbatch.calibrate.warm import (
    CompilationNeededError,
    compile_part,
    kernel_digest,
    list_parts,
    needed_files,
    refuse_compilation,
    run_kernels,
)
from calbatch.models import datamodels, jit
from calbatch.models.model import DataModel
from calbatch.models.storage.location import Location
from calbatch.models.storage.memory import memory_limit
from calbatch.models.temporary import open_process_folder
from calbatch.models.tiling.portable import pack, unpack

MESSAGE = "compiling kernels: once per machine, it can take a minute"
MOST_PROCESSES = 4
"""Processes that compile; with more, all would wait for the one that compiles the fit of ramps."""

PROCESS_BYTES = 1 << 30
"""Memory of a process that compiles."""

PATIENCE = 600.0
"""Seconds after which this process compiles alone."""

KILL_SECONDS = 5.0
"""Seconds to wait for the end of a process that was killed."""

POLL = 0.05
"""Seconds between looks at what other processes have done."""

REPORT_EVERY = 10.0
"""Seconds between reports of progress."""

HELPER = "from calbatch.calibrate import compilation; compilation.compile_for_another()"
_ORDER, _NEEDED, _SETTLED = "order", "needed", "settled"
_CLAIMED, _DONE = "claimed-", "done-"


class Compilation:
    """The compilation of the kernels that a batch needs; leaving it ends what is not done.

    Kernels are found by the calibration of a few rows, whose result is discarded. This avoids a
    list of kernels and types that could go out of date. If something has to be compiled, several
    processes compile the kernels of one step each, with the other steps skipped. They begin before
    the references are fetched, and take a step as soon as its own references are there.

    Parameters
    ----------
    report : callable
        Called with messages, since it takes a while.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._guard = threading.Lock()  # a thread that plans may begin
        self._is_asked = False
        self._helpers: _Helpers | None = None
        self._kind = ""
        self._is_announced = False

    def __enter__(self) -> Compilation:
        return self

    def __exit__(self, *fault: object) -> None:
        with self._guard:
            self._is_asked = True
            self._end()

    def _end(self) -> None:
        if self._helpers is not None:
            self._helpers.end()
        self._helpers = None

    def begin(
        self, step: Step, path: Location, references: ResolvedReferences, *, is_fetching: bool
    ) -> None:
        """Begin to compile for an exposure that is likely to be calibrated: the first readable one.

        Nothing begins if this machine has compiled for such exposures before, nor, unless files are
        fetched meanwhile, if it has compiled for others: their kernels may suffice.

        Parameters
        ----------
        step : Step
            The configured step or pipeline.
        path : Path or Url
            The exposure.
        references : ResolvedReferences
            Its references; some of their files may not exist yet.
        is_fetching : bool
            True if files are about to be fetched.
        """
        with self._guard, suppress(Exception):  # its calibration reports the error
            if self._is_asked:
                return
            is_first = not any(jit.kernel_folder().glob("compiled-*"))
            exposure = datamodels.open(path) if is_first or is_fetching else None
            self._is_asked = True
            if exposure is not None and not _record_of(step, exposure).exists():
                self._start(step, exposure, path, references)
            if self._helpers is not None and is_first:
                self._announce()

    def _start(
        self, step: Step, exposure: DataModel, path: Location, references: References
    ) -> None:
        """Start processes that compile; this process compiles alone if there are none."""
        self._kind = kernel_digest(step, exposure)
        if not is_built_in(step):
            return
        parts = list_parts(step, exposure.meta.instrument.name)
        affordable = min(psutil.virtual_memory().available, memory_limit()) // PROCESS_BYTES
        count = min(CPU_COUNT, MOST_PROCESSES, len(parts), affordable)
        if count < 1 or len(parts) == 1:
            return
        order = pack((hooks.without_hooks(step), path, references))
        with suppress(OSError):
            self._helpers = _Helpers(count, order, parts)

    def describe(self) -> str:
        """Return the progress in words; "" while nothing has had to be compiled."""
        helpers = self._helpers  # another thread may end them
        return helpers.describe() if helpers is not None else ""

    def finish(self, step: Step, path: Location, references: References) -> None:
        """Compile what an exposure still needs, and return when all is compiled.

        Errors of the exposure are ignored here: its calibration reports them.

        Parameters
        ----------
        step, path
            See `begin`.
        references : References
            Its references, whose files exist.
        """
        with self._guard:
            self._is_asked = True
        try:
            exposure = datamodels.open(path)
            record = _record_of(step, exposure)
            if not record.exists():
                self._compile(step, exposure, path, references)
                record.touch()
        except Exception:  # its own calibration reports the error
            return
        finally:
            self._end()

    def _compile(
        self, step: Step, exposure: DataModel, path: Location, references: References
    ) -> None:
        begun = time.monotonic()
        if self._kind != kernel_digest(step, exposure):
            self._end()
        has_begun = self._helpers is not None  # and waited for files, so that its time says nothing
        if not has_begun and not _is_needed(step, exposure, references):
            return
        with suppress(Exception):  # this process alone takes longer
            if not has_begun:
                self._announce()
                self._start(step, exposure, path, references)
            if self._helpers is not None:
                self._wait_for(self._helpers)
        self._end()
        run_kernels(step, exposure, references)
        if self._is_announced:
            seconds = "" if has_begun else f" in {time.monotonic() - begun:.0f} s"
            self._report(f"kernels compiled{seconds}")

    def _announce(self) -> None:
        if not self._is_announced:
            self._report(MESSAGE)
        self._is_announced = True

    def _wait_for(self, helpers: _Helpers) -> None:
        """Wait until the other processes have ended, and report their progress."""
        helpers.settle()
        start = reported = time.monotonic()
        while helpers.are_running() and (now := time.monotonic()) < start + PATIENCE:
            if helpers.describe():
                self._announce()
                if now - reported >= REPORT_EVERY:
                    reported = now
                    self._report(helpers.describe())
            time.sleep(POLL)


def _record_of(step: Step, exposure: DataModel) -> Path:
    """Return the file that records the compilation for such exposures."""
    return jit.kernel_folder() / f"compiled-{kernel_digest(step, exposure)}"


def _is_needed(step: Step, exposure: DataModel, references: References) -> bool:
    """Run the kernels of an exposure; return True if one would have to be compiled."""
    try:
        with refuse_compilation():
            run_kernels(step, exposure, references)
    except CompilationNeededError:
        return True
    return False


class _Helpers:
    """Processes that compile, and the folder through which they share the parts of the work.

    Parameters
    ----------
    count : int
        Number of processes.
    order : bytes
        Their order: the packed step, path and references of an exposure.
    parts : sequence of str
        The parts.
    """

    def __init__(self, count: int, order: bytes, parts: Sequence[str]) -> None:
        self._parts = parts
        self._stack = ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self._folder = self._stack.enter_context(open_process_folder("compiling"))
            self._stack.callback(self._kill)
            (self._folder / _ORDER).write_bytes(order)
            for _ in range(count):
                self._processes.append(_start_helper(self._folder))
        except BaseException:
            self.end()
            raise

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):  # it may wait for a server's disk
                process.wait(KILL_SECONDS)

    def end(self) -> None:
        """End the processes, and remove their folder."""
        self._stack.close()

    def settle(self) -> None:
        """Tell the processes that no more files are fetched."""
        (self._folder / _SETTLED).touch()

    def are_running(self) -> bool:
        """Return whether any process has not ended."""
        return any(process.poll() is None for process in self._processes)

    def describe(self) -> str:
        """Return how many parts are compiled; "" while nothing has had to be compiled."""
        if not (self._folder / _NEEDED).exists():
            return ""
        done = len(list(self._folder.glob(f"{_DONE}*")))
        return f"kernels: {done} of {len(self._parts)} parts compiled"


def _start_helper(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that compiles. Its stdin stays open until this process ends."""
    # modules of the working folder must not be imported, such as a user's own models.py
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", HELPER, str(folder)], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


class _Note(event.Listener):
    """Leaves a file when a kernel is compiled."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def on_start(self, event: event.Event) -> None:
        """Leave the file."""
        self._place.touch()

    def on_end(self, event: event.Event) -> None:
        """Do nothing."""


def compile_for_another() -> None:
    """Compile kernels for another process, which started this one and waits, or until it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(sys.argv[1])
    step, path, references = unpack((folder / _ORDER).read_bytes())
    exposure = datamodels.open(path)
    with event.install_listener("numba:compile", _Note(folder / _NEEDED)):
        _compile_unclaimed(step, exposure, references, folder)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # the lock of a stream would be held when this process ends
    os._exit(1)


def _compile_unclaimed(
    step: Step, exposure: DataModel, references: ResolvedReferences, folder: Path
) -> None:
    """Compile the parts that no other process has claimed, as their references arrive."""
    instrument = exposure.meta.instrument.name
    left = list(reversed(list_parts(step, instrument)))
    while left:
        is_settled = (folder / _SETTLED).exists()
        ready = [p for p in left if _are_there(needed_files(step, instrument, references, p))]
        for part in ready[:1]:
            left.remove(part)
            with suppress(FileExistsError):
                (folder / f"{_CLAIMED}{part}").touch(exist_ok=False)
                compile_part(step, exposure, references, part)
                (folder / f"{_DONE}{part}").touch()
        if not ready:
            if is_settled or not (folder / _ORDER).exists():
                return
            time.sleep(POLL)


def _are_there(files: Sequence[Path]) -> bool:
    return all(file.exists() for file in files)
