"""Shapes: CPU time per sample for exposures of different shapes."""

import statistics

from inputs import load_or_simulate
from scripts import run_script
from setting import QUIET, Setting
from tables import Table

from calbatch.calibrate.simulate import SimulationSpec, Sky
from calbatch.cluster.sites.local import WORKER_ENVIRONMENT

SHAPES = (
    (1, 10, 2048, 2048),
    (10, 10, 512, 512),
    (50, 10, 256, 256),
    (50, 45, 128, 128),  # cropped from one that took jwst's jump step more than an hour
    (1, 200, 256, 256),
    (150, 5, 256, 256),  # with so many integrations, jump uses sigma clipping
    (400, 3, 128, 128),
)
"""Integrations, groups, rows, columns."""


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    columns = ["integrations x groups x rows x columns", "million samples", "CPU s",
               "ns per sample", "relative to the first"]  # fmt: skip
    table = Table("CPU time per sample by shape of the exposure, one process", columns)
    first = None
    for shape in SHAPES[: 4 if setting.quick else None]:
        samples, seconds = _calibrate(setting, shape)
        per_sample = seconds / samples * 1e9
        first = first or per_sample
        name = " x ".join(str(length) for length in shape)
        table.rows.append([name, samples / 1e6, seconds, per_sample, per_sample / first])
    table.notes = [
        "Median of the passes after the first, kernels compiled; detector1 with its defaults."
    ]
    return [table]


def _calibrate(setting: Setting, shape: tuple[int, int, int, int]) -> tuple[int, float]:
    """Calibrate an exposure; return its number of samples, and the CPU seconds."""
    integrations, groups, rows, columns = shape
    if rows == 2048:
        inputs = setting.full_frames
    else:
        spec = SimulationSpec(
            subarray="GENERIC", shape=(rows, columns), corner=(769, 769), nints=integrations,
            ngroups=groups, full_references=False, sky=Sky(stars=rows * columns // 3500),
        )  # fmt: skip
        inputs = load_or_simulate(setting.cache, "shape-" + "x".join(map(str, shape)), spec)
    path, *_ = inputs.paths
    cost = run_script(
        "one_exposure.py", setting.cache / "products", path,
        "2" if setting.quick else "4",
        environment={**inputs.environment, **QUIET, **WORKER_ENVIRONMENT},
    )  # fmt: skip
    return integrations * groups * rows * columns, statistics.median(cost["seconds"][1:])
