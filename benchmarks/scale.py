"""Measure a batch of many exposures whose calibration only sleeps.

    python benchmarks/scale.py --exposures 100000 --workers 64
    python benchmarks/scale.py --exposures 1000000 --workers 0 --sleep 0 --hard-links
    python benchmarks/scale.py --exposures 10000 --simulate

Prints the memory of the driver, the CPU time of driver and scheduler per exposure, the duration of
`status` during the batch, the time until a killed batch progresses after `resume`, and the time to
plan and run a batch that is done. Workers are single threads in two separate processes; without
any, exposures end at once, and only the driver and its ledger are measured. The last form prints
what batches of full frames would take, by a simulation from measured service times.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from scale_simulation import Costs, make_table

HERE = Path(__file__).parent


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exposures", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--sleep", type=float, default=0.2, help="seconds per exposure")
    parser.add_argument(
        "--kill-at", type=float, default=0.5, help="done fraction at which the driver is killed"
    )
    parser.add_argument(
        "--hard-links", action="store_true", help="make the inputs hard links, which take no space"
    )
    parser.add_argument(
        "--simulate", action="store_true", help="print what full frames would take, and run nothing"
    )
    parser.add_argument(
        "--driver-ms", type=float, default=3.0, help="with --simulate: the driver's CPU [ms]"
    )
    parser.add_argument(
        "--folder", type=Path, help="folder for all files; by default a temporary one"
    )
    return parser.parse_args()


LINKS = 60_000
"""Number of hard links to a file; some file systems allow no more than 65,000."""


def make_inputs(folder: Path, count: int, *, linked: bool) -> None:
    """Write many copies of a tiny raw exposure, or few copies with many names."""
    from calbatch.calibrate.simulate import SimulationSpec, simulate

    spec = SimulationSpec(
        "NRCA1", "GENERIC", shape=(8, 8), corner=(1, 1), ngroups=2, full_references=False
    )
    (exposure,) = simulate(folder / "simulated", spec=spec, exposures=1).exposures
    exposures = folder / "exposures"
    exposures.mkdir()
    content = exposure.read_bytes()
    for number in range(count):
        path = exposures / f"e{number:07}_uncal.fits"
        if not linked or number % LINKS == 0:
            path.write_bytes(content)
            written = path
        else:
            path.hardlink_to(written)


class DriverProcess:
    """A driver's process, with its duration, memory and CPU time."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        self.info = psutil.Process(self.process.pid)
        self.start = time.monotonic()
        self.seconds = 0.0
        self.memory = 0
        self.cpu = 0.0
        self.marks: list[tuple[int, float, int]] = []  # done, CPU seconds, bytes

    def sample(self) -> None:
        """Record the current memory and CPU time."""
        try:
            self.memory = max(self.memory, self.info.memory_info().rss)
            times = self.info.cpu_times()
            self.cpu = times.user + times.system
        except psutil.NoSuchProcess:
            return

    def mark(self, done: int) -> None:
        """Record the number of exposures that are done with the current memory and CPU time."""
        self.sample()
        if done > (self.marks[-1][0] if self.marks else 0):
            self.marks.append((done, self.cpu, self.memory))

    def slopes(self) -> str:
        """Return a description of the memory and CPU time of each further exposure."""
        if len(self.marks) < 2:
            return "nothing to compare"
        (few, cpu, memory), (many, more_cpu, more_memory) = self.marks[0], self.marks[-1]
        milliseconds = 1e3 * (more_cpu - cpu) / (many - few)
        kilobytes = (more_memory - memory) / 1e3 / (many - few)
        each = f"{milliseconds:.2f} ms and {kilobytes:.2f} KB for each further one"
        return f"{each}, from {few} to {many}"

    def wait(self) -> float:
        """Wait for the end of the driver; return the seconds waited."""
        start = time.monotonic()
        while self.process.poll() is None:
            self.sample()
            time.sleep(0.05)
        self.seconds = time.monotonic() - self.start
        return time.monotonic() - start

    def cost(self, exposures: int) -> str:
        """Return a description of the memory and CPU time."""
        milliseconds = 1e3 * self.cpu / max(exposures, 1)
        total = f"driver {self.memory / 1e6:.0f} MB, {milliseconds:.2f} ms CPU per exposure"
        return f"{total}; {self.slopes()}"

    def kill(self) -> None:
        """Kill the driver and its workers."""
        processes = [*self.info.children(recursive=True), self.info]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 10)
        self.process.wait()


