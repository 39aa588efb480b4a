"""Shapes: CPU time per sample for exposures of different shapes."""

import math
import statistics
from typing import Any

from inputs import load_or_simulate
from scripts import run_script
from setting import QUIET, Setting
from tables import Table

from calbatch.calibrate.simulate import SimulationSpec, Sky
from calbatch.cluster.sites.local import WORKER_ENVIRONMENT

Shape = tuple[int, int, int, int]
SHAPES: tuple[Shape, ...] = (
    (1, 10, 2048, 2048),
    (10, 10, 512, 512),
    (50, 10, 256, 256),
    (50, 45, 128, 128),  # cropped from one that took jwst's jump step more than an hour
    (1, 200, 256, 256),
    (150, 5, 256, 256),  # with so many integrations, jump uses sigma clipping
    (400, 3, 128, 128),
)
"""Integrations, groups, rows, columns."""
FULL_FRAME: Shape = (1, 10, 2048, 2048)


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    columns = ["integrations x groups x rows x columns", "million samples", "CPU s",
               "ns per sample", "relative to the first"]  # fmt: skip
    table = Table("CPU time per sample by shape of the exposure, one process", columns)
    first = None
    for shape in SHAPES[: 4 if setting.quick else None]:
        samples, cost = math.prod(shape), calibrate_shape(setting, shape)
        seconds = cost["seconds"]
        per_sample = seconds / samples * 1e9
        first = first or per_sample
        name = " x ".join(str(length) for length in shape)
        table.rows.append([name, samples / 1e6, seconds, per_sample, per_sample / first])
    table.notes = [
        "Median of the passes after the first, kernels compiled; detector1 with its defaults."
    ]
    return [table]


def calibrate_shape(setting: Setting, shape: Shape) -> dict[str, Any]:
    """Calibrate an exposure; return its cost, in which ``seconds`` is the median of the passes."""
    integrations, groups, rows, columns = shape
    if shape == FULL_FRAME:
        inputs = setting.full_frames
    else:
        spec = SimulationSpec(
            subarray="GENERIC", shape=(rows, columns), corner=_corner(rows, columns),
            nints=integrations, ngroups=groups, full_references=False,
            sky=Sky(stars=rows * columns // 3500),
        )  # fmt: skip
        inputs = load_or_simulate(setting.cache, "shape-" + "x".join(map(str, shape)), spec)
    path, *_ = inputs.paths
    cost = run_script(
        "one_exposure.py", setting.cache / "products", path,
        "2" if setting.quick else "4",
        environment={**inputs.environment, **QUIET, **WORKER_ENVIRONMENT},
    )  # fmt: skip
    return {**cost, "seconds": statistics.median(cost["seconds"][1:])}


def _corner(rows: int, columns: int) -> tuple[int, int]:
    """Return the first row and column of a window in the middle of the detector, if it fits."""
    return 769 if rows <= 1024 else 1, 769 if columns <= 1024 else 1
