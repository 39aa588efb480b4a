"""Speed: batches of full frames compared with jwst 3.0.0, from exec to exit."""

import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from processes import Run
from scripts import run_script
from setting import QUIET, Setting
from tables import Table

Batch = Callable[[int], Run]
GOAL, MINIMUM = 25, 12


@dataclass
class Series:
    """Runs of one program with few and with many exposures."""

    name: str
    few: int
    many: int
    batch: Batch
    runs: dict[int, list[Run]] = field(default_factory=dict)

    def measure(self, count: int) -> None:
        """Run the program once with the given number of exposures."""
        run = self.batch(count)
        self.runs.setdefault(count, []).append(run)
        print(
            f"  {self.name}: {count} exposures, {run.wall:.1f} s wall, {run.cpu:.1f} s CPU, "
            f"load {run.load:.1f}",
            flush=True,
        )

    def median(self, count: int, what: str) -> float:
        """Return the median cost of the runs with the given number of exposures."""
        return statistics.median(getattr(run, what) for run in self.runs[count])

    def slope(self, what: str) -> float:
        """Return the cost of a further exposure, as the median over the repeats."""
        pairs = zip(self.runs[self.few], self.runs[self.many], strict=True)
        steps = [getattr(long, what) - getattr(short, what) for short, long in pairs]
        return statistics.median(steps) / (self.many - self.few)

    def rows(self) -> list[list[object]]:
        """Return a row for each number of exposures, and one for the slope."""
        rows: list[list[object]] = []
        for count in (self.few, self.many):
            wall, cpu, load = (self.median(count, what) for what in ("wall", "cpu", "load"))
            rows.append([self.name, str(count), wall, cpu, wall / count, cpu / count, load])
        return [
            *rows,
            [self.name, "slope", None, None, self.slope("wall"), self.slope("cpu"), None],
        ]


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    first = _first_runs(setting)
    ours = _ours(setting, "calbatch", "detector1")
    floor = _ours(setting, "floor", "floor:FloorPipeline")
    disk = setting.disk / "calbatch-benchmark"
    on_disk = _ours(setting, "calbatch, to disk", "detector1", output=disk)
    floor_on_disk = _ours(setting, "floor, to disk", "floor:FloorPipeline", output=disk)
    alone = _ours(setting, "calbatch, one worker", "detector1", options=("--workers", "1"))
    theirs = _theirs(setting)
    folders = setting.cache / "products", disk
    for folder in folders:
        setting.fill(folder)
    programs = [ours, alone, floor, on_disk, floor_on_disk]
    _run_in_turn(setting, programs, [theirs] if setting.jwst_repeats else [])
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    everything = [s for s in (theirs, ours, alone, on_disk, floor, floor_on_disk) if s.runs]
    columns = ["program", "exposures", "wall s", "CPU s", "wall s each", "CPU s each", "load"]
    table = Table("Full frames, 2048 x 2048 x 10 groups, two cores", columns)
    table.rows = [row for series in everything for row in series.rows()]
    table.notes = [
        "From exec to exit, kernels compiled, medians. Inputs, references and products are in",
        "memory (products replace earlier ones, see Setting.run), except for the products",
        "'to disk', which are new files written with fsync. jwst: two processes, each with half",
        "of the files; calbatch: two workers; the floor reads and writes the same files with the",
        "same driver without any arithmetic. The slope is the cost of a further exposure.",
    ]
    return [
        table,
        *([_ratios(theirs, ours, on_disk)] if theirs.runs else []),
        _own_ratios(
            ("one worker's slope / two workers' (goal 1.85)", alone, ours),
            ("calbatch's slope to disk / in memory (goal 1.1)", on_disk, ours),
            ("calbatch's slope / the floor's, to disk (goal 2.5)", on_disk, floor_on_disk),
            ("calbatch's slope / the floor's, in memory", ours, floor),
        ),
        first,
        _stages(setting, ours, floor),
    ]


