"""Lines that are printed as they are."""

import json
import os
from pathlib import Path

import pytest

from calbatch.cluster.display import plain_lines
from calbatch.cluster.display.plain_lines import print_json_lines, print_lines
from calbatch.cluster.exposure.terminal import Console


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 2500])
def test_all_lines_are_printed_unchanged(count, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    lines = [f"{n} [bold]{'x' * 50}" for n in range(count)]
    print_lines(lines)
    assert capsys.readouterr().out.splitlines() == lines


def test_no_line_is_computed_after_the_pipe_is_closed(monkeypatch):
    monkeypatch.setattr(plain_lines, "_BLOCK", 2)
    made = []

    def make_lines():
        for n in range(100):
            made.append(n)
            yield str(n)

    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as file:
        print_lines(make_lines(), Console(file=file))
    assert len(made) == 2


def test_records_are_json(capsys):
    print_json_lines([{"a": "\x1b\n", "b": None}, {"path": Path("/x")}])
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"a": "\x1b\n", "b": None}, {"path": "/x"}]
    assert "\x1b" not in lines[0]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_json_lacks_are_text(value, capsys):
    print_json_lines([{"value": value, "default": 4.5}])
    assert json.loads(capsys.readouterr().out)["value"] == str(value)
