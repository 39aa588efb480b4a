"""Compile the kernels once, before workers start that would each compile them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, cast

import dask
import numpy as np
import psutil
from dask.local import get_sync
from dask.system import CPU_COUNT
from numba.core import event

from calbatch.calibrate import hooks
from calbatch.calibrate.products import without_files
from calbatch.calibrate.references import References
from calbatch.calibrate.registry import is_built_in
from calbatch.calibrate.step import Step
from calbatch.models import datamodels, jit
from calbatch.models.model import DataModel
from calbatch.models.storage.location import Location
from calbatch.models.temporary import open_process_folder
from calbatch.models.tiling.graphs import TRIAL
from calbatch.models.tiling.portable import pack, unpack

MESSAGE = "compiling kernels: once per machine, it can take a minute"
ROWS = 8
"""Rows to calibrate in order to compile every kernel that an exposure needs."""

MOST_PROCESSES = 4
"""Processes that compile; with more, all would wait for the one that compiles the fit of ramps."""

PROCESS_BYTES = 1 << 30
"""Memory of a process that compiles."""

PATIENCE = 600.0
"""Seconds after which this process compiles alone."""

HELPER = "from calbatch.calibrate import warm; warm.compile_for_another()"
ALWAYS = ""
"""The part of the kernels that do not belong to a step."""


class _CompilationNeededError(BaseException):
    """A kernel is not in numba's cache. No step may catch this error."""


class _Refusal(event.Listener):
    """Interrupts a trial as soon as it compiles a kernel; other threads may compile theirs."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def on_start(self, event: event.Event) -> None:
        """Raise the error in the thread of the trial."""
        if threading.get_ident() == self.thread:
            raise _CompilationNeededError

    def on_end(self, event: event.Event) -> None:
        """Do nothing."""


def compile_kernels(
    report: Callable[[str], None], step: Step, path: Location, references: References
) -> None:
    """Compile the kernels that an exposure needs, unless numba's cache has them.

    It calibrates a few rows and discards the result, which avoids a list of kernels and types that
    could go out of date. If that needs a compilation, several processes first compile the kernels
    of one step each, with the other steps skipped. Errors of the exposure are ignored here: its
    calibration reports them.

    Parameters
    ----------
    report : callable
        Called with a message when a compilation begins, since it takes a while, and when it ends.
    step : Step
        The configured step or pipeline.
    path : Path or Url
        The exposure.
    references : References
        Its references.
    """
    try:
        exposure = datamodels.open(path)
        done = jit.kernel_folder() / f"compiled-{_kernel_digest(step, exposure)}"
        if done.exists():
            return
        try:
            with event.install_listener("numba:compile", _Refusal()):
                _run_kernels(step, exposure, references)
        except _CompilationNeededError:
            report(MESSAGE)
            begun = time.monotonic()
            with suppress(Exception):  # this process alone takes longer
                _compile_parts(step, exposure, path, references)
            _run_kernels(step, exposure, references)
            report(f"kernels compiled in {time.monotonic() - begun:.0f} s")
        done.touch()
    except Exception:  # its own calibration reports the error
        return


def _run_kernels(step: Step, exposure: DataModel, references: References) -> None:
    """Run every kernel that the exposure needs."""
    _warm_modules(step)
    if is_built_in(step):  # others could crash the batch
        _calibrate_rows(step, exposure, references)


def _warm_modules(step: Step) -> None:
    for module in kernel_modules(step):
        module.warm_kernels()


def _compile_parts(step: Step, exposure: DataModel, path: Location, references: References) -> None:
    """Compile the kernels of all steps, in this process and in others."""
    parts = [*_parts(step, exposure), ALWAYS]
    affordable = psutil.virtual_memory().available // PROCESS_BYTES
    others = min(CPU_COUNT, MOST_PROCESSES, len(parts), affordable) - 1
    if others < 1 or not is_built_in(step):
        return
    with (
        open_process_folder("compiling") as claims,
        _start_helpers(others, pack((hooks.without_hooks(step), path, references, str(claims)))),
    ):
        _compile_unclaimed(step, exposure, references, claims)


@contextmanager
def _start_helpers(count: int, order: bytes) -> Iterator[None]:
    """Run processes that compile as well, and wait for them."""
    # modules of the working folder must not be imported, such as a user's own models.py
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    helpers = []
    try:
        for _ in range(count):
            helper = subprocess.Popen(
                [sys.executable, "-c", HELPER], env=environment, stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            helpers.append(helper)
        for helper in helpers:
            with suppress(BrokenPipeError), cast(IO[bytes], helper.stdin) as stream:
                stream.write(order)
        yield
        deadline = time.monotonic() + PATIENCE
        for helper in helpers:
            helper.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()


def compile_for_another() -> None:
    """Compile kernels for another process, which started this one and wrote its order to stdin."""
    step, path, references, claims = unpack(sys.stdin.buffer.read())
    _compile_unclaimed(step, datamodels.open(path), references, Path(claims))


def _compile_unclaimed(
    step: Step, exposure: DataModel, references: References, claims: Path
) -> None:
    """Compile the kernels of each step that no other process has claimed; the last ones first.

    The fits of ramps take longest.
    """
    for part in reversed([ALWAYS, *_parts(step, exposure)]):
        try:
            (claims / f"part-{part}").touch(exist_ok=False)
        except FileExistsError:
            continue
        with suppress(Exception):  # without the other steps, it may be unable to run
            if part == ALWAYS:
                _warm_modules(step)
            else:
                _calibrate_rows(_skip_others(step, part), exposure, references)


def _parts(step: Step, exposure: DataModel) -> Sequence[str]:
    """Return the aliases of a pipeline's steps, in the order in which an exposure needs them."""
    aliases = {id(part): alias for alias, part in step.steps().items()}
    wanted = step.steps_for(exposure.meta.instrument.name)
    return [aliases[id(part)] for part in wanted if not part.skip]


