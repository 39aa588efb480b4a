"""Shapes: the same number of samples arranged otherwise must not cost much more."""

import statistics

from inputs import simulated
from scripts import answer
from setting import QUIET, Setting
from tables import Table

from calbatch.calibrate.simulate import SimulationSpec, Sky
from calbatch.cluster.sites.local import WORKER_ENVIRONMENT

SHAPES = (
    (1, 10, 2048, 2048),
    (10, 10, 512, 512),
    (50, 10, 256, 256),
    (50, 45, 128, 128),  # where jwst's jump step has taken more than an hour, cropped
    (1, 200, 256, 256),
    (150, 5, 256, 256),  # so many integrations are clipped, not differenced
    (400, 3, 128, 128),
)
"""Integrations, groups, rows, columns."""


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    columns = ["integrations x groups x rows x columns", "million samples", "CPU s", "ns a sample",
               "of the first"]  # fmt: skip
    table = Table("CPU time a sample by the exposure's shape, one process", columns)
    first = None
    for shape in SHAPES[: 4 if setting.quick else None]:
        samples, seconds = _calibrated(setting, shape)
        each = seconds / samples * 1e9
        first = first or each
        name = " x ".join(str(length) for length in shape)
        table.rows.append([name, samples / 1e6, seconds, each, each / first])
    table.notes = ["The second of two passes or more, kernels compiled; detector1 as it stands."]
    return [table]


def _calibrated(setting: Setting, shape: tuple[int, int, int, int]) -> tuple[int, float]:
    """Return the samples of an exposure, and the CPU seconds that it takes."""
    integrations, groups, rows, columns = shape
    if rows == 2048:
        inputs = setting.full_frames
    else:
        spec = SimulationSpec(
            subarray="GENERIC", shape=(rows, columns), corner=(769, 769), nints=integrations,
            ngroups=groups, full_references=False, sky=Sky(stars=rows * columns // 3500),
        )  # fmt: skip
        inputs = simulated(setting.cache, "shape-" + "x".join(map(str, shape)), spec)
    told = answer(
        "one_exposure.py", setting.cache / "products", inputs.paths[0],
        "2" if setting.quick else "4",
        environment={**inputs.environment, **QUIET, **WORKER_ENVIRONMENT},
    )  # fmt: skip
    return integrations * groups * rows * columns, statistics.median(told["seconds"][1:])
