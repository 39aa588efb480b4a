"""The kernels that an exposure needs, and running them on a few rows, which compiles them."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import dask
import numpy as np
from dask.local import get_sync

from calbatch.calibrate import hooks
from calbatch.calibrate.products import without_files
from calbatch.calibrate.references import References
from calbatch.calibrate.registry import is_built_in
from calbatch.calibrate.step import Step
from calbatch.models.jit import call_at_compilation
from calbatch.models.model import DataModel
from calbatch.models.tiling.graphs import TRIAL

ROWS = 8
"""Rows to calibrate in order to compile every kernel that an exposure needs."""

ALWAYS = ""
"""The part of the kernels that do not belong to a step."""


class CompilationNeededError(BaseException):
    """A kernel is not in numba's cache. No step may catch this error."""


@contextmanager
def refuse_compilation() -> Iterator[None]:
    """Raise `CompilationNeededError` where this thread would compile a kernel."""
    thread = threading.get_ident()

    def refuse() -> None:
        if threading.get_ident() == thread:  # other threads may compile theirs
            raise CompilationNeededError

    with call_at_compilation(refuse):
        yield


def run_kernels(step: Step, exposure: DataModel, references: References) -> None:
    """Run every kernel that the exposure needs."""
    _warm_modules(step)
    if is_built_in(step):  # others could crash the batch
        _calibrate_rows(step, exposure, references)


def _warm_modules(step: Step) -> None:
    for module in kernel_modules(step):
        module.warm_kernels()


def compile_part(step: Step, exposure: DataModel, references: References, part: str) -> bool:
    """Compile the kernels of one step, or those of no step.

    Return False if that failed: the calibration of the exposure reports its errors, and a step may
    be unable to run without the others.
    """
    try:
        if part == ALWAYS:
            _warm_modules(step)
        else:
            run = _join_needed(step, exposure, part)
            _calibrate_rows(_skip_others(step, run), exposure, references)
    except Exception:
        return False
    return True


def needed_types(step: Step, exposure: DataModel, part: str) -> set[str]:
    """Return the types of references without which a part of the kernels cannot be compiled."""
    run = set() if part == ALWAYS else _join_needed(step, exposure, part)
    instrument = exposure.meta.instrument.name
    return set().union(*(step.steps()[alias].wanted_references(instrument) for alias in run))


def _join_needed(step: Step, exposure: DataModel, part: str) -> set[str]:
    """Return a part and the earlier ones without which it cannot run."""
    parts = list_parts(step, exposure.meta.instrument.name)[1:]
    earlier = parts[: parts.index(part)] if part in parts else ()
    return {part, *(p for p in earlier if step.steps()[p].changes_frame(exposure))}


def list_parts(step: Step, instrument: str | None) -> Sequence[str]:
    """Return the parts of the kernels; the last ones, the fits of ramps, take longest to compile.

    They are `ALWAYS` and the aliases of a pipeline's steps, in the order in which an exposure of
    the instrument needs them.
    """
    aliases = {id(part): alias for alias, part in step.steps().items()}
    steps = [p for p in step.steps_for(instrument) if not p.steps()]  # without a chain's pipelines
    return [ALWAYS, *(aliases[id(p)] for p in steps if not p.skip)]


def _skip_others(step: Step, aliases: Collection[str]) -> Step:
    """Return a pipeline that skips all steps but some."""
    twin = without_files(step)
    chosen = [twin.steps()[alias] for alias in aliases]
    for part in twin.steps().values():
        part.skip = not any(each in chosen for each in (part, *part.steps().values()))
    return twin


def _calibrate_rows(step: Step, exposure: DataModel, references: References) -> None:
    twin = without_files(hooks.without_hooks(step))  # hooks run for exposures only
    twin.references = references
    twin.save_results = True
    with dask.config.set({"calbatch.tile-rows": ROWS, TRIAL: True, "scheduler": get_sync}):
        twin.run_lazily(exposure)
        for _, model in twin.products():
            np.asarray(getattr(model, model.primary)[..., :ROWS, :])


def kernel_digest(step: Step, exposure: DataModel) -> str:
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