def _skip_others(step: Step, alias: str) -> Step:
    """Return a pipeline that skips all steps but one."""
    twin = without_files(step)
    for name, part in twin.steps().items():
        part.skip = name != alias
    return twin


def _calibrate_rows(step: Step, exposure: DataModel, references: References) -> None:
    twin = without_files(hooks.without_hooks(step))  # hooks run for exposures only
    twin.references = references
    twin.save_results = True
    with dask.config.set({"calbatch.tile-rows": ROWS, TRIAL: True, "scheduler": get_sync}):
        twin.run_lazily(exposure)
        for _, model in twin.products():
            np.asarray(getattr(model, model.primary)[..., :ROWS, :])


def _kernel_digest(step: Step, exposure: DataModel) -> str:
    """Return a digest of the facts that decide which kernels run, and on which types."""
    meta = exposure.meta.exposure
    facts = (
        type(step).__qualname__,
        sorted((n, str(s.skip), _algorithm_of(s)) for n, s in step.steps().items()),
        _algorithm_of(step),
        exposure.meta.instrument.name,
        (meta.nframes, meta.ngroups, meta.nints, meta.zero_frame),
        exposure.shape[-2:],
        [module.__name__ for module in kernel_modules(step)],
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _algorithm_of(step: Step) -> str:
    """Return the value of a step's parameter ``algorithm``, if it has one."""
    return str(getattr(step, "algorithm", ""))


def kernel_modules(step: Step) -> list[ModuleType]:
    """Return the imported modules whose kernels a step needs, of those that can run them alone.

    These have a function ``warm_kernels``, and in ``NEEDED_WITH`` the parameters of steps that have
    to be true, if any: kernels for rare events in the data run in few trials.
    """
    active = [part for part in (step, *step.steps().values()) if not part.skip]
    modules = {
        module.warm_kernels: module
        for name, module in sorted(sys.modules.items())
        if name.startswith("calbatch.") and hasattr(module, "warm_kernels")
    }
    return [
        module
        for module in modules.values()
        if not hasattr(module, "NEEDED_WITH")
        or any(getattr(part, name, False) for part in active for name in module.NEEDED_WITH)
    ]
