"""Compiling the kernels of a batch once, while headers are read and references are fetched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from dask.system import CPU_COUNT

from calbatch.calibrate import hooks
from calbatch.calibrate.compilers import Compilers, Order
from calbatch.calibrate.references import References, ResolvedReferences
from calbatch.calibrate.registry import is_built_in
from calbatch.calibrate.step import Step
from calbatch.calibrate.warm import (
    CompilationNeededError,
    kernel_digest,
    list_parts,
    refuse_compilation,
    run_kernels,
)
from calbatch.models import datamodels, jit
from calbatch.models.model import DataModel
from calbatch.models.storage.location import Location
from calbatch.models.storage.memory import memory_limit

MESSAGE = "compiling kernels: once per machine, it can take a minute"
MOST_PROCESSES = 4
"""Processes that compile; with more, all would wait for the one that compiles the fit of ramps."""

PROCESS_BYTES = 1 << 30
"""Memory of a process that compiles."""

PATIENCE = 600.0
"""Seconds after which this process compiles alone."""

POLL = 0.05
"""Seconds between looks at what other processes have done."""

REPORT_EVERY = 10.0
"""Seconds between reports of progress."""


class Compilation:
    """The compilation of the kernels that a batch needs; leaving it ends what is not done.

    Kernels are found by the calibration of a few rows, whose result is discarded. This avoids a
    list of kernels and types that could go out of date. If something has to be compiled, several
    processes compile the kernels of one step each, with the other steps skipped. On a machine that
    has compiled nothing, they start when the first header has been read, with the steps that need
    no references. They take another step as soon as its own references are there.

    Parameters
    ----------
    report : callable
        Called with messages, since it takes a while.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._guard = threading.Lock()  # threads that read headers, or plan, may begin
        self._is_first = not any(jit.kernel_folder().glob("compiled-*"))
        self._is_prepared = not self._is_first
        self._is_asked = False
        self._compilers: Compilers | None = None
        self._is_announced = False

    def __enter__(self) -> Compilation:
        return self

    def __exit__(self, *fault: object) -> None:
        with self._guard:
            self._is_prepared = self._is_asked = True
            self._end()

    def _end(self) -> None:
        if self._compilers is not None:
            self._compilers.end()
        self._compilers = None

    def prepare(self, step: Step, path: Location, exposure: DataModel) -> None:
        """Begin to compile for a new exposure whose references are not chosen yet.

        Only the first call counts, and only on a machine that has compiled nothing: elsewhere, what
        has to be compiled is known when the references are chosen.

        Parameters
        ----------
        step : Step
            The step or pipeline, as configured by the user.
        path : Path or Url
            The exposure.
        exposure : DataModel
            The exposure, opened.
        """
        if self._is_prepared:  # most exposures do not wait for the guard
            return
        with self._guard, suppress(Exception):  # its calibration reports the error
            if not self._is_prepared:
                self._is_prepared = True
                self._send_order(step, exposure, path, None)
                if self._compilers is not None:
                    self._announce()

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
            exposure = datamodels.open(path) if self._is_first or is_fetching else None
            self._is_prepared = self._is_asked = True
            if exposure is not None and not _record_of(step, exposure).exists():
                self._send_order(step, exposure, path, references)
            if self._compilers is not None and self._is_first:
                self._announce()

    def _send_order(
        self,
        step: Step,
        exposure: DataModel,
        path: Location,
        references: ResolvedReferences | None,
    ) -> None:
        """Send other processes their work; this process compiles alone if there are none."""
        kind = kernel_digest(step, exposure)
        parts = list_parts(step, exposure.meta.instrument.name)
        order = Order(kind, hooks.without_hooks(step), path, references, parts)
        if self._compilers is not None:
            self._compilers.send(order)
            return
        affordable = min(psutil.virtual_memory().available, memory_limit()) // PROCESS_BYTES
        count = min(CPU_COUNT, MOST_PROCESSES, len(parts), affordable)
        if is_built_in(step) and count > 0 and len(parts) > 1:
            with suppress(OSError):
                self._compilers = Compilers(count, order)

    def describe(self) -> str:
        """Return the progress in words; "" while nothing has had to be compiled."""
        compilers = self._compilers  # another thread may end them
        return compilers.describe() if compilers is not None else ""

    def finish(self, step: Step, path: Location, references: ResolvedReferences) -> None:
        """Compile what an exposure still needs, and return when all is compiled.

        Errors of the exposure are ignored here: its calibration reports them.

        Parameters
        ----------
        step, path
            See `begin`.
        references : ResolvedReferences
            Its references, whose files exist.
        """
        with self._guard:
            self._is_prepared = self._is_asked = True
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
        self, step: Step, exposure: DataModel, path: Location, references: ResolvedReferences
    ) -> None:
        begun = time.monotonic()
        has_begun = self._compilers is not None  # and waited, so that its time says nothing
        if not has_begun and not _is_needed(step, exposure, references):
            return
        with suppress(Exception):  # this process alone takes longer
            if not has_begun:
                self._announce()
            self._send_order(step, exposure, path, references)
            if self._compilers is not None:
                self._wait_for(self._compilers)
        self._end()
        run_kernels(step, exposure, references)
        if self._is_announced:
            seconds = "" if has_begun else f" in {time.monotonic() - begun:.0f} s"
            self._report(f"kernels compiled{seconds}")

    def _announce(self) -> None:
        if not self._is_announced:
            self._report(MESSAGE)
        self._is_announced = True

    def _wait_for(self, compilers: Compilers) -> None:
        """Wait until the other processes have ended, and report their progress."""
        compilers.settle()
        start = reported = time.monotonic()
        while compilers.are_running() and (now := time.monotonic()) < start + PATIENCE:
            if compilers.describe():
                self._announce()
                if now - reported >= REPORT_EVERY:
                    reported = now
                    self._report(compilers.describe())
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
