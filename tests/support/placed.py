"""What sites' tests have workers do."""

import os
import socket
import time
from pathlib import Path

from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.draining import Draining
from calbatch.cluster.job import Job, Options, calibrate
from calbatch.cluster.request import configured
from calbatch.models.datamodels import RampModel

TESTS = str(Path(__file__).resolve().parents[1])
"""Where workers in other processes find this module: a part of their PYTHONPATH."""

DATE = "2024-01-31T12:00:00"


class Plain(Step):
    """A step that does nothing."""

    def process(self, exposure):
        return RampModel(exposure)


def importable(monkeypatch) -> None:
    """Have processes that are started from now on find this module."""
    monkeypatch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)


def jobs(paths, folder: Path) -> list[Job]:
    """Return exposures as jobs, whose products go to a folder."""
    folder.mkdir(exist_ok=True)
    step = configured(Plain)
    step.output_dir = str(folder)
    how = Options(date=DATE, fsync=False)
    return [Job(n, p, step, ResolvedReferences("none"), how, "b") for n, p in enumerate(paths)]


def calibrated(site, paths, folder: Path):
    """Calibrate exposures on a site, and return what became of each."""
    client = site.client
    futures = [client.submit(calibrate, job, pure=False) for job in jobs(paths, folder)]
    return client.gather(futures)


def twice(number: int) -> int:
    return 2 * number


def about(names=(), dask_worker=None) -> dict:
    """Return what a worker finds out about itself."""
    return {
        "address": dask_worker.address,
        "threads": dask_worker.state.nthreads,
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "pid": os.getpid(),
        "environment": {name: os.environ.get(name) for name in names},
    }


def longest_known() -> float:
    """Return how long exposures take, as far as a worker knows."""
    return Draining.known


def slowly(number: int, seconds: float, folder: str) -> int:
    """Note that a task begins, take some time, and note that it has ended."""
    with (Path(folder) / "begun").open("a") as file:
        file.write(f"{number} {time.time()}\n")
    time.sleep(seconds)
    with (Path(folder) / "ended").open("a") as file:
        file.write(f"{number} {time.time()}\n")
    return number


def eventually(condition, seconds: float = 30.0, every: float = 0.1):
    """Wait for something to be true, and return it."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, f"not within {seconds} s: {condition}"
        time.sleep(every)
    return found
