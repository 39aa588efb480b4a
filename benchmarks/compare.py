"""Compare the cost of commands between two versions of calbatch.

    python benchmarks/compare.py [--time] OLD NEW

OLD and NEW are checkouts, such as one made by ``git worktree add``; both run in this environment.
Where ``perf stat`` works, user instructions are counted; otherwise valgrind counts them, if it is
installed. Other load on the machine hardly affects either. Without them, and with ``--time``,
commands of both run in turn, and medians of processor time are taken.
"""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inputs import Inputs, load_or_simulate

from calbatch.calibrate.simulate import SimulationSpec

LIMIT = 1.03
"""Largest ratio of costs, new to old, that is not marked."""

SPEC = SimulationSpec("NRCA1", "SUB64P", ngroups=5)
PERF = ("perf", "stat", "-x,", "-e", "instructions:u", "-o")
VALGRIND = (
    *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
    "--log-file=",  # the report's name follows
)

REPEATABLE = {
    "PYTHONHASHSEED": "0",
    # valgrind knows fewer instructions than processors do; kernels are compiled for these
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
}
"""Variables of commands whose instructions valgrind counts."""


@dataclass(frozen=True)
class Meter:
    """A way to measure the cost of a command.

    Attributes
    ----------
    unit : str
        Unit of the costs.
    prefix : tuple of str
        Command that runs another one and counts; the name of its report is appended.
    pattern : str
        Regular expression for the count in the report.
    rounds : int
        Number of measurements, of which the median is taken.
    scale : float
        Factor to the unit.
    variables : mapping
        Environment variables of the commands.
    """

    unit: str
    prefix: tuple[str, ...] = ()
    pattern: str = ""
    rounds: int = 10
    scale: float = 1e-6
    variables: Mapping[str, str] = field(default_factory=dict)

    def works(self) -> bool:
        """Return whether this measures a command here."""
        if shutil.which(self.prefix[0]) is None:
            return False
        return self.count(["true"], dict(os.environ)) is not None

    def count(self, command: Sequence[str], environment: Mapping[str, str]) -> float | None:
        """Run a command and return its cost; None if the report has no count.

        Raises
        ------
        SystemExit
            If the command fails.
        """
        with tempfile.NamedTemporaryFile("r") as report:
            prefix = list(self.prefix)
            if prefix and prefix[-1].endswith("="):
                prefix[-1] += report.name
            elif prefix:
                prefix.append(report.name)
            usage = run([*prefix, *command], environment)
            if not prefix:
                return usage.ru_utime + usage.ru_stime
            found = re.search(self.pattern, report.read())
        return float(found[1].replace(",", "")) if found else None


METERS = (
    Meter("million instructions", PERF, r"(?m)^(\d+),.*instructions:u"),
    Meter("million instructions", VALGRIND, r"I +refs: +([\d,]+)", 1, variables=REPEATABLE),
)
TIMER = Meter("processor ms", scale=1e3)


def run(command: Sequence[str], environment: Mapping[str, str]) -> resource.struct_rusage:
    """Run a command and return the resources that it used."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors.decode()}")
    return usage


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


def compare(checkouts: Mapping[str, Path], folder: Path, meter: Meter) -> None:
    """Print the median cost of each command in both checkouts, and their ratio."""
    inputs = load_or_simulate(folder, "compare", SPEC, 2)
    # Users' processes find compiled modules, so commands are measured with them.
    inherited = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    environments = {
        name: {
            **inherited,
            **inputs.environment,
            **meter.variables,
            "PYTHONPATH": str(path / "src"),
            "NUMBA_CACHE_DIR": str(folder / "kernels" / name),
        }
        for name, path in checkouts.items()
    }
    print(f"{meter.unit}, medians of {meter.rounds}:")
    for title in commands(inputs, folder):
        costs: dict[str, list[float]] = {name: [] for name in checkouts}
        for number in range(meter.rounds + 1):
            for name in checkouts:
                arguments = commands(inputs, folder / name)[title]
                command = [sys.executable, "-P", "-m", "calbatch.cluster", *arguments]
                if number == 0:
                    run(command, environments[name])  # compiles kernels and bytecode
                    continue
                cost = meter.count(command, environments[name])
                assert cost is not None
                costs[name].append(cost)
        old, new = (statistics.median(costs[name]) * meter.scale for name in checkouts)
        mark = "" if new <= LIMIT * old else f"  more than {LIMIT}"
        print(f"  {title:15} {old:10.1f} {new:10.1f}   ratio {new / old:.3f}{mark}", flush=True)


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--time"]
    old, new = map(Path, arguments)
    meters = [meter for meter in METERS if meter.works()] if arguments == sys.argv[1:] else []
    meter = meters[0] if meters else TIMER
    with tempfile.TemporaryDirectory() as folder:
        compare({"old": old.resolve(), "new": new.resolve()}, Path(folder), meter)


if __name__ == "__main__":
    main()
