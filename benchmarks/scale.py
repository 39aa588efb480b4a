"""Many exposures through ledger, window and scheduler, with a calibration that only sleeps.

    python benchmarks/scale.py --exposures 100000 --workers 64

Prints the driver's memory, the CPU seconds of driver and scheduler an exposure, how long `status`
takes meanwhile, how soon a killed batch is fed again, and how long planning and running take when
all is done. Workers are single threads in two processes of their own.
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
from pathlib import Path

import psutil

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exposures", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--sleep", type=float, default=0.2, help="seconds an exposure takes")
    parser.add_argument("--kill-at", type=float, default=0.5, help="share done when it is killed")
    parser.add_argument("--folder", type=Path, help="by default a temporary one")
    return parser.parse_args()


def make_inputs(folder: Path, count: int) -> None:
    """Write tiny raw exposures, of which headers can be read."""
    from calbatch.calibrate.simulate import SimulationSpec, simulate

    spec = SimulationSpec(
        "NRCA1", "GENERIC", shape=(8, 8), corner=(1, 1), ngroups=2, full_references=False
    )
    (made,) = simulate(folder / "made", spec=spec, exposures=1).exposures
    exposures = folder / "exposures"
    exposures.mkdir()
    content = made.read_bytes()
    for number in range(count):
        (exposures / f"e{number:06}_uncal.fits").write_bytes(content)


class Watched:
    """A driver's process, and what it has cost."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        self.own = psutil.Process(self.process.pid)
        self.began = time.monotonic()
        self.seconds = 0.0
        self.memory = 0
        self.cpu = 0.0

    def look(self) -> None:
        """Take note of memory and CPU."""
        try:
            self.memory = max(self.memory, self.own.memory_info().rss)
            times = self.own.cpu_times()
            self.cpu = times.user + times.system
        except psutil.NoSuchProcess:
            return

    def ended(self) -> float:
        """Wait for the driver's end; return the seconds that takes."""
        start = time.monotonic()
        while self.process.poll() is None:
            self.look()
            time.sleep(0.05)
        self.seconds = time.monotonic() - self.began
        return time.monotonic() - start

    def cost(self, exposures: int) -> str:
        """Return what it has cost, in words."""
        each = 1e3 * self.cpu / max(exposures, 1)
        return f"driver {self.memory / 1e6:.0f} MB, {each:.2f} ms CPU an exposure"

    def kill(self) -> None:
        """End the driver and its workers at once."""
        family = [*self.own.children(recursive=True), self.own]
        for one in family:
            one.kill()
        psutil.wait_procs(family, 10)
        self.process.wait()


def status(output: Path, environment: dict[str, str]) -> tuple[dict[str, object], float]:
    """Return what `calbatch status` says, and how long it takes."""
    command = [str(Path(sys.executable).with_name("calbatch")), "status", str(output), "--json"]
    start = time.perf_counter()
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return json.loads(said.stdout), time.perf_counter() - start


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="calbatch-scale-", dir=given.folder) as name:
        folder = Path(name)
        print(f"{given.exposures} exposures, {given.workers} workers, {given.sleep} s each")
        make_inputs(folder, given.exposures)
        measure(given, folder)


def measure(given: argparse.Namespace, folder: Path) -> None:
    output = folder / "out"
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ, "PYTHONPATH": paths, "CALBATCH_STATE_DIR": str(folder / "state"),
        "SLEEP": str(given.sleep),
    }  # fmt: skip
    script = [sys.executable, str(HERE / "scale_driver.py")]
    common = [str(folder / "exposures"), str(output), str(given.workers)]

    def driver(verb: str) -> Watched:
        return Watched([*script, verb, *common], environment, folder / "log")

    began = time.monotonic()
    first = driver("run")
    waits, _ = followed(first, output, environment, given.exposures * given.kill_at)
    half = time.monotonic() - began
    first.kill()
    done = int(status(output, environment)[0]["done"])
    print(f"killed with {done} done after {half:.0f} s; {first.cost(done)}")
    second = driver("resume")
    feeding = fed_again(second, output, environment, done)
    more, final = followed(second, output, environment, given.exposures)
    ending = second.ended()
    waits += more
    print(f"fed again after {feeding:.1f} s")
    print(f"all {final} done after {second.seconds:.0f} s more, of which {ending:.1f} s to end and "
          f"to write the manifest; {second.cost(final - done)}")  # fmt: skip
    print(f"status: median {statistics.median(waits):.2f} s, longest {max(waits):.2f} s, "
          f"{len(waits)} times")  # fmt: skip
    print(f"ledger: {(output / '.calbatch' / 'ledger.sqlite').stat().st_size / 1e6:.0f} MB")
    if given.exposures != final:
        print((folder / "log").read_text()[-3000:])
        sys.exit("not all are done")
    subprocess.run([*script, "plan", *common], env=environment, check=True)
    third = driver("run")
    third.ended()
    again = status(output, environment)[0]
    print(f"run again, {again['before']} of them done before: {third.seconds:.0f} s; "
          f"{third.cost(given.exposures)}")  # fmt: skip


def followed(
    driver: Watched, output: Path, environment: dict[str, str], until: float
) -> tuple[list[float], int]:
    """Ask for the status until so many are done; return how long it took, each time."""
    waits, done = [], 0
    while driver.process.poll() is None and done < until:
        driver.look()
        if not (output / ".calbatch" / "ledger.sqlite").exists():
            time.sleep(0.1)
            continue
        try:
            found, seconds = status(output, environment)
        except ValueError:  # no batch yet
            time.sleep(0.1)
            continue
        waits.append(seconds)
        done = int(found["done"])
        for _ in range(10):
            driver.look()
            time.sleep(0.1)
    found, seconds = status(output, environment)
    return [*waits, seconds], int(found["done"])


def fed_again(driver: Watched, output: Path, environment: dict[str, str], before: int) -> float:
    """Return the seconds until more is done than before, by a driver that was just started."""
    while driver.process.poll() is None:
        driver.look()
        found, _ = status(output, environment)
        if int(found["done"]) > before:
            break
        time.sleep(0.2)
    return time.monotonic() - driver.began


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
