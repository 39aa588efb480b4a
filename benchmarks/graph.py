"""Graphs: the number of tasks of detector1, and the cost of scheduling them."""

import os

from dask.base import optimize
from jobs import job_of
from scripts import run_script
from setting import QUIET, Setting
from tables import Table

from calbatch.cluster.exposure.job import Job, prepare_job

TILES = (8, 32)


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    return [_tasks(setting), _scheduling(setting)]


def _tasks(setting: Setting) -> Table:
    """Count the tasks after optimisation."""
    table = Table("Tasks of detector1, one full frame, optimised", ["tiles", "tasks"])
    few, many = TILES
    few_tasks, many_tasks = (count_tasks(_job(setting, tiles)) for tiles in TILES)
    per_tile = (many_tasks - few_tasks) / (many - few)
    table.rows = [
        [str(few), str(few_tasks)],
        [str(many), str(many_tasks)],
        ["each tile (at most 3)", per_tile],
        ["the exposure (at most 3)", few_tasks - per_tile * few],
    ]
    return table


def _job(setting: Setting, tiles: int) -> Job:
    output = setting.cache / "products"
    output.mkdir(exist_ok=True)
    os.environ.update(setting.full_frames.environment)
    return job_of(setting.full_frames.paths[0], output, 2048 // tiles)


def count_tasks(job: Job) -> int:
    """Return the number of tasks without aliases."""
    graph, writers = prepare_job(job)
    try:
        (optimised,) = optimize(graph)
    finally:
        for writer in writers:
            writer.abort()
    tasks = dict(optimised.__dask_graph__()).values()
    return sum("Alias" not in type(task).__name__ for task in tasks)


def _scheduling(setting: Setting) -> Table:
    """Measure the processor time of the driver's process at both grains."""
    table = Table(
        "Scheduler, client and driver, CPU seconds per exposure", ["grain", "exposures", "CPU s"]
    )
    few, many = setting.counts
    for grain in ("exposure", "tile"):
        short, long = (_driver_seconds(setting, grain, count) for count in (few, many))
        table.rows.append([grain, f"{few} to {many}", (long - short) / (many - few)])
    table.notes = [
        "The driver's process, without workers. At tile grain it also opens and plans the exposure",
        "and makes its graph, which workers do at exposure grain.",
    ]
    return table


def _driver_seconds(setting: Setting, grain: str, count: int) -> float:
    inputs = setting.full_frames
    cost = run_script(
        "in_process.py", setting.cache / "products", grain, *inputs.paths[:count],
        environment={**inputs.environment, **QUIET},
    )  # fmt: skip
    return float(cost["driver"])
