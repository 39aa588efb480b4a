"""Users' own steps on workers that cannot import them."""

import json
import os
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from support.batches import DATE, calbatch, checksums, quiet_console
from support.placed import eventually
from support.services import end_process

from calbatch import cluster
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import View
from calbatch.models import datamodels

SOURCE = Path(__file__).resolve().parents[2] / "src"

HELPER = "def doubled(array):\n    return 2 * array\n"

STEP = """
from calbatch.calibrate.parameters import Float
from calbatch.calibrate.step import Step
from calbatch.models.datamodels import RampModel
from {helper} import doubled

def scale(data, *, factor, offset):
    return factor * doubled(data) - offset

def gather(data):
    return float(data[0, 0].mean())

class Mine(Step):
    "A step of a user's own."

    factor = Float(1.0, help="by how much")

    def process(self, exposure):
        ramp = RampModel(exposure)
        offset = ramp.reduce(gather, sum)
        return ramp.map_tiles(scale, outputs=("data",), factor=self.factor, offset=offset)
"""

SCRIPT = """
import io, sys
from rich.console import Console
from calbatch import cluster
{step}
result = cluster.run(
    Mine, sys.argv[3:], sys.argv[2], scheduler=sys.argv[1], date="{date}", fsync=False,
    console=Console(file=io.StringIO()), parameters={{"factor": 3.0}},
)
print(dict(result.counts), [outcome.error for outcome in result.failed])
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Run a scheduler and a worker that can import only installed packages."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONSAFEPATH": "1"}
    file = folder / "scheduler.json"
    how = ("--host", "127.0.0.1", "--no-dashboard")
    with ExitStack() as stack, (folder / "log").open("w") as log:

        def run(program, *arguments):
            command = [sys.executable, "-m", f"distributed.cli.{program}", *map(str, arguments)]
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            stack.callback(end_process, process)

        run("dask_scheduler", "--port", "0", "--scheduler-file", file, *how)
        eventually(file.exists)
        run("dask_worker", "--scheduler-file", file, "--nthreads", "1", *how)
        yield json.loads(file.read_text())["address"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder from which only this process imports."""
    made = tmp_path / "work"
    made.mkdir()
    monkeypatch.syspath_prepend(made)
    yield made
    for name in [n for n, m in sys.modules.items() if str(tmp_path) in str(m)]:
        del sys.modules[name]


def write_module(folder, name):
    """Write the module of a step, and a module that it imports."""
    (folder / f"{name}_helper.py").write_text(HELPER)
    (folder / f"{name}.py").write_text(STEP.format(helper=f"{name}_helper"))


def run(step, paths, out, **options):
    how = {"date": DATE, "fsync": False, "console": quiet_console(), "parameters": {"factor": 3.0}}
    return cluster.run(step, paths, out, **how, **options)


@pytest.mark.parametrize("grain", ["exposure", "tile"])
def test_a_module_of_the_working_folder_is_sent_to_workers(
    simulated, tmp_path, folder, address, grain
):
    write_module(folder, f"mine_{grain}")
    step = f"mine_{grain}:Mine"
    result = run(
        step, simulated.exposures, tmp_path / "a", scheduler=address, grain=grain, tile_rows=7
    )
    assert [outcome.error for outcome in result.failed] == []
    assert result.counts == {"done": 3}
    assert run(step, simulated.exposures, tmp_path / "b", scheduler="sync").exit_status == 0
    assert checksums(tmp_path / "a") == checksums(tmp_path / "b")


def test_hooks_given_by_name_are_sent_to_workers(simulated, tmp_path, folder, address):
    (folder / "hooked.py").write_text(
        "def title(model):\n    model.meta.program.title = 'hooked'\n"
    )
    how = {"scheduler": address, "date": DATE, "fsync": False, "console": quiet_console()}
    parameters = {"post_hooks": "hooked:title"}
    result = cluster.run(
        "superbias", simulated.exposures, tmp_path / "a", parameters=parameters, **how
    )
    assert result.counts == {"done": 3}
    for path in result.products:
        assert datamodels.open(path).meta.program.title == "hooked"


