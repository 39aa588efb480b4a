"""A driver of a batch whose calibration sleeps, with many workers in two processes.

    python scale_driver.py (run|resume) INPUTS OUTPUT WORKERS
    python scale_driver.py (run|resume) INPUTS OUTPUT 0
    python scale_driver.py plan INPUTS OUTPUT 0
    python scale_driver.py work SCHEDULER WORKERS NAME

The first form starts the last one for its workers. The second one has no workers and no scheduler:
exposures end at once, which leaves the driver's own work and its ledger.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from pathlib import Path

import dask
from distributed import Client, LocalCluster, Worker
from rich.console import Console

from calbatch.calibrate.step import Step
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.registering import begin_batch, find_inputs, resume_batch
from calbatch.cluster.batch.session import drive
from calbatch.cluster.exposure.job import Job
from calbatch.cluster.exposure.outcome import Outcome, Stopwatch, peak_memory
from calbatch.cluster.folder import find_batch
from calbatch.cluster.ledger import View
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.in_process import InProcess
from calbatch.cluster.sites.local import DASK_SETTINGS
from calbatch.models.datamodels import RampModel
from calbatch.models.fits.writer import Product


class Sleep(Step):
    """A stand-in for a calibration."""

    def process(self, exposure: object) -> object:
        """Return an empty model."""
        return RampModel(exposure)


def sleep(job: Job) -> Outcome:
    """Sleep, and write a product of a few bytes."""
    clock = Stopwatch()
    time.sleep(float(os.environ["SLEEP"]))
    path = Path(job.step.output_dir, f"{job.path.stem}_slept.fits")
    path.write_bytes(b"product\n")
    status = path.stat()
    product = Product(str(path), status.st_size, status.st_mtime_ns, "")
    return Outcome(
        number=job.number,
        path=job.path,
        written=(product,),
        peaks=(peak_memory(),),
        **clock.times(),
    )


class SleepingSite(DaskSite):
    """A site whose workers sleep."""

    work = staticmethod(sleep)


class InstantSite(InProcess):
    """A site where exposures end as soon as they are collected."""

    def room(self) -> int:
        """Return the number of exposures that are submitted at once."""
        return 100

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return the outcomes of the exposures that were submitted."""
        jobs, self._waiting = self._waiting, []
        return [(job, sleep(job)) for job in jobs]


PROCESSES = 2
"""Number of processes that share the workers, which sleep most of the time."""


async def work(scheduler: str, count: int, name: str) -> None:
    """Run several workers with one thread each, until the scheduler ends."""
    with dask.config.set({**DASK_SETTINGS, "distributed.worker.profile.enabled": False}):
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(
                    Worker(scheduler, nthreads=1, name=f"{name}-{n}", memory_limit=0,
                           host="127.0.0.1", dashboard=False)
                ) for n in range(count)
            ]  # fmt: skip
            await asyncio.gather(*(worker.finished() for worker in workers))


@contextmanager
def workers(scheduler: str, count: int) -> Iterator[None]:
    """Run processes with the given number of workers in total."""
    command = [sys.executable, __file__, "work", scheduler, str(-(-count // PROCESSES))]
    processes = [subprocess.Popen([*command, str(n)]) for n in range(PROCESSES)]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def print_plan(inputs: str, output: Path) -> None:
    """Plan all exposures again like the driver; print the number done, and the duration."""
    step = Sleep()
    step.output_dir = str(output)
    start = time.perf_counter()
    with View(output / ".calbatch") as view:
        sums = ReferenceChecksums(view.find_checksum, lambda *_: None)
        planner = Planner(step, open_references(step), use_pars=False, history=view, checksums=sums)
        blocks = planner.plan_blocks(
            enumerate(find_inputs(step, Order(inputs=(inputs,), pars=False)))
        )
        done = sum(bool(planned.earlier_products) for block in blocks for planned in block)
        sums.close()
    print(f"planned again, {done} exposures done before: {time.perf_counter() - start:.1f} s")


def main() -> None:
    verb, inputs, output, count = sys.argv[1:]
    if verb == "plan":
        print_plan(inputs, Path(output))
        return
    if verb == "work":
        asyncio.run(work(inputs, int(output), count))
        return
    if verb == "run":
        begun = begin_batch(Sleep(output_dir=output), Order(inputs=(inputs,), pars=False))
    else:
        begun = resume_batch(find_batch(output), failed=True)
    if count == "0":
        site = InstantSite(0)
        drive(begun, Console(), open_site=lambda *place: nullcontext(site))
        return
    with (
        dask.config.set(DASK_SETTINGS),
        LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0
        ) as cluster,
        workers(cluster.scheduler_address, int(count)),
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(int(count))
        sleepers = SleepingSite(client, "exposure", f"{count} sleepers")
        drive(begun, Console(), open_site=lambda *place: nullcontext(sleepers))


if __name__ == "__main__":
    from scale_driver import main as run  # functions sent to workers must not belong to __main__

    run()
