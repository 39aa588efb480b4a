"""The entry point of the command line."""

from importlib.metadata import entry_points

import pytest

from calbatch.cluster import cli
from calbatch.cluster.cli import app


@pytest.mark.parametrize("status", [0, 3, 130])
def test_the_entry_point_runs_the_command_line(monkeypatch, status):
    def end():
        raise SystemExit(status)

    monkeypatch.setattr(app, "main", end)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status


def test_the_entry_point_is_the_installed_command():
    [point] = entry_points(group="console_scripts", name="calbatch")
    assert point.load() is cli.main
