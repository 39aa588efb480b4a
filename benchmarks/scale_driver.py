"""A driver of a batch whose calibration sleeps, with many workers in one process."""

import os
import sys
import time
from contextlib import nullcontext

import dask
from distributed import Client, LocalCluster
from rich.console import Console

from calbatch.calibrate.step import Step
from calbatch.cluster.folder import find
from calbatch.cluster.job import Job
from calbatch.cluster.local import SETTINGS
from calbatch.cluster.oncluster import OnCluster
from calbatch.cluster.order import Order
from calbatch.cluster.outcome import Clock, Outcome
from calbatch.cluster.service import begin, drive, taken_up
from calbatch.models.datamodels import RampModel


class Sleep(Step):
    """A stand-in for a calibration."""

    def process(self, exposure: object) -> object:
        """Do nothing."""
        return RampModel(exposure)


def sleep(job: Job) -> Outcome:
    clock = Clock()
    time.sleep(float(os.environ["SLEEP"]))
    return Outcome(job.number, job.path, **clock.times())


class Sleeping(OnCluster):
    """A scheduler whose workers sleep."""

    def _submitted(self, job: Job) -> tuple[object, tuple[()]]:
        self._serial += 1
        key = (f"sleep-{job.batch}", self._serial)
        return self.client.submit(sleep, job, key=key, pure=False, priority=-job.number), ()


def main() -> None:
    verb, inputs, output, workers = sys.argv[1:]
    if verb == "run":
        begun = begin(Sleep(output_dir=output), Order((inputs,), pars=False))
    else:
        begun = taken_up(find(output), failed=True)
    with (
        dask.config.set(SETTINGS),
        LocalCluster(
            n_workers=2, threads_per_worker=int(workers) // 2, processes=True,
            host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        site = Sleeping(client, "exposure", f"{workers} sleepers")
        drive(begun, Console(), entered=lambda *place: nullcontext(site))


if __name__ == "__main__":
    main()
