"""Graphs: how many tasks detector1 takes, and what scheduling them costs."""

import os

from dask.base import optimize
from jobs import job_of
from scripts import answer
from setting import QUIET, Setting
from tables import Table

from calbatch.cluster.exposure.job import Job, prepare_job

TILES = (8, 32)


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    return [_tasks(setting), _scheduling(setting)]


def _tasks(setting: Setting) -> Table:
    """Count the tasks that are left after optimisation."""
    table = Table("Tasks of detector1, one full frame, optimised", ["tiles", "tasks"])
    for tiles in TILES:
        table.rows.append([str(tiles), str(count_tasks(_job(setting, tiles)))])
    few, many = (int(row[1]) for row in table.rows)
    each = (many - few) / (TILES[1] - TILES[0])
    table.rows += [
        ["each tile (at most 3)", each],
        ["the exposure (at most 3)", few - each * TILES[0]],
    ]
    return table


def _job(setting: Setting, tiles: int) -> Job:
    output = setting.cache / "products"
    output.mkdir(exist_ok=True)
    os.environ.update(setting.full_frames.environment)
    return job_of(setting.full_frames.paths[0], output, 2048 // tiles)


def count_tasks(job: Job) -> int:
    """Return the number of tasks; an alias, another name for one, is none."""
    graph, writers = prepare_job(job)
    try:
        (optimised,) = optimize(graph)
    finally:
        for writer in writers:
            writer.abort()
    tasks = dict(optimised.__dask_graph__()).values()
    return sum("Alias" not in type(task).__name__ for task in tasks)


def _scheduling(setting: Setting) -> Table:
    """Run batches at both grains, and take the processor time of the driver's process."""
    table = Table(
        "Scheduler, client and driver, CPU seconds an exposure", ["grain", "exposures", "CPU s"]
    )
    few, many = setting.counts
    for grain in ("exposure", "tile"):
        short, long = (_driver_seconds(setting, grain, count) for count in (few, many))
        table.rows.append([grain, f"{few} to {many}", (long - short) / (many - few)])
    table.notes = [
        "The process that is not a worker. At tile grain it also opens the exposure, plans it and",
        "makes its graph, which workers do at exposure grain.",
    ]
    return table


def _driver_seconds(setting: Setting, grain: str, count: int) -> float:
    inputs = setting.full_frames
    told = answer(
        "in_process.py", setting.cache / "products", grain, *inputs.paths[:count],
        environment={**inputs.environment, **QUIET},
    )  # fmt: skip
    return float(told["driver"])
