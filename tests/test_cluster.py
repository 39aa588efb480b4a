"""The public names of the batch service, which are imported when they are used."""

import subprocess
import sys

import pytest

from calbatch import cluster
from calbatch.cluster.batch import python_api, result
from calbatch.cluster.exposure import outcome


def test_the_public_names_are_those_of_the_modules():
    assert cluster.run is python_api.run
    assert cluster.Result is result.Result
    assert cluster.Outcome is outcome.Outcome
    assert sorted(cluster.__all__) == ["Outcome", "RequestError", "Result", "run"]
    assert set(cluster.__all__) == set(cluster._PLACES)


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match=r"module 'calbatch\.cluster' has no attribute 'walk'"):
        _ = cluster.walk


def test_importing_the_package_imports_nothing_else():
    program = "import sys, calbatch.cluster; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "dask", "rich", "calbatch.cluster.batch"} & set(done.stdout.split())
