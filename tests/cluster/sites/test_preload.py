"""The imports that workers inherit from the process from which they are forked."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import gc, json, sys
import calbatch.cluster.sites.preload
modules = [name for name in sys.modules if "." in name]
frozen = gc.get_freeze_count()
import yaml
from calbatch.models import datamodels
yaml.load = None
kinds = [datamodels.Level1bModel, datamodels.RampModel, datamodels.ImageModel, datamodels.DarkModel]
schemas = [kind().schema.name for kind in kinds]
print(json.dumps({"modules": modules, "frozen": frozen, "schemas": schemas}))
"""


@pytest.fixture(scope="module")
def preloaded():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "name",
    [
        "distributed.worker",
        "distributed.nanny",
        "calbatch.cluster.sites.dask_site",
        "calbatch.calibrate.pipelines.detector1",
        "calbatch.calibrate.steps.ramp_fit",
        "calbatch.models.fits.readers",
    ],
)
def test_the_modules_of_workers_are_imported(preloaded, name):
    assert name in preloaded["modules"]


def test_nothing_that_a_worker_does_not_need_is_imported(preloaded):
    for name in ("calbatch.cluster.cli", "calbatch.cluster.driver", "calbatch.calibrate.simulate"):
        assert not [m for m in preloaded["modules"] if m == name or m.startswith(f"{name}.")]


def test_the_imported_objects_are_kept_out_of_garbage_collection(preloaded):
    assert preloaded["frozen"] > 10_000


def test_the_schemas_of_common_files_are_parsed(preloaded):
    assert preloaded["schemas"] == ["level1b", "ramp", "image", "dark"]
