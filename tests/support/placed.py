"""Work for the workers of sites' tests."""

import os
import socket
from pathlib import Path

from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.exposure.job import ExposureOptions, Job, calibrate
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.cluster.sites.draining import Draining
from calbatch.models.datamodels import RampModel
from support.waiting import be_slow, now
from support.waiting import eventually as eventually

TESTS = str(Path(__file__).resolve().parents[1])
"""Folder of this module, for the PYTHONPATH of workers in other processes."""

DATE = "2024-01-31T12:00:00"


class Plain(Step):
    """A step that does nothing."""

    def process(self, exposure):
        return RampModel(exposure)


def make_importable(monkeypatch) -> None:
    """Let processes that are started from now on import this module."""
    monkeypatch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)


def jobs(paths, folder: Path) -> list[Job]:
    """Return jobs for exposures, with their products in a folder."""
    folder.mkdir(exist_ok=True)
    step = configure_step(Plain)
    step.output_dir = str(folder)
    how = ExposureOptions(date=DATE, fsync=False)
    return [
        Job(
            number=n,
            path=p,
            step=step,
            references=ResolvedReferences("none"),
            options=how,
            batch="b",
        )
        for n, p in enumerate(paths)
    ]


def calibrate_all(site, paths, folder: Path):
    """Calibrate exposures on a site, and return their outcomes."""
    client = site.client
    futures = [client.submit(calibrate, job, pure=False) for job in jobs(paths, folder)]
    return client.gather(futures)


def double(number: int) -> int:
    return 2 * number


def worker_facts(names=(), dask_worker=None) -> dict:
    """Return facts that a worker knows about itself."""
    return {
        "address": dask_worker.address,
        "threads": dask_worker.state.nthreads,
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "pid": os.getpid(),
        "environment": {name: os.environ.get(name) for name in names},
    }


def extend_environment(environment: dict) -> None:
    """Add variables to the environment of workers."""
    os.environ.update(environment)


def longest_known() -> float:
    """Return the longest duration of exposures that a worker knows."""
    return Draining.longest_known


def run_slowly(number: int, seconds: float, folder: str) -> int:
    """Record the start of a task, take some time, and record its end."""
    with (Path(folder) / "begun").open("a") as file:
        file.write(f"{number} {now()}\n")
    be_slow(seconds)
    with (Path(folder) / "ended").open("a") as file:
        file.write(f"{number} {now()}\n")
    return number
