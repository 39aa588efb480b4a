"""Calibrate one exposure in this process, tile by tile, and print the cost as JSON.

    one_exposure.py FOLDER FILE PASSES

Memory is the resident set of this process: before the first pass, with all software loaded, and its
maximum during the passes.
"""

import json
import sys
import time
from pathlib import Path

import dask
import numpy as np
from jobs import job_of

from calbatch.cluster.exposure.job import Job, build_products, calibrate, prepare_job
from calbatch.models.budget import tile_budget
from calbatch.models.tiling.graphs import TRIAL

ROWS = 8


def process_size(name: str) -> int:
    """Return a size in bytes from Linux's status of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def time_calibration(job: Job) -> float:
    """Calibrate the exposure; return the processor seconds."""
    start = time.process_time()
    outcome = calibrate(job)
    if outcome.failed:
        sys.exit(outcome.error)
    return time.process_time() - start


def load_kernels(job: Job) -> None:
    """Calibrate a few rows and prepare products, so that all kernels and modules are loaded."""
    with dask.config.set({"calbatch.tile-rows": ROWS, TRIAL: True, "scheduler": "sync"}):
        for model, _ in build_products(job):
            np.asarray(model.data[..., :ROWS, :])
    _, writers = prepare_job(job)
    for writer in writers:
        writer.abort()


def main(folder: str, path: str, passes: int) -> None:
    job = job_of(Path(path), Path(folder))
    load_kernels(job)
    with dask.config.set(job.options.dask_config()):
        budget = tile_budget([model for model, _ in build_products(job)])
    baseline = process_size("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the maximum
    seconds = [time_calibration(job) for _ in range(passes)]
    cost = {"baseline": baseline, "peak": process_size("VmHWM"), "budget": budget.bytes,
            "tiles": budget.tiles, "seconds": seconds}  # fmt: skip
    print(json.dumps(cost))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