def _run_in_turn(setting: Setting, ours: Sequence[Series], theirs: Sequence[Series]) -> None:
    """Alternate between the programs, so that other load on the machine affects all alike."""
    for repeat in range(max(setting.repeats, setting.jwst_repeats)):
        turns = ours if repeat < setting.repeats else ()
        others = theirs if repeat < setting.jwst_repeats else ()
        for series in (*others, *turns):
            series.measure(series.few)
        for series in (*others, *turns):
            series.measure(series.many)


def _ours(
    setting: Setting,
    name: str,
    pipeline: str,
    *,
    output: Path | None = None,
    options: Sequence[str] = (),
) -> Series:
    folder = output or setting.cache / "products"

    def batch(count: int) -> Run:
        command = setting.calbatch(pipeline, count, folder, *options)
        return setting.run([command], folder, 2 * count)

    return Series(name, *setting.counts, batch)


def _theirs(setting: Setting) -> Series:
    folder = setting.cache / "products"

    def batch(count: int) -> Run:
        return setting.run(setting.jwst(count, folder), folder, 2 * count)

    return Series("jwst", *setting.jwst_counts, batch)


def _ratios(theirs: Series, ours: Series, on_disk: Series) -> Table:
    table = Table("Ratios to jwst", ["what", "wall", "CPU"], gains=["wall", "CPU"])
    their_count, our_count = theirs.many, ours.few
    ratios = (
        (theirs.median(their_count, what) / their_count)
        / (ours.median(our_count, what) / our_count)
        for what in ("wall", "cpu")
    )
    table.rows = [
        _ratio("jwst's slope / calbatch's", theirs, ours),
        _ratio("jwst's slope / calbatch's to disk", theirs, on_disk),
        [f"jwst with {their_count} exposures / calbatch with {our_count}, each", *ratios],
    ]
    table.notes = [f"The goal of the first is {GOAL}; less than {MINIMUM} is not acceptable."]
    return table


def _own_ratios(*pairs: tuple[str, Series, Series]) -> Table:
    table = Table("Ratios of calbatch's own slopes", ["what", "wall", "CPU"])
    table.rows = [_ratio(*pair) for pair in pairs]
    return table


def _ratio(name: str, upper: Series, lower: Series) -> list[object]:
    return [name, *(upper.slope(what) / lower.slope(what) for what in ("wall", "cpu"))]


def _first_runs(setting: Setting) -> Table:
    """Run one exposure without compiled kernels, then with them."""
    table = Table("The first run on a machine: one exposure", ["kernels", "wall s", "CPU s"])
    output = setting.cache / "products"
    command = setting.calbatch("detector1", 1, output)
    with tempfile.TemporaryDirectory() as kernels:
        for name in ("compiled during the run", "compiled before"):
            run = setting.run([command], output, 2, NUMBA_CACHE_DIR=kernels)
            table.rows.append([name, run.wall, run.cpu])
    setting.run([command], output, 2)  # compiles the kernels for the following runs
    return table


def _stages(setting: Setting, ours: Series, floor: Series) -> Table:
    """Return the CPU seconds of each step, and the remainder."""
    count, _ = setting.counts
    cost = run_script(
        "in_process.py", setting.cache / "products", "exposure",
        *setting.full_frames.paths[:count],
        environment={**setting.full_frames.environment, **QUIET},
    )  # fmt: skip
    stages = {name: seconds for name, seconds in cost["stages"].items() if seconds >= 0.0005}
    table = Table("CPU seconds per exposure by step", ["step", "CPU s", "%"])
    whole = ours.slope("cpu")
    rest = whole - sum(stages.values())
    for name, seconds in [*stages.items(), ("outside the steps' tiles", rest), ("slope", whole)]:
        table.rows.append([name, seconds, 100 * seconds / whole])
    table.notes = [
        f"Medians of {count} exposures on two workers. A step's time includes reading the rows of",
        "its references; that of the first includes reading the input. Outside the steps' tiles",
        "are headers, graphs, values over the frame (reference pixels), scheduler and client.",
    ]
    return table
