"""Compile the kernels once, before workers start that would each compile them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from types import ModuleType

import dask
import numpy as np
from dask.local import get_sync
from numba.core import event

from calbatch.calibrate import hooks
from calbatch.calibrate.products import without_files
from calbatch.calibrate.references import References
from calbatch.calibrate.registry import is_built_in
from calbatch.calibrate.step import Step
from calbatch.models import datamodels, jit
from calbatch.models.model import DataModel
from calbatch.models.storage.location import Location
from calbatch.models.tiling.graphs import TRIAL

MESSAGE = "compiling kernels: once per machine, it can take a minute"
ROWS = 8
"""Rows to calibrate in order to compile every kernel that an exposure needs."""


class _CompilationNotice(event.Listener):
    """Report the first compilation as it begins."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self.done = tell, False

    def on_start(self, event: event.Event) -> None:
        """Report the compilation unless one has been reported."""
        if not self.done:
            self.done = True
            self.tell(MESSAGE)

    def on_end(self, event: event.Event) -> None:
        """Do nothing."""


def compile_kernels(
    report: Callable[[str], None], step: Step, path: Location, references: References
) -> None:
    """Compile the kernels that an exposure needs, unless numba's cache has them.

    It calibrates a few rows and discards the result, which avoids a list of kernels and types that
    could go out of date. Errors of the exposure are ignored here: its calibration reports them.

    Parameters
    ----------
    report : callable
        Called with a message when a compilation begins, since it takes a while.
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
        with event.install_listener("numba:compile", _CompilationNotice(report)):
            for module in kernel_modules():
                module.warm_kernels()
            if is_built_in(step):  # others could crash the batch
                _calibrate_rows(step, exposure, references)
        done.touch()
    except Exception:  # its own calibration reports the error
        return


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
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _algorithm_of(step: Step) -> str:
    """Return the value of a step's parameter ``algorithm``, if it has one."""
    return str(getattr(step, "algorithm", ""))


def kernel_modules() -> list[ModuleType]:
    """Return the imported modules with kernels: those with a function ``warm_kernels``."""
    modules = {
        module.warm_kernels: module
        for name, module in sorted(sys.modules.items())
        if name.startswith("calbatch.") and hasattr(module, "warm_kernels")
    }
    return list(modules.values())
