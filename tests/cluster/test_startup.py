"""The command line starts fast: only commands that need heavy packages import them."""

import subprocess
import sys

import pytest

HEAVY = {"astropy", "bokeh", "dask", "distributed", "jsonschema", "numba", "numpy", "yaml"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
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