@dataclass(frozen=True)
class Status:
    """The output of `calbatch status`, and its duration."""

    counts: dict[str, int]
    seconds: float


def read_status(output: Path, environment: dict[str, str]) -> Status:
    """Run `calbatch status`."""
    command = [str(Path(sys.executable).with_name("calbatch")), "status", str(output), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return Status(json.loads(done.stdout), time.perf_counter() - start)


def main() -> None:
    options = parse_arguments()
    if options.simulate:
        print(make_table(options.exposures, Costs(driver=options.driver_ms / 1e3)))
        return
    with tempfile.TemporaryDirectory(prefix="calbatch-scale-", dir=options.folder) as name:
        folder = Path(name)
        print(f"{options.exposures} exposures, {options.workers} workers, {options.sleep} s each")
        make_inputs(folder, options.exposures, linked=options.hard_links)
        measure(options, folder)


def measure(options: argparse.Namespace, folder: Path) -> None:
    output = folder / "out"
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ, "PYTHONPATH": paths, "CALBATCH_STATE_DIR": str(folder / "state"),
        "SLEEP": str(options.sleep),
    }  # fmt: skip
    script = [sys.executable, str(HERE / "scale_driver.py")]
    common = [str(folder / "exposures"), str(output), str(options.workers)]

    def driver(verb: str) -> DriverProcess:
        return DriverProcess([*script, verb, *common], environment, folder / "log")

    start = time.monotonic()
    first = driver("run")
    durations, _ = follow(first, output, environment, options.exposures * options.kill_at)
    until_killed = time.monotonic() - start
    first.kill()
    done = read_status(output, environment).counts["done"]
    print(f"killed with {done} done after {until_killed:.0f} s; {first.cost(done)}")
    second = driver("resume")
    resumed = wait_for_progress(second, output, environment, done)
    more, final = follow(second, output, environment, options.exposures)
    ending = second.wait()
    durations += more
    print(f"further exposures done after {resumed:.1f} s")
    print(f"all {final} done after {second.seconds:.0f} s more, including {ending:.1f} s "
          f"to end and write the manifest; {second.cost(final - done)}")  # fmt: skip
    print(f"status: median {statistics.median(durations):.2f} s, maximum {max(durations):.2f} s, "
          f"{len(durations)} times")  # fmt: skip
    print(f"ledger: {(output / '.calbatch' / 'ledger.sqlite').stat().st_size / 1e6:.0f} MB")
    if options.exposures != final:
        print((folder / "log").read_text()[-3000:])
        sys.exit("some exposures are not done")
    subprocess.run([*script, "plan", *common], env=environment, check=True)
    third = driver("run")
    third.wait()
    before = read_status(output, environment).counts["before"]
    print(f"run again, {before} exposures done before: {third.seconds:.0f} s; "
          f"{third.cost(options.exposures)}")  # fmt: skip


def follow(
    driver: DriverProcess, output: Path, environment: dict[str, str], until: float
) -> tuple[list[float], int]:
    """Run `status` until enough exposures are done; return its durations, and the number done."""
    durations, done = [], 0
    while driver.process.poll() is None and done < until:
        driver.sample()
        if not (output / ".calbatch" / "ledger.sqlite").exists():
            time.sleep(0.1)
            continue
        try:
            status = read_status(output, environment)
        except ValueError:  # no batch yet
            time.sleep(0.1)
            continue
        durations.append(status.seconds)
        done = status.counts["done"]
        driver.mark(done)
        # seldom enough not to take more of a core than the driver
        for _ in range(max(10, int(100 * status.seconds))):
            driver.sample()
            time.sleep(0.1)
    status = read_status(output, environment)
    return [*durations, status.seconds], status.counts["done"]


def wait_for_progress(
    driver: DriverProcess, output: Path, environment: dict[str, str], before: int
) -> float:
    """Wait until more exposures are done than before; return the seconds since the start."""
    while driver.process.poll() is None:
        driver.sample()
        if read_status(output, environment).counts["done"] > before:
            break
        time.sleep(0.2)
    return time.monotonic() - driver.start


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
