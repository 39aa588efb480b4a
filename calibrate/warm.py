"""Compiling the kernels once, before workers start: together they would each compile them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from types import ModuleType

import dask
import numpy as np
from numba.core import event

from calbatch.calibrate import hooks
from calbatch.calibrate.references import References
from calbatch.calibrate.step import Step
from calbatch.models import datamodels, jit
from calbatch.models.model import DataModel
from calbatch.models.storage.location import Location

MESSAGE = "compiling kernels: once on this machine, it can take a minute"
ROWS = 8
"""Rows that are calibrated to have everything compiled that an exposure needs."""


class _Told(event.Listener):
    """Says once that a kernel is being compiled, as its compilation begins."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self.done = tell, False

    def on_start(self, event: event.Event) -> None:
        """Say it, unless it has been said."""
        if not self.done:
            self.done = True
            self.tell(MESSAGE)

    def on_end(self, event: event.Event) -> None:
        """Say nothing."""


def compile_kernels(
    tell: Callable[[str], None], step: Step, path: Location, references: References
) -> None:
    """Compile the kernels that an exposure needs, unless numba's cache has them.

    A few of its rows are calibrated and thrown away: no list of kernels and their types could go
    out of date. What is wrong with the exposure is told when its turn comes.

    Parameters
    ----------
    tell : callable
        Given a message where there is something to compile, so that nobody wonders what takes the
        time.
    step : Step
        The configured step or pipeline.
    path : Path or Url
        The exposure.
    references : References
        Its references.
    """
    try:
        exposure = datamodels.open(path)
        done = jit.kernel_folder() / f"compiled-{_kind(step, exposure)}"
        if done.exists():
            return
        with event.install_listener("numba:compile", _Told(tell)):
            for module in kernel_modules():
                module.warm_kernels()
            if type(step).__module__.startswith("calbatch."):  # others might crash the batch
                _calibrate_rows(step, exposure, references)
        done.touch()
    except Exception:  # its own calibration says what is wrong
        return


def _calibrate_rows(step: Step, exposure: DataModel, references: References) -> None:
    twin = hooks.without_hooks(step)  # they are run for exposures, and not for this
    twin.references = references
    twin.save_results = True
    with dask.config.set({"calbatch.tile-rows": ROWS, "scheduler": "sync"}):
        twin.run_lazily(exposure)
        for _, model in twin.products():
            np.asarray(getattr(model, model.primary)[..., :ROWS, :])


def _kind(step: Step, exposure: DataModel) -> str:
    """Return a digest of what decides which kernels run, and on which types."""
    taken = exposure.meta.exposure
    says = (
        type(step).__qualname__,
        sorted((n, str(s.skip)) for n, s in step.steps().items()),
        exposure.meta.instrument.name,
        (taken.nframes, taken.ngroups, taken.nints),
        exposure.shape[-2:],
    )
    return hashlib.sha256(repr(says).encode()).hexdigest()[:16]


def kernel_modules() -> list[ModuleType]:
    """Return the imported modules that have kernels: those with a function ``warm_kernels``."""
    found = {
        module.warm_kernels: module
        for name, module in sorted(sys.modules.items())
        if name.startswith("calbatch.") and hasattr(module, "warm_kernels")
    }
    return list(found.values())
