"""Memory: compared with jwst, and for increasing numbers of integrations."""

from dataclasses import replace
from pathlib import Path

from inputs import load_or_simulate
from scripts import run_script
from setting import QUIET, Setting
from tables import Table

from calbatch.calibrate.simulate.spec import PRESETS
from calbatch.cluster.sites.local import WORKER_ENVIRONMENT

MB = 2**20
INTEGRATIONS = (1, 10, 40)
ALLOWED = 0.2
"""Allowed deviation of a peak from the budget, as a fraction of the budget."""


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    return [_compare_with_jwst(setting), _by_integrations(setting)]


def _compare_with_jwst(setting: Setting) -> Table:
    """Sample the memory of all processes of a batch, for calbatch and jwst."""
    output = setting.cache / "products"
    table = Table(
        "Total memory of all processes, full frames, sampled", ["program", "exposures", "MB"]
    )
    count = min(setting.counts)
    ours = setting.run(
        [setting.calbatch("detector1", count, output)], output, 2 * count, memory=True
    )
    table.rows.append(["calbatch, two workers", str(count), ours.peak / MB])
    if setting.jwst_repeats:
        theirs = setting.run(setting.jwst(2, output), output, 4, memory=True)
        table.rows.append(["jwst, two processes", "2", theirs.peak / MB])
        table.rows.append(["calbatch / jwst (goal 0.27)", None, ours.peak / theirs.peak])
    table.notes = ["Sums of proportional set sizes, without pages of the file cache."]
    return table


def _by_integrations(setting: Setting) -> Table:
    """Calibrate subarrays with increasing numbers of integrations, tile by tile."""
    columns = ["integrations", "tiles", "input MB", "before MB", "peak MB", "more MB", "budget MB",
               "more / budget"]  # fmt: skip
    table = Table("Memory by number of integrations: 512 x 512 x 10 groups, one process", columns)
    for integrations in INTEGRATIONS[: 2 if setting.quick else None]:
        exposure, environment = _subarray(setting.cache, integrations)
        cost = run_script(
            "one_exposure.py", setting.cache / "products", exposure, "2",
            environment={**environment, **QUIET, **WORKER_ENVIRONMENT},
        )  # fmt: skip
        more = cost["peak"] - cost["baseline"]
        sizes = (cost["baseline"], cost["peak"], more, cost["budget"])
        table.rows.append(
            [str(integrations), str(cost["tiles"]), exposure.stat().st_size / MB]
            + [size / MB for size in sizes] + [more / cost["budget"]]
        )  # fmt: skip
    table.notes = [
        "Resident set, products streamed. The budget is that of a tile in `calbatch plan`;",
        f"one tile is in flight. Goal: at most {ALLOWED:.0%} more, for any number of integrations.",
    ]
    return table


def _subarray(cache: Path, integrations: int) -> tuple[Path, dict[str, str]]:
    (spec,) = PRESETS["sub512-many-ints"]
    inputs = load_or_simulate(cache, f"sub512-{integrations}", replace(spec, nints=integrations))
    (path,) = inputs.paths
    return path, inputs.environment
