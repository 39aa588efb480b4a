"""`calbatch doctor`."""

import json
import sys

import dask
import pytest
from support.batches import calbatch
from support.recorded import record_batch

from calbatch.cluster.cli.commands import _checks
from calbatch.cluster.cli.commands._checks import CHECKS
from calbatch.cluster.folder import registry
from calbatch.cluster.ledger.store import NAME
from calbatch.models import jit


@pytest.fixture(autouse=True)
def _surroundings(simulated, monkeypatch, tmp_path):
    """Be a user without batches or Slurm, but with a reference cache."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "registry"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    monkeypatch.chdir(tmp_path)


def examine(*arguments):
    """Return the exit status, and the findings by subject."""
    said = calbatch("doctor", "--json", *arguments)
    findings = [json.loads(line) for line in said.out.splitlines()]
    return said.status, {finding["check"]: finding for finding in findings}


def test_where_all_is_well_every_check_says_so(tmp_path):
    said = calbatch("doctor")
    assert said.status == 0, said.out
    *lines, last = said.out.splitlines()
    assert last == "all is well", said.out
    assert {line.split()[0] for line in lines} == {"ok"}
    checked = [line.split()[1] for line in lines]
    assert len(checked) == len(set(checked)) >= len(CHECKS)
    assert not (tmp_path / ".calbatch").exists()


def test_a_problem_has_its_remedy_below_it(monkeypatch):
    monkeypatch.delenv("CRDS_PATH")
    said = calbatch("doctor")
    assert said.status == 1
    lines = said.out.splitlines()
    [number] = [n for n, line in enumerate(lines) if line.startswith("wrong")]
    assert lines[number].split()[1] == "cache"
    assert "-> mkdir -p ~/crds_cache; export CRDS_PATH=" in lines[number + 1]
    assert lines[-1] == "1 problem, 0 warnings"


def test_the_context_is_named(simulated):
    _, found = examine()
    assert simulated.context in found["context"]["text"]
    assert str(simulated.crds) in found["cache"]["text"]


def test_packages_that_are_missing_or_too_old_are_named(tmp_path, monkeypatch):
    metadata = tmp_path / "site" / "calbatch-1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(
        "Metadata-Version: 2.1\nName: calbatch\nVersion: 1\nRequires-Dist: no-such-package>=1\n"
        'Requires-Dist: numpy<1\nRequires-Dist: dask>=1\nRequires-Dist: also-none; extra == "x"\n'
    )
    monkeypatch.syspath_prepend(str(metadata.parents[1]))
    status, found = examine()
    assert (status, found["installation"]["state"]) == (1, "wrong")
    assert "no-such-package is not installed; numpy is " in found["installation"]["text"]
    assert "dask" not in found["installation"]["text"]
    assert "also-none" not in found["installation"]["text"]
    assert found["installation"]["advice"].startswith(f"{sys.executable} -m pip install ")


@pytest.fixture
def _unusable_kernels(tmp_path, monkeypatch):
    """Let others write to the folder of compiled kernels."""
    name = jit.kernel_folder().name
    jit.kernel_folder.cache_clear()
    (tmp_path / "kernels" / name).mkdir(parents=True)
    (tmp_path / "kernels" / name).chmod(0o777)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kernels"))
    yield
    jit.kernel_folder.cache_clear()


@pytest.mark.usefixtures("_unusable_kernels")
def test_kernels_that_cannot_be_kept_are_a_warning():
    status, found = examine()
    assert (status, found["kernels"]["state"]) == (0, "warning")
    assert found["kernels"]["advice"].startswith("export NUMBA_CACHE_DIR=")


def test_sites_that_are_wrong_are_named():
    with dask.config.set({"calbatch.sites": {"big": {"kind": "slrm"}}}):
        status, found = examine()
    assert (status, found["sites"]["state"]) == (1, "wrong")
    assert "did you mean 'slurm'" in found["sites"]["text"]
    assert dask.config.paths[-1] in found["sites"]["advice"]


def test_a_site_needs_slurm():
    with dask.config.set({"calbatch.sites": {"big": {"kind": "slurm"}}}):
        status, found = examine()
    assert (status, found["slurm"]["state"]) == (1, "wrong")
    assert "needed by the site big" in found["slurm"]["text"]


@pytest.mark.parametrize(
    ("script", "state"), [("echo 'main* up'; echo 'debug up'", "ok"), ("exit 1", "warning")]
)
def test_slurm_is_asked_where_there_is_one(tmp_path, script, state):
    (tmp_path / "bin").mkdir()
    for name in ("sinfo", "sbatch"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o700)
    status, found = examine()
    assert (status, found["slurm"]["state"]) == (0, state)
    assert ("2 partitions: main* up, debug up" in found["slurm"]["text"]) == (state == "ok")


def test_a_notebook_server_needs_a_proxy(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    monkeypatch.setitem(sys.modules, "jupyter_server_proxy", None)  # as if not installed
    status, found = examine()
    assert (status, found["dashboard"]["state"]) == (0, "warning")
    assert found["dashboard"]["advice"].endswith("pip install jupyter-server-proxy")


def test_an_output_that_is_no_folder_is_wrong(tmp_path):
    (tmp_path / "file").touch()
    status, found = examine("-o", tmp_path / "file" / "out")
    assert (status, found["output"]["state"]) == (1, "wrong")
    assert found["output"]["text"] == f"cannot write to {tmp_path / 'file'}"


def test_a_url_is_not_checked():
    status, found = examine("-o", "s3://bucket/out")
    assert (status, found["output"]["state"]) == (0, "ok")
    assert "s3://bucket/out: not checked" in found["output"]["text"]


@pytest.mark.parametrize(("limit", "state"), [("LITTLE_SPACE", "warning"), ("ROOM_LEFT", "wrong")])
def test_little_space_is_reported(monkeypatch, limit, state):
    monkeypatch.setattr(_checks, "LITTLE_SPACE", 2**60)
    monkeypatch.setattr(_checks, limit, 2**60)
    status, found = examine("-o", "out")
    assert status == (state == "wrong")
    assert found["output"]["state"] == found["records"]["state"] == state
    assert found["output"]["advice"].startswith("make space")


def test_a_damaged_ledger_can_be_rebuilt(tmp_path):
    folder = record_batch(tmp_path / "out", [{}])
    assert examine("-o", tmp_path / "out")[1]["ledger"]["text"].endswith("1 batch, intact")
    (folder.state / NAME).write_bytes(b"no database")
    status, found = examine("-o", tmp_path / "out")
    assert (status, found["ledger"]["state"]) == (1, "wrong")
    assert found["ledger"]["advice"] == f"calbatch rebuild {tmp_path / 'out'}"


def test_records_that_others_can_write_are_wrong():
    registry().mkdir()
    registry().chmod(0o777)
    status, found = examine()
    assert (status, found["records"]["state"]) == (1, "wrong")
    assert "CALBATCH_STATE_DIR" in found["records"]["text"]
    assert found["installation"]["state"] == found["temporary"]["state"] == "ok"


def test_advice_on_a_cache_is_given_only_if_there_is_none(monkeypatch):
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_9999.pmap")
    status, found = examine()
    assert (status, found["cache"]["state"], found["cache"]["advice"]) == (1, "wrong", "")
    monkeypatch.setenv("CRDS_PATH", "no such")
    monkeypatch.setenv("CRDS_SERVER_URL", "https://a;b")
    _, found = examine()
    wanted = "mkdir -p 'no such'; export CRDS_PATH='no such' CRDS_SERVER_URL='https://a;b'"
    assert found["cache"]["advice"] == wanted


def test_a_check_that_breaks_does_not_stop_the_others(monkeypatch):
    def break_down(output):
        raise ZeroDivisionError("by\x1b zero")

    monkeypatch.setattr(_checks, "CHECKS", (("sites", break_down), *CHECKS[-1:]))
    said = calbatch("doctor")
    assert said.status == 1
    assert r"sites         ZeroDivisionError: by\x1b zero" in said.out
    assert CHECKS[-1][0] in said.out
