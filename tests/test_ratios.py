"""Benchmarks compare their ratios with stored ones, and tell which are worse."""

import json
import re

import pytest
from support.benchmark_scripts import load_benchmark
from support.repository import ROOT

COLUMNS = ["jwst's time / calbatch's", "wall", "CPU", "minimum"]


@pytest.fixture(scope="module")
def ratios():
    """Return the script as a module."""
    return load_benchmark("ratios")


def results_of(wall, cpu):
    """Return the results of a run: a table of costs, and one of ratios."""
    costs = {"columns": ["program", "wall"], "rows": [["jwst", 20.0]], "gains": []}
    gains = {
        "columns": COLUMNS,
        "rows": [["exposures: 1", wall, cpu, 8.0], ["exposures: 2", None, 9.0, None]],
        "gains": ["wall", "CPU"],
    }
    return {"about": {"load": [1.0]}, "start": [costs, gains]}


STORED = {
    "start": {"exposures: 1": {"wall": 10.0, "CPU": 8.0}},
    "speed": {"slope": {"wall": 29.0}},
}


def test_only_ratios_of_which_more_is_better_are_collected(ratios):
    assert ratios.collect_ratios(results_of(10.126, 8.0)) == {
        "start": {"exposures: 1": {"wall": 10.13, "CPU": 8.0}, "exposures: 2": {"CPU": 9.0}}
    }


@pytest.mark.parametrize(("wall", "cpu"), [(10.0, 8.0), (8.01, 6.41), (30.0, 40.0)])
def test_ratios_within_the_tolerance_pass(ratios, wall, cpu):
    said = ratios.check_ratios(results_of(wall, cpu), STORED, tolerance=0.2)
    assert said == "2 ratios are at most 20% worse than the stored"


def test_a_ratio_that_is_worse_fails_with_both_numbers(ratios):
    with pytest.raises(SystemExit) as failure:
        ratios.check_ratios(results_of(7.9, 8.0), STORED, tolerance=0.2)
    assert str(failure.value).splitlines() == [
        "1 of 2 ratios are worse than the stored by over 20%:",
        "  start, exposures: 1, wall: 7.9, stored 10",
    ]


def test_nothing_to_compare_with_is_a_failure(ratios):
    with pytest.raises(SystemExit, match="none of the measured ratios is stored"):
        ratios.check_ratios(results_of(10.0, 8.0), {"speed": STORED["speed"]})


def test_stored_ratios_replace_those_of_their_section_only(ratios, tmp_path):
    path = tmp_path / "ratios.json"
    ratios.store_ratios(results_of(10.0, 8.0), path)
    assert ratios.load_ratios(path) == ratios.collect_ratios(results_of(10.0, 8.0))
    path.write_text(json.dumps(STORED))
    ratios.store_ratios(results_of(11.0, 9.0), path)
    kept = ratios.load_ratios(path)
    assert kept["speed"] == STORED["speed"]
    assert kept["start"] == ratios.collect_ratios(results_of(11.0, 9.0))["start"]


def test_a_file_that_cannot_be_read_is_named(ratios, tmp_path):
    with pytest.raises(SystemExit, match=r"missing\.json: cannot be read"):
        ratios.load_ratios(tmp_path / "missing.json")


def test_a_row_that_is_missing_is_a_failure(ratios):
    stored = {"start": {**STORED["start"], "exposures: 24": {"wall": 28.0}}}
    with pytest.raises(SystemExit, match="exposures: 24, wall: not measured, stored 28"):
        ratios.check_ratios(results_of(10.0, 8.0), stored)


def test_sections_that_are_compared_on_pages_are_stored(ratios):
    stored = ratios.load_ratios(ROOT / "benchmarks" / "ratios.json")
    texts = [
        ROOT / name for name in ("benchmarks/run.py", "docs/performance.md", "CONTRIBUTING.md")
    ]
    command = r"--only ([a-z,]+) --check benchmarks/ratios\.json"
    named = {name for path in texts for names in re.findall(command, path.read_text())
             for name in names.split(",")}  # fmt: skip
    assert named
    assert named <= set(stored)


def test_tables_state_which_columns_are_gains(ratios):
    table = load_benchmark("tables").Table("Ratios", COLUMNS, [["exposures: 1", 9.0, 8.0, 8.0]])
    assert ratios.collect_ratios({"start": [table.as_json()]}) == {}
    table.gains.append("wall")
    found = ratios.collect_ratios({"start": [table.as_json()]})
    assert found == {"start": {"exposures: 1": {"wall": 9.0}}}
