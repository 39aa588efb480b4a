"""The command line starts fast: only commands that need heavy packages import them."""

import subprocess
import sys

import pytest
from support.recorded import record_batch

HEAVY = {"astropy", "bokeh", "dask", "distributed", "jsonschema", "numba", "numpy", "yaml"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    require_light(arguments)


@pytest.mark.parametrize("command", ["status", "logs"])
def test_commands_that_watch_a_batch_import_nothing_heavy(command, tmp_path):
    folder = record_batch(tmp_path, [{"state": "failed"}, {"state": "done"}], "failed")
    require_light([command, folder.name])


def require_light(arguments):
    """Run a command in a process of its own, and require that it has imported nothing heavy."""
    code = (
        f"import sys; sys.argv = ['calbatch', *{arguments}]\n"
        "from calbatch.cluster.cli.app import main\n"
        "try: main()\n"
        "finally: print(*sys.modules)"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    loaded = set(completed.stdout.splitlines()[-1].split())
    assert "click" in loaded
    assert not loaded & HEAVY
