"""Memory: beside jwst's, and as integrations grow."""

from dataclasses import replace
from pathlib import Path

from inputs import simulated
from scripts import answer
from setting import QUIET, Setting
from tables import Table

from calbatch.calibrate.simulate.spec import PRESETS
from calbatch.cluster.sites.local import WORKER_ENVIRONMENT

MB = 2**20
INTEGRATIONS = (1, 10, 40)
ALLOWED = 0.2
"""How far a peak may lie from the budget, as a fraction of it."""


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    return [_beside(setting), _flat(setting)]


def _beside(setting: Setting) -> Table:
    """Sample all processes of a batch, ours and jwst's."""
    output = setting.cache / "products"
    table = Table(
        "Memory of all processes together, full frames, sampled", ["program", "exposures", "MB"]
    )
    count = min(setting.counts)
    ours = setting.run(
        [setting.calbatch("detector1", count, output)], output, 2 * count, memory=True
    )
    table.rows.append(["calbatch, two workers", str(count), ours.peak / MB])
    if setting.jwst_repeats:
        theirs = setting.run(setting.jwst(2, output), output, 4, memory=True)
        table.rows.append(["jwst, two processes", "2", theirs.peak / MB])
        table.rows.append(["calbatch / jwst (goal 0.33)", None, ours.peak / theirs.peak])
    table.notes = ["Sums of proportional set sizes; pages of the file cache do not count."]
    return table


def _flat(setting: Setting) -> Table:
    """Calibrate subarrays of more and more integrations, tile by tile."""
    columns = ["integrations", "tiles", "input MB", "before MB", "peak MB", "more MB", "budget MB",
               "more / budget"]  # fmt: skip
    table = Table("Memory as integrations grow: 512 x 512 x 10 groups, one process", columns)
    for integrations in INTEGRATIONS[: 2 if setting.quick else None]:
        exposure, environment = _subarray(setting.cache, integrations)
        told = answer(
            "one_exposure.py", setting.cache / "products", exposure, "2",
            environment={**environment, **QUIET, **WORKER_ENVIRONMENT},
        )  # fmt: skip
        more = told["peak"] - told["baseline"]
        sizes = (told["baseline"], told["peak"], more, told["budget"])
        table.rows.append(
            [str(integrations), str(told["tiles"]), exposure.stat().st_size / MB]
            + [size / MB for size in sizes] + [more / told["budget"]]
        )  # fmt: skip
    table.notes = [
        "Resident set, products streamed. The budget is what `calbatch plan` states for a tile;",
        f"one tile is in flight. The goal: within {ALLOWED:.0%} of it, whatever the integrations.",
    ]
    return table


def _subarray(cache: Path, integrations: int) -> tuple[Path, dict[str, str]]:
    (spec,) = PRESETS["sub512-many-ints"]
    made = simulated(cache, f"sub512-{integrations}", replace(spec, nints=integrations))
    return made.paths[0], made.environment
