"""What all benchmarks share: how much is asked for, where files go, and the commands."""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from inputs import Inputs, simulated
from processes import Command, Run, run

HERE = Path(__file__).parent
CORES = 2
"""Cores that everything runs on: jwst's two processes, and calbatch's two workers."""

QUIET = {
    "OMP_NUM_THREADS": "1",  # two processes on two cores need no threads of libraries
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
}
"""What all programs are given: among others, where workers find the floor."""


@dataclass(frozen=True)
class Setting:
    """How much to measure, and where.

    Attributes
    ----------
    cache : Path
        For inputs, kept between runs, and outputs, removed after each: memory, best of all.
    disk : Path
        A folder on a disk.
    counts, jwst_counts : (int, int)
        Exposures in the short and in the long batch.
    repeats, jwst_repeats : int
        How often each is run; medians are shown.
    quick : bool
        Whether to do less of everything else.
    """

    cache: Path
    disk: Path
    counts: tuple[int, int]
    jwst_counts: tuple[int, int]
    repeats: int
    jwst_repeats: int
    quick: bool

    @cached_property
    def full_frames(self) -> Inputs:
        """Distinct exposures of 2048 x 2048 pixels and 10 groups."""
        most = max(*self.counts, *self.jwst_counts)
        return simulated(self.cache, "bench-nircam-full", "bench-nircam-full", most)

    def calbatch(self, pipeline: str, count: int, output: Path, *options: str) -> Command:
        """Return the command that calibrates some full frames."""
        script = Path(sys.executable).with_name("calbatch")
        return [script, "run", pipeline, *self.full_frames.paths[:count], "-o", output, *options]

    def jwst(self, count: int, output: Path) -> list[Command]:
        """Return the commands that calibrate some full frames with jwst, a process a core."""
        paths = self.full_frames.paths[:count]
        parts = [paths[core::CORES] for core in range(CORES)]
        return [[sys.executable, HERE / "jwst_worker.py", output, *part] for part in parts if part]

    def run(
        self,
        commands: list[Command],
        output: Path,
        products: int,
        *,
        memory: bool = False,
        **environment: str,
    ) -> Run:
        """Run commands that write so many products; those that are there already are replaced.

        Nothing else is there from runs before. Products take the place of others, so that the
        machine need not find memory that it never used: a virtual one asks its host for every page
        of it, which can take longer than calibrating.
        """
        output.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(output / ".calbatch", ignore_errors=True)
        start = time.time() - 1
        result = run(
            commands, {**self.full_frames.environment, **QUIET, **environment}, memory=memory
        )
        found = sum(path.stat().st_mtime > start for path in output.glob("*.fits"))
        if found != products:
            sys.exit(f"{commands[0][:3]} wrote {found} products, not {products}")
        return result

    def filled(self, output: Path) -> None:
        """Have a folder hold the products of all exposures, for others to replace."""
        count = max(self.counts)
        self.run([self.calbatch("detector1", count, output)], output, 2 * count)


def use_two_cores() -> int:
    """Confine this process, and all that it starts, to two cores; return how many there are."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return len(cores)
