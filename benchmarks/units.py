"""Compare a batch of exposures in associations with one of the exposures alone.

    python benchmarks/units.py --exposures 100000 --associations 2000

Both batches are planned, driven and recorded as usual, each in a process of its own, but instead
of being calibrated, exposures get a copy of a tiny product, in the same process. Prints, for each
batch, the wall, CPU and user CPU time to register it (which collects its units) and to drive it,
and the peak memory; then the differences, per unit and as ratios, between the lowest values of
each. On a busy machine CPU times vary by a third: use several rounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from calbatch.calibrate.chain import make_chain
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.simulate import SimulationSpec, simulate
from calbatch.calibrate.suffixes import product_name
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.registering import begin_batch
from calbatch.cluster.batch.session import drive
from calbatch.cluster.exposure.job import Job
from calbatch.cluster.exposure.outcome import Outcome, Stopwatch, peak_memory
from calbatch.models.datamodels import RampModel
from calbatch.models.fits.writer import Product


class Expose(Pipeline):
    """A stand-in for a calibration of one exposure."""

    suffixes = ("ramp",)

    def process(self, exposure: Any) -> Any:
        """Return the ramp."""
        return RampModel(exposure)


class Combine(Pipeline):
    """A stand-in for a combination of exposures."""

    takes = ("ramp",)
    suffixes = ("sum",)
    roles = ("science",)
    combines = True

    def process(self, exposure: Any) -> Any:
        """Return the first ramp."""
        return exposure


SLOTS = 64
"""Number of jobs in flight."""


class CopyingSite:
    """A site that copies one file as the product of each job, when outcomes are collected."""

    description, dashboard, is_blocking = "copying", None, False

    def __init__(self, product: bytes) -> None:
        self._content = product
        self._jobs: list[Job] = []

    def room(self) -> int:
        """Return the number of slots."""
        return SLOTS

    def submit(self, job: Job) -> None:
        """Accept a job."""
        self._jobs.append(job)

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Work on all jobs, and return the outcomes."""
        jobs, self._jobs = self._jobs, []
        if not jobs:
            time.sleep(min(timeout, 0.001))
        return [(job, self._copy(job)) for job in jobs]

    def _copy(self, job: Job) -> Outcome:
        clock = Stopwatch()
        suffix = "sum" if job.product else "ramp"
        path = Path(job.step.output_dir or "", product_name(job.product or job.path.name, suffix))
        path.write_bytes(self._content)
        status = path.stat()
        written = Product(str(path), status.st_size, status.st_mtime_ns, "")
        return Outcome(
            number=job.number, path=job.path, written=(written,), peaks=(peak_memory(),),
            **clock.times(),
        )  # fmt: skip

    def running_numbers(self) -> set[int]:
        """Return the numbers of the jobs that have not ended."""
        return {job.number for job in self._jobs}

    def find_silent(self, limit: float) -> list[Any]:
        """Return the workers that do not answer: none."""
        return []

    def discard_worker(self, silent: Any) -> None:
        """Abandon a worker; there is none."""

    def withdraw(self, numbers: Iterable[int] | None = None, *, kill: bool = False) -> None:
        """Forget all jobs."""
        self._jobs = []


class Meter:
    """Measures the wall time, CPU time and user CPU time of parts of this process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the times of the block."""
        wall, cpu, user = time.perf_counter(), time.process_time(), os.times().user
        yield
        self.seconds[f"{part} user"] = os.times().user - user
        self.seconds[f"{part} cpu"] = time.process_time() - cpu
        self.seconds[f"{part} wall"] = time.perf_counter() - wall


def run_batch(inputs: Path, output: Path, product: Path, *, combined: bool) -> None:
    """Run a batch, and print its times and memory as JSON."""
    chain = make_chain((Expose, Combine))() if combined else Expose()
    chain.output_dir = str(output)
    meter, site = Meter(), CopyingSite(product.read_bytes())
    with meter.measure("register"):
        begun = begin_batch(chain, Order(inputs=(str(inputs),), pars=False), hold=True)

    @contextmanager
    def open_site(*place: Any) -> Iterator[CopyingSite]:
        yield site

    with meter.measure("drive"):
        result = drive(begun, Console(file=sys.stderr), open_site=open_site)
    memory = peak_memory().bytes / 1e6
    print(json.dumps({**meter.seconds, "MB": memory, "status": result.exit_status}))


def make_inputs(folder: Path, count: int, associations: int) -> Path:
    """Write many copies of a tiny exposure and their associations; return a product."""
    spec = SimulationSpec(
        "NRCA1", "GENERIC", shape=(8, 8), corner=(1, 1), ngroups=2, full_references=False
    )
    (exposure,) = simulate(folder / "simulated", spec=spec, exposures=1).exposures
    content = exposure.read_bytes()
    (folder / "in").mkdir()
    for number in range(count):
        (folder / "in" / f"e{number:06}_uncal.fits").write_bytes(content)
    for group in range(associations):
        members = [
            {"expname": f"e{number:06}_ramp.fits", "exptype": "science"}
            for number in range(group, count, associations)
        ]
        entry = {"asn_rule": "r", "products": [{"name": f"p{group:05}", "members": members}]}
        (folder / "in" / f"p{group:05}_asn.json").write_text(json.dumps(entry))
    return exposure


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Run both batches in turn, and print the cost of the associations."""
    count, associations = options.exposures, options.associations
    product = make_inputs(folder, count, associations)
    found: dict[str, dict[str, float]] = {"flat": {}, "combined": {}}
    for number in range(options.rounds):
        for kind, best in found.items():
            output = folder / f"{kind}{number}"
            command = [sys.executable, __file__, kind, folder / "in", output, product]
            done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True)
            measured = json.loads(done.stdout)
            parts = (f"{name} {value:.2f}" for name, value in measured.items())
            print(f"{kind}: {', '.join(parts)}", flush=True)
            for name, value in measured.items():
                best[name] = min(value, best.get(name, value))
    flat, combined = found["flat"], found["combined"]
    units = count + associations
    planning = combined["register wall"] - flat["register wall"]
    print(f"{count} exposures in {associations} associations, {units} units:")
    print(f"registered {planning:.1f} s later than a flat batch")
    for clock in ("cpu", "user"):
        before, after = (best[f"register {clock}"] + best[f"drive {clock}"]
                         for best in (flat, combined))  # fmt: skip
        more = 1e3 * (after / units - before / count)
        print(f"{clock}: {more:.3f} ms more a unit, {after / before:.3f} times in all")
    print(f"memory {combined['MB']:.0f} MB, {combined['MB'] / flat['MB']:.2f} times")


def main() -> None:
    if len(sys.argv) == 5 and sys.argv[1] in ("flat", "combined"):
        kind, *paths = sys.argv[1:]
        run_batch(*map(Path, paths), combined=kind == "combined")
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exposures", type=int, default=100_000)
    parser.add_argument("--associations", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each; the fastest count")
    parser.add_argument("--folder", type=Path, help="folder for files; by default a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="calbatch-units-", dir=options.folder) as name:
        compare(options, Path(name))


if __name__ == "__main__":
    main()
