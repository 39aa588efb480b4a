"""Start: few exposures, from exec to exit, to a disk, side by side with jwst 3.0.0."""

import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processes import Run, time_first_output
from setting import QUIET, Setting
from tables import Table

GOALS: Mapping[int, tuple[float, float]] = {1: (8.0, 12.0), 4: (12.0, 18.0), 24: (22.0, 28.0)}
"""Ratios of jwst's wall time to calbatch's, by exposures: not acceptable below, and wanted."""
SLOPE_GOALS = (30.0, 40.0)
"""The same of one more exposure in a batch of at least four, which runs in worker processes."""
BETWEEN = (2, 8, 16)
"""Further numbers of exposures, of calbatch only: they show where threads give way to workers."""
IDLE_GOAL, FEEDBACK_GOAL = 0.8, 0.5
"""Seconds of a batch with nothing to do, and before a terminal shows anything."""
REPEATS = 5

JWST, CALBATCH = "jwst", "calbatch"


@dataclass
class Runs:
    """Runs of both programs, by program and number of exposures."""

    setting: Setting
    output: Path
    done: dict[tuple[str, int], list[Run]] = field(default_factory=dict)
    idle: list[Run] = field(default_factory=list)
    feedback: list[float] = field(default_factory=list)

    def measure(self, program: str, count: int) -> None:
        """Run a program once with the given number of exposures."""
        if program == JWST:
            commands = self.setting.jwst(count, self.output)
        else:
            commands = [self.setting.calbatch("detector1", count, self.output)]
        run = self.setting.run(commands, self.output, 2 * count)
        self.done.setdefault((program, count), []).append(run)
        print(f"  {program}, {count}: {run.wall:.2f} s, {run.cpu:.2f} s CPU", flush=True)

    def measure_idle(self, count: int) -> None:
        """Run calbatch again after a batch of as many exposures, which it keeps."""
        command = self.setting.calbatch("detector1", count, self.output)
        self.idle.append(self.setting.run([command], self.output, 0, again=True))
        environment = {**self.setting.full_frames.environment, **QUIET}
        self.feedback.append(time_first_output(command, environment))

    def median(self, program: str, count: int, what: str) -> float:
        """Return the median cost of a program's runs."""
        return statistics.median(getattr(run, what) for run in self.done[program, count])

    def slope(self, program: str, few: int, many: int, what: str) -> float:
        """Return the cost of one more exposure: the median of its rounds."""
        rounds = zip(self.done[program, few], self.done[program, many], strict=True)
        costs = [getattr(long, what) - getattr(short, what) for short, long in rounds]
        return statistics.median(costs) / (many - few)


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    most = setting.counts[1]
    counts = sorted({1, min(4, most), most})
    between = [count for count in BETWEEN if count < most and count not in counts]
    runs = Runs(setting, setting.disk / "calbatch-benchmark")
    setting.fill(runs.output)
    try:
        # calbatch before jwst in each round, rather than both in turn for each number of exposures:
        # a virtual machine may return to its host the memory that jwst has used, and the batch that
        # follows pays for that, here the one of a single exposure.
        for repeat in range(max(setting.repeats, setting.jwst_repeats)):
            for count in sorted([*counts, *between]) if repeat < setting.repeats else ():
                runs.measure(CALBATCH, count)
                if count in counts:
                    runs.measure_idle(count)
            for count in counts if repeat < setting.jwst_repeats else ():
                runs.measure(JWST, count)
    finally:
        shutil.rmtree(runs.output, ignore_errors=True)
    ratios = [_ratios(runs, counts)] if setting.jwst_repeats else []
    return [_costs(runs, sorted([*counts, *between])), *ratios, _overhead(runs)]


def _costs(runs: Runs, counts: list[int]) -> Table:
    columns = ["program", "exposures", "wall s", "CPU s", "wall s, least", "wall s, most"]
    table = Table("Few exposures, 2048 x 2048 x 10 groups, two cores, to disk", columns)
    for program in (JWST, CALBATCH):
        for count in counts:
            if (program, count) in runs.done:
                wall, cpu = (runs.median(program, count, what) for what in ("wall", "cpu"))
                walls = [run.wall for run in runs.done[program, count]]
                row = [program, str(count), wall, cpu, min(walls), max(walls)]
                table.rows.append(row)
    table.notes = [
        "From exec to exit, kernels compiled, medians of rounds. Inputs and references are",
        "in memory, products are new files on a disk, calbatch's with fsync. jwst, which leaves",
        "its products to the system's cache: two processes, each with half of the files, and one",
        "process for one exposure. Each run begins when that cache is written.",
    ]
    return table


def _ratios(runs: Runs, counts: list[int]) -> Table:
    columns = ["jwst's time / calbatch's", "wall", "CPU", "minimum", "goal"]
    table = Table("Ratios of few exposures", columns, gains=["wall", "CPU"])
    for count in counts:
        ratios = (
            runs.median(JWST, count, what) / runs.median(CALBATCH, count, what)
            for what in ("wall", "cpu")
        )
        minimum, goal = GOALS.get(count, (None, None))
        table.rows.append([f"exposures: {count}", *ratios, minimum, goal])
    *_, few, many = counts
    slopes = (
        runs.slope(JWST, few, many, what) / runs.slope(CALBATCH, few, many, what)
        for what in ("wall", "cpu")
    )
    table.rows.append([f"each further exposure, from {few} to {many}", *slopes, *SLOPE_GOALS])
    return table


def _overhead(runs: Runs) -> Table:
    table = Table("Overhead of a batch", ["what", "wall s", "CPU s", "goal, wall s"])
    wall, cpu = (
        statistics.median(getattr(run, what) for run in runs.idle) for what in ("wall", "cpu")
    )
    feedback = statistics.median(runs.feedback)
    table.rows = [
        ["a batch whose exposures are all done already", wall, cpu, IDLE_GOAL],
        ["until a terminal shows something", feedback, None, FEEDBACK_GOAL],
    ]
    return table
