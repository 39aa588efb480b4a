"""Measure the cost of the page of a batch to its driver and to its scheduler.

    python benchmarks/page.py --exposures 10000 --reports 60

Prints the CPU time of a report in the driver and in the scheduler, a process of its own, and that
of the scheduler for an answer to a browser, each as a share of a core at one per second. The
exposures have just begun, are half done, with every hundredth failed, or are in no order at all.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from distributed import Client

from calbatch.cluster.display.monitor import STATE_LETTERS, BatchMonitor
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.sites.page.reporter import Reporter, install_page

TOKEN = "token"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exposures", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=60)
    return parser.parse_args()


@contextmanager
def run_scheduler() -> Iterator[tuple[Client, psutil.Process]]:
    """Yield a client of a scheduler in another process, and that process."""
    command = (sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1")
    ports = ("--port", "0", "--dashboard-address", "127.0.0.1:0")
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/scheduler.json"
        process = subprocess.Popen(
            [*command, *ports, "--scheduler-file", file], stderr=subprocess.DEVNULL
        )
        try:
            with Client(scheduler_file=file, timeout="60s", set_as_default=False) as client:
                yield client, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def make_monitor(states: list[str]) -> BatchMonitor:
    """Return the monitor of a batch, with outcomes of the exposures that have failed."""
    monitor = BatchMonitor(
        batch="b", pipeline="detector1", output="/out", states=states, left=len(states)
    )
    for number, state in enumerate(states):
        if state == "failed":
            path = Path(f"/a/folder/of/exposures/jw01234001001_{number:05}_nrca1_uncal.fits")
            error = f"{path}: truncated: 10 MB of 20 MB are missing"
            monitor.add(Outcome(number=number, path=path, error=error))
    return monitor


def make_batches(count: int) -> Iterator[tuple[str, list[str]]]:
    """Yield descriptions of batches, and the states of their exposures."""
    half = ["failed" if number % 100 == 0 else "done" for number in range(count // 2)]
    yield "just begun", ["waiting"] * count
    yield "half done", half + ["waiting"] * (count - len(half))
    yield "in no order", random.Random(1).choices(list(STATE_LETTERS), k=count)


async def send_reports(reporter: Reporter, monitor: BatchMonitor, count: int) -> None:
    """Send reports one after another, each with a new snapshot."""
    for _ in range(count):
        await reporter.send(monitor.take_snapshot())


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Measure, and print a line for each batch."""
    arguments = parse_arguments()
    count = arguments.reports
    with run_scheduler() as (client, scheduler):
        install_page(client)
        page = f"http://127.0.0.1:{client.scheduler_info()['services']['dashboard']}/calbatch.json"
        request = urllib.request.Request(page, headers={"X-Calbatch-Token": TOKEN})
        for name, states in make_batches(arguments.exposures):
            monitor = make_monitor(states)
            how = (Reporter(client, monitor, TOKEN, dict), monitor, count)
            client.sync(send_reports, *how)  # imports, connections
            own, before = time.process_time(), cpu(scheduler)
            client.sync(send_reports, *how)
            own, between = time.process_time() - own, cpu(scheduler)
            for _ in range(count):
                urllib.request.urlopen(request).read()
            shares = (own, between - before, cpu(scheduler) - between)
            driver, reports, answers = (f"{100 * each / count:.2f} %" for each in shares)
            print(f"{name}: driver {driver}, scheduler {reports}, and per browser {answers}")


if __name__ == "__main__":
    main()
