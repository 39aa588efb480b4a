"""The table of steps and pipelines."""

import subprocess
import sys

import pytest

from calbatch.calibrate import registry
from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.pipeline import Pipeline


@pytest.mark.parametrize("name", [*registry.STEPS, *registry.PIPELINES])
def test_every_entry_names_a_step_or_pipeline(name):
    cls = registry.find(name)
    assert cls.default_name() == name
    assert issubclass(cls, Pipeline) == (name in registry.PIPELINES)
    assert cls.__doc__


def test_jwsts_names_and_import_paths_work():
    assert registry.find("calwebb_detector1") is registry.find("detector1")
    path = "calbatch.calibrate.steps.jump:JumpStep"
    assert registry.find(path) is registry.find(path.replace(":", ".")) is registry.find("jump")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jmup", "no step or pipeline 'jmup'; did you mean 'jump'"),
        ("no.such.Step", "'no.such.Step' cannot be imported"),
        ("pathlib:Path", "'pathlib:Path' is not a step or pipeline"),
    ],
)
def test_unknown_names_are_rejected(name, message):
    with pytest.raises(ParameterError, match=message):
        registry.find(name)


def test_listing_imports_no_step():
    code = (
        "import sys; from calbatch.calibrate import registry; print(*registry.steps());"
        "print(*{'numba', 'dask.array', 'numpy'} & set(sys.modules))"
    )
    listed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    names, heavy = listed.stdout.decode().split("\n")[:2]
    assert names.split() == list(registry.steps())
    assert heavy == ""
