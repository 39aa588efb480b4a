"""The plots of docs/performance.md show the numbers of the results."""

import json
import sys

import pytest
from support.benchmark_scripts import load_benchmark

SPEED = {
    "title": "Full frames",
    "columns": ["program", "exposures", "wall s", "CPU s", "wall s each", "CPU s each", "load"],
    "rows": [
        ["jwst", "4", 40.0, 80.0, 10.0, 20.0, 2.0],
        ["jwst", "8", 76.0, 150.0, 9.5, 18.75, 2.0],
        ["jwst", "slope", None, None, 9.0, 17.5, None],
        ["calbatch", "8", 12.0, 20.0, 1.5, 2.5, 2.0],
        ["calbatch", "24", 20.0, 36.0, 0.8, 1.5, 2.0],
        ["calbatch", "slope", None, None, 0.5, 1.0, None],
        ["calbatch, one worker", "slope", None, None, 0.9, 0.9, None],
    ],
    "notes": [],
}
START = {
    "columns": ["program", "exposures", "wall s", "CPU s"],
    "rows": [
        ["jwst", "1", 20.0, 20.0],
        ["jwst", "24", 200.0, 390.0],
        *(["calbatch", str(count), 1.0 + count / 4, 2.0] for count in (1, 8, 24)),
    ],
}
MODES = [
    {"columns": ["case", "program", "wall s each"], "rows": [["snowballs", "jwst", 3.0]]},
    {
        "columns": ["case", "wall", "CPU", "minimum", "goal", "memory"],
        "rows": [["snowballs", 22.0, 24.0, 10.0, 20.0, 0.3], ["IRS2", 9.0, 11.0, 8.0, 10.0, 0.2]],
    },
]


@pytest.fixture(scope="module")
def plots():
    """Return the script as a module."""
    return load_benchmark("plots")


def test_speed_is_drawn_by_number_of_exposures(plots):
    [axes] = plots.plot_speed({"speed": [SPEED]}).axes
    drawn = {line.get_label(): (*line.get_xdata(), *line.get_ydata()) for line in axes.lines}
    assert drawn == {
        "jwst: 9.00 s for each further exposure": (4, 8, 40.0, 76.0),
        "calbatch: 0.50 s for each further exposure": (8, 24, 12.0, 20.0),
    }


def test_few_exposures_are_drawn_from_one_on(plots):
    [axes] = plots.plot_start({"start": [START]}).axes
    drawn = {line.get_label(): (*line.get_xdata(), *line.get_ydata()) for line in axes.lines}
    assert drawn == {"jwst": (1, 24, 20.0, 200.0), "calbatch": (1, 8, 24, 1.25, 3.0, 7.0)}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8", "24"]
    low, high = axes.get_ylim()
    assert low < 1.25 < 200.0 < high


def test_ratios_are_bars_with_their_own_goals(plots):
    [axes] = plots.plot_modes({"modes": MODES}).axes
    wall, cpu = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert (wall, cpu) == ([22.0, 9.0], [24.0, 11.0])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["snowballs", "IRS2"]
    marks = [[segment[0][0] for segment in each.get_segments()] for each in axes.collections]
    assert marks == [[20.0, 10.0], [10.0, 8.0]]


def test_one_command_draws_what_was_measured(plots, tmp_path, monkeypatch, capsys):
    files = {
        "a": {"about": {}, "speed": [SPEED]},
        "b": {"about": {}, "start": [START], "modes": MODES},
    }
    paths = [tmp_path / f"{name}.json" for name in files]
    for path, results in zip(paths, files.values(), strict=True):
        path.write_text(json.dumps(results))
    monkeypatch.setattr(sys, "argv", ["plots.py", *map(str, paths), "--to", str(tmp_path / "made")])
    plots.main()
    made = sorted((tmp_path / "made").iterdir())
    assert [path.name for path in made] == ["modes.png", "speed.png", "start.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "made" / f"{name}.png") for name in ("speed", "start", "modes")
    ]


def test_results_without_the_table_are_refused(plots):
    with pytest.raises(SystemExit, match=r"no table with case, wall, CPU, .* section modes"):
        plots.plot_modes({"modes": MODES[:1]})