def test_a_hook_that_cannot_be_imported_fails_the_request(simulated, tmp_path):
    parameters = {"saturation": {"pre_hooks": "no.such:thing"}}
    message = r"^saturation\.pre_hooks: hook 'no\.such:thing': 'no\.such:thing' cannot be imported"
    with pytest.raises(RequestError, match=message):
        cluster.run("detector1", simulated.exposures, tmp_path / "out", parameters=parameters)
    assert not (tmp_path / "out").exists()


def test_steps_with_parameters_and_commands_are_hooks_on_workers(
    simulated, tmp_path, folder, address
):
    write_module(folder, "stepped")
    seen = tmp_path / "seen.fits"
    hooks = ["stepped.Mine(factor=0.25)", f"cp {{0}} '{seen}'"]
    how = {
        "date": DATE, "fsync": False, "console": quiet_console(),
        "parameters": {"": {"post_hooks": hooks}},
    }  # fmt: skip
    paths = simulated.exposures[:1]
    result = cluster.run("superbias", paths, tmp_path / "a", scheduler=address, **how)
    assert [outcome.error for outcome in result.failed] == []
    (product,) = result.products
    plain = cluster.run("superbias", paths, tmp_path / "b", scheduler="sync", date=DATE,
                        fsync=False, console=quiet_console()).products  # fmt: skip
    with datamodels.open(plain[0]) as model:
        data = np.asarray(model.data)
    for path in (product, seen):
        found = np.asarray(datamodels.open(path).data)
        np.testing.assert_allclose(found, data / 2 - data[0, 0].mean(), rtol=1e-4, atol=0.1)


def test_plans_run_no_commands(simulated, tmp_path):
    seen = tmp_path / "seen.fits"
    completed = calbatch(
        "plan", "superbias", simulated.exposures[0], "-o", tmp_path / "out",
        f"--post_hooks=cp {{0}} '{seen}'",
    )  # fmt: skip
    assert completed.status == 0, completed.err
    assert not seen.exists()


def test_definitions_of_a_script_are_sent_to_workers(simulated, tmp_path, address):
    (tmp_path / "helpers_of_script.py").write_text(HELPER)
    script = tmp_path / "script.py"
    step = STEP.format(helper="helpers_of_script")
    script.write_text(SCRIPT.format(step=step, date=DATE))
    command = [sys.executable, script, address, tmp_path / "out", *simulated.exposures]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(tmp_path)])}
    completed = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert completed.stdout == "{'done': 3} []\n", completed.stderr


@pytest.mark.parametrize("grain", ["exposure", "tile"])
def test_a_package_missing_on_workers_is_reported_in_one_line(
    simulated, tmp_path, folder, address, grain, monkeypatch
):
    installed = tmp_path / "site-packages"
    installed.mkdir()
    monkeypatch.syspath_prepend(installed)
    write_module(installed, f"only_here_{grain}")
    step = f"only_here_{grain}:Mine"
    result = run(step, simulated.exposures, tmp_path / "out", scheduler=address, grain=grain)
    assert result.counts == {"failed": 3}
    for path, outcome in zip(simulated.exposures, result.failed, strict=True):
        start, name, end = outcome.error.partition(f"only_here_{grain}")
        assert start.startswith(f"{path}: its code cannot be loaded where it is to run: ")
        assert name
        assert end.endswith("; install the modules that it imports there")
    with View(result.folder.state) as view:
        rows = list(view.exposures(result.batch.id))
        assert [len(view.attempts(row.id)) for row in rows] == [1, 1, 1]
    # The worker is unchanged.
    write_module(folder, f"after_{grain}")
    again = run(f"after_{grain}:Mine", simulated.exposures, tmp_path / "b", scheduler=address)
    assert again.counts == {"done": 3}


def test_an_unpicklable_step_is_reported_in_one_line(simulated, tmp_path, folder, address):
    text = STEP.format(helper="locked_helper") + textwrap.dedent(
        """
        import threading
        Mine.lock = threading.Lock()
        """
    )
    (folder / "locked_helper.py").write_text(HELPER)
    (folder / "locked.py").write_text(text)
    result = run("locked:Mine", simulated.exposures, tmp_path / "out", scheduler=address)
    assert result.counts == {"failed": 3}
    assert "ModuleNotFoundError" in result.failed[0].error
    assert "'locked'" in result.failed[0].error
