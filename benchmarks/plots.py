"""Draw the plots of docs/performance.md from the results of benchmarks/run.py.

    python benchmarks/run.py --only speed,start,modes --out results.json
    python benchmarks/plots.py results.json

Several files of results can be given, with different sections; of the same section, the last one
counts. Images are written to docs/images, or to the folder ``--to``: speed.png, of the wall time
against the number of exposures, start.png, of the same from a single exposure on, and modes.png, of
the ratios to jwst with their goals.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PROGRAMS = {"jwst": "tab:orange", "calbatch": "tab:blue"}
SLOPE = "slope"
SECONDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Ticks of logarithmic axes."""

Row = Sequence[Any]
Results = Mapping[str, Sequence[Mapping[str, Any]]]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS.json")
    parser.add_argument("--to", type=Path, default=IMAGES, metavar="DIR", help="folder of images")
    return parser.parse_args()


def read_results(paths: Sequence[Path]) -> Results:
    """Return the sections of several files of results."""
    merged: dict[str, Any] = {}
    for path in paths:
        merged |= json.loads(path.read_text("utf-8"))
    return merged


def find_rows(results: Results, section: str, *columns: str) -> list[Row]:
    """Return columns of the first table of a section that has all of them.

    Raises
    ------
    SystemExit
        If there is no such table.
    """
    for table in results.get(section, ()):
        names = table["columns"]
        if set(columns) <= set(names):
            places = [names.index(name) for name in columns]
            return [[row[place] for place in places] for row in table["rows"]]
    raise SystemExit(
        f"the results have no table with {', '.join(columns)} in the section {section}: "
        f"measure it with benchmarks/run.py --only {section} --out FILE"
    )


def plot_speed(results: Results) -> Figure:
    """Plot the wall time of batches against their number of exposures, with the measured slopes."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    rows = find_rows(results, "speed", "program", "exposures", "wall s", "wall s each")
    for program, colour in PROGRAMS.items():
        mine = [row[1:] for row in rows if row[0] == program]
        points = [(int(count), wall) for count, wall, _ in mine if count != SLOPE]
        slopes = [each for count, _, each in mine if count == SLOPE]
        if points and slopes:
            _draw_line(axes, program, points, slopes[0], colour)
    axes.set(
        xlabel="exposures", ylabel="wall time (s)", xlim=(0, None), ylim=(0, None),
        title="2048 x 2048 pixels, 10 groups, two cores",
    )  # fmt: skip
    axes.legend()
    return figure


def _draw_line(
    axes: Axes, program: str, points: Sequence[tuple[int, float]], slope: float, colour: str
) -> None:
    counts, walls = zip(*points, strict=True)
    label = f"{program}: {slope:.2f} s for each further exposure"
    axes.plot(counts, walls, "o-", color=colour, label=label)


def plot_start(results: Results) -> Figure:
    """Plot the wall time of whole batches against their number of exposures, from one on."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    rows = find_rows(results, "start", "program", "exposures", "wall s")
    for program, colour in PROGRAMS.items():
        points = [(int(count), wall) for name, count, wall in rows if name == program]
        if points:
            counts, walls = zip(*points, strict=True)
            axes.plot(counts, walls, "o-", color=colour, label=program)
    axes.set(
        xlabel="exposures", ylabel="wall time (s)", xscale="log", yscale="log",
        title="2048 x 2048 pixels, 10 groups, two cores, to a disk",
    )  # fmt: skip
    ticks = sorted({int(count) for _, count, _ in rows})
    axes.set_xticks(ticks, [str(count) for count in ticks])
    seconds = [value for value in SECONDS if value / 2 < max(wall for *_, wall in rows)]
    axes.set_yticks(seconds, [str(value) for value in seconds])
    axes.minorticks_off()
    axes.legend()
    return figure


def plot_modes(results: Results) -> Figure:
    """Plot the ratio of jwst's cost of a further exposure to calbatch's, by mode, with goals."""
    rows = find_rows(results, "modes", "case", "wall", "CPU", "minimum", "goal")
    figure = Figure(figsize=(8, 1 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    cases, walls, cpus, minima, goals = zip(*rows, strict=True)
    axes.barh([place - 0.2 for place in places], walls, 0.38, label="wall time", color="tab:blue")
    axes.barh([place + 0.2 for place in places], cpus, 0.38, label="CPU time", color="lightblue")
    for values, style, name in ((goals, "-", "goal"), (minima, ":", "minimum")):
        low, high = ([place + side for place in places] for side in (-0.45, 0.45))
        axes.vlines(values, low, high, colors="black", linestyles=style, label=name)
    axes.set(yticks=list(places), yticklabels=cases, xlabel="jwst over calbatch", xlim=(0, None))
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=4)
    return figure


PLOTS = {"speed": plot_speed, "start": plot_start, "modes": plot_modes}
"""The function that plots each section."""


def main() -> None:
    options = parse_arguments()
    results = read_results(options.results)
    options.to.mkdir(parents=True, exist_ok=True)
    drawn = [section for section in PLOTS if section in results]
    if not drawn:
        raise SystemExit(
            f"the results have none of the sections {', '.join(PLOTS)}, but {', '.join(results)}"
        )
    for section in drawn:
        path = options.to / f"{section}.png"
        PLOTS[section](results).savefig(path, dpi=150)
        print(path)


if __name__ == "__main__":
    main()
