"""The command line starts fast: only commands that need heavy packages import them."""

import os
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


PROGRAM = """
import io, os, sys

class Terminal(io.StringIO):
    def isatty(self):
        return True
    def write(self, text):
        super().write(text)  # refuses bytes, of which click writes none to find out
        if text:
            os.write(1, f"{text}{' '.join(sys.modules)}".encode())
            os._exit(0)

sys.stderr = Terminal()
sys.argv = ["calbatch", "run", "detector1", "exposures"]
from calbatch.cluster.cli import main
main()
"""


def test_a_batch_begins_with_a_line_on_the_terminal():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    first, modules = done.stdout.split("\n", 1)
    assert first == "detector1: starting"
    assert not set(modules.split()) & HEAVY


UNUSED = {"astropy", "bokeh", "dask.array", "distributed", "jsonschema", "tornado"}


def test_calibrating_in_this_process_imports_few_modules(simulated, tmp_path):
    code = (
        "import sys\n"
        "from calbatch.cluster import run\n"
        "run('jump', sys.argv[1], sys.argv[2], scheduler=sys.argv[3], workers=1, fsync=False)\n"
        "print(*sys.modules)"
    )
    for name in ("compiling", "compiled"):  # compiling kernels takes a trial array
        command = [sys.executable, "-c", code, simulated.exposures[0], tmp_path / name, "threads"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "dashboard: http://" in done.stderr  # nobody opened it
    assert not set(done.stdout.split()) & UNUSED


def test_a_driver_without_exposures_to_calibrate_imports_nothing_of_workers(simulated, tmp_path):
    code = (
        "import sys\n"
        "from calbatch.cluster import run\n"
        "run('jump', sys.argv[1], sys.argv[2], scheduler=sys.argv[3], fsync=False)\n"
        "print(*sys.modules)"
    )
    for scheduler in ("sync", "local"):
        command = [sys.executable, "-c", code, simulated.exposures[0], tmp_path, scheduler]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 of them earlier" in done.stderr
    assert not set(done.stdout.split()) & {*UNUSED, "numba"}


def test_a_pipeline_does_not_import_the_transforms_that_few_exposures_need():
    code = "import sys, calbatch.calibrate.pipelines.detector1\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "calbatch.calibrate.steps.refpix.transform" in loaded
    assert not loaded & {"scipy.fft", "numba"}


def test_a_command_that_is_refused_leaves_no_process_that_holds_its_output(tmp_path):
    """The process from which workers would be forked is not waited for, and ends."""
    slow = tmp_path / "modules" / "distributed"
    slow.mkdir(parents=True)
    (slow / "__init__.py").write_text("import pathlib, time\npathlib.Path(__file__).unlink()\n")
    with (slow / "__init__.py").open("a") as file:
        file.write("time.sleep(300)")
    for number in range(4):
        with (tmp_path / f"{number}_uncal.fits").open("wb") as exposure:
            exposure.truncate(20 * 2**20)  # so that workers are likely
    paths = [str(slow.parent), os.environ.get("PYTHONPATH", "")]
    code = (
        "import pathlib, sys, time\n"
        "from calbatch.calibrate import registry\n"
        "find = registry.find\n"
        "def find_later(*names):\n"
        "    while pathlib.Path(sys.argv[-1], 'modules/distributed/__init__.py').exists():\n"
        "        time.sleep(0.01)\n"  # until the other process imports
        "    return find(*names)\n"
        "registry.find = find_later\n"
        "from calbatch.cluster.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "unknown", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "unknown" in done.stderr
