"""The extent of the benchmarks, their folders, and the commands that they run."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from inputs import Inputs, load_or_simulate
from processes import Command, Run, run

HERE = Path(__file__).parent
CORES = 2
"""Number of cores, for two processes of jwst and two workers of calbatch."""

QUIET = {
    "OMP_NUM_THREADS": "1",  # with two processes on two cores, libraries need no threads
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
}
"""Environment variables of all programs; PYTHONPATH lets workers import the floor."""


@dataclass(frozen=True)
class Setting:
    """The extent and the folders of the measurements.

    Attributes
    ----------
    cache : Path
        Folder for inputs, which are kept between runs, and products, which are removed; preferably
        in memory.
    disk : Path
        Folder on a disk.
    counts, jwst_counts : (int, int)
        Numbers of exposures in the short and in the long batch.
    repeats, jwst_repeats : int
        Number of runs of each batch, of which medians are taken.
    quick : bool
        True to reduce everything else.
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
        count = max(*self.counts, *self.jwst_counts)
        return load_or_simulate(self.cache, "bench-nircam-full", "bench-nircam-full", count)

    def calbatch(
        self,
        pipeline: str,
        count: int,
        output: Path,
        *options: str,
        inputs: Inputs | None = None,
    ) -> Command:
        """Return the command that calibrates exposures, full frames by default, with calbatch."""
        paths = (inputs or self.full_frames).paths[:count]
        script = Path(sys.executable).with_name("calbatch")
        return [script, "run", pipeline, *paths, "-o", output, *options]

    def jwst(
        self,
        count: int,
        output: Path,
        *,
        inputs: Inputs | None = None,
        steps: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[Command]:
        """Return the commands that calibrate exposures with jwst, one process per core.

        ``steps`` are parameters by step.
        """
        paths = (inputs or self.full_frames).paths[:count]
        parts = [paths[core::CORES] for core in range(CORES)]
        start = [sys.executable, HERE / "jwst_worker.py", output, json.dumps(steps or {})]
        return [[*start, *part] for part in parts if part]

    def run(
        self,
        commands: list[Command],
        output: Path,
        products: int,
        *,
        inputs: Inputs | None = None,
        memory: bool = False,
        again: bool = False,
        **environment: str,
    ) -> Run:
        """Run commands that write the given number of products.

        With ``again``, calbatch knows its earlier batches, and calibrates nothing twice.

        On the disk, each run writes new files, and begins when everything is written that an
        earlier one has left in the system's cache. In memory, products of earlier runs are
        replaced: new ones would need memory that the machine has never used. A virtual machine
        requests each such page from its host, which can take longer than the calibration.
        """
        if not again:
            is_on_disk = output.is_relative_to(self.disk)
            shutil.rmtree(output if is_on_disk else output / ".calbatch", ignore_errors=True)
            if is_on_disk:
                os.sync()
        output.mkdir(parents=True, exist_ok=True)
        before = _stamps(output)
        references = (inputs or self.full_frames).environment
        result = run(commands, {**references, **QUIET, **environment}, memory=memory)
        written = len(_stamps(output) - before)
        if written != products:
            sys.exit(f"{commands[0][:3]} wrote {written} products, not {products}")
        return result

    def fill(self, output: Path) -> None:
        """Calibrate all exposures; later runs find compiled kernels and, in memory, products."""
        count = max(self.counts)
        self.run([self.calbatch("detector1", count, output)], output, 2 * count)


def _stamps(folder: Path) -> set[tuple[str, int, int]]:
    """Return name, inode and time of each product; one that is written again differs."""
    found = ((path.name, path.stat()) for path in folder.glob("*.fits"))
    return {(name, status.st_ino, status.st_mtime_ns) for name, status in found}


def use_two_cores() -> int:
    """Restrict this process and its children to two cores; return the number of cores."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return len(cores)
