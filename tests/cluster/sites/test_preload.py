"""The imports that workers inherit from the process from which they are forked."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import gc, json, sys
import calbatch.cluster.sites.preload
modules = [name for name in sys.modules if "." in name]
print(json.dumps({"modules": modules, "frozen": gc.get_freeze_count()}))
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
def test_what_a_worker_needs_is_imported(preloaded, name):
    assert name in preloaded["modules"]


def test_nothing_that_a_worker_does_not_need_is_imported(preloaded):
    for name in ("calbatch.cluster.cli", "calbatch.cluster.driver", "calbatch.calibrate.simulate"):
        assert not [m for m in preloaded["modules"] if m == name or m.startswith(f"{name}.")]


def test_the_imported_objects_are_kept_out_of_garbage_collection(preloaded):
    assert preloaded["frozen"] > 10_000
