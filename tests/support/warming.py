"""Compile the kernels of detector1 before the tests, on all cores.

Otherwise each process compiles them in its first tests.

>>> python -m support.warming
"""

import multiprocessing
import os
from contextlib import suppress

import numpy as np

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel
from support.simulated import small_exposure

SLOWEST = ("jump", "ramp_fit", "linearity", "saturation")
"""The steps that take longest to compile, which are compiled first."""


def compile_step(name: str) -> None:
    """Run a step on a raw ramp, and compute all arrays of its results."""
    step = Detector1Pipeline().steps()[name]
    with suppress(StepError):  # a step that does not take a raw ramp is compiled by its tests
        result = step(RampModel(os.environ["EXPOSURE"]))
        for model in [result] if isinstance(result, DataModel) else result:
            for field in model.schema.fields:
                if model.has(field) and not model.schema.fields[field].is_table:
                    np.asarray(getattr(model, field))


def main() -> None:
    """Compile all steps, each in one process."""
    exposure = small_exposure("NRCA1", nints=2, ngroups=5)
    os.environ.update(exposure.set.environment(), EXPOSURE=str(exposure.path))
    others = [name for name in Detector1Pipeline().steps() if name not in SLOWEST]
    context = multiprocessing.get_context("fork")  # whose processes import nothing again
    with context.Pool(os.cpu_count()) as pool:
        pool.map(compile_step, [*SLOWEST, *others], chunksize=1)


if __name__ == "__main__":
    main()
