"""Compare the cost of commands between two versions of calbatch.

    python benchmarks/compare.py OLD NEW

OLD and NEW are checkouts, such as one made by ``git worktree add``; both run in this environment.
Commands of both run in turn, and medians are taken. Where ``perf stat`` works, user instructions
are counted, which other load on the machine hardly affects; otherwise, processor time is measured.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from inputs import Inputs, load_or_simulate

from calbatch.calibrate.simulate import SimulationSpec

ROUNDS = 10
LIMIT = 1.03
"""Largest ratio of costs, new to old, that is not marked."""

SPEC = SimulationSpec("NRCA1", "SUB64P", ngroups=5)
COUNTER = ("perf", "stat", "-x,", "-e", "instructions:u", "-o")


def can_count() -> bool:
    """Return whether ``perf stat`` counts instructions here."""
    if shutil.which("perf") is None:
        return False
    done = subprocess.run([*COUNTER, "/dev/stdout", "true"], capture_output=True, text=True)
    return done.returncode == 0 and parse_count(done.stdout) is not None


def parse_count(report: str) -> float | None:
    """Return the count in a report of ``perf stat``, or None if there is none."""
    for line in report.splitlines():
        value, *rest = line.split(",")
        if "instructions:u" in rest and value.isdigit():
            return float(value)
    return None


def measure(command: Sequence[str], environment: Mapping[str, str], *, counts: bool) -> float:
    """Run a command; return its instructions, or its processor time in seconds."""
    with tempfile.NamedTemporaryFile("r") as report:
        prefix = [*COUNTER, report.name] if counts else []
        process = subprocess.Popen(
            [*prefix, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.decode()}")
        count = parse_count(report.read()) if counts else usage.ru_utime + usage.ru_stime
    assert count is not None
    return count


def commands(inputs: Inputs, output: Path) -> dict[str, list[str]]:
    """Return the arguments of the commands to compare by name."""
    paths = [str(path) for path in inputs.paths]
    quiet = ["--scheduler", "sync", "--date", "2026-01-01T00:00:00"]
    return {
        "--help": ["--help"],
        "plan": ["plan", "detector1", *paths, "-o", str(output), *quiet],
        "run": ["run", "detector1", *paths, "-o", str(output), *quiet, "--force"],
        "refs bestrefs": ["refs", "bestrefs", "--json", *paths],
    }


def compare(checkouts: Mapping[str, Path], folder: Path, *, counts: bool) -> None:
    """Print the median cost of each command in both checkouts, and their ratio."""
    inputs = load_or_simulate(folder, "compare", SPEC, 2)
    environments = {
        name: {**os.environ, **inputs.environment, "PYTHONPATH": str(path / "src")}
        for name, path in checkouts.items()
    }
    unit, scale = ("million instructions", 1e-6) if counts else ("processor ms", 1e3)
    print(f"medians of {ROUNDS} runs in turn, {unit}:")
    for title in commands(inputs, folder):
        costs: dict[str, list[float]] = {name: [] for name in checkouts}
        for number in range(ROUNDS + 1):  # the first round compiles kernels and bytecode
            for name in checkouts:
                arguments = commands(inputs, folder / name)[title]
                command = [sys.executable, "-P", "-m", "calbatch.cluster", *arguments]
                cost = measure(command, environments[name], counts=counts)
                costs[name] += [cost] if number else []
        old, new = (statistics.median(costs[name]) * scale for name in checkouts)
        mark = "" if new <= LIMIT * old else f"  more than {LIMIT}"
        print(f"  {title:15} {old:10.1f} {new:10.1f}   ratio {new / old:.3f}{mark}", flush=True)


def main() -> None:
    old, new = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        compare({"old": old.resolve(), "new": new.resolve()}, Path(folder), counts=can_count())


if __name__ == "__main__":
    main()
