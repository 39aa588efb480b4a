"""`calbatch plan --measure`: exposures are calibrated, and nothing is left of it."""

import json
import shutil
import subprocess
import sys
import tempfile

import pytest
from support.batches import calbatch
from support.crds_server import CrdsServer
from support.toys import registered_toys, write_association

from calbatch.cluster.cli.commands import plan
from calbatch.crds_client.cache.layout import Cache


@pytest.fixture(autouse=True)
def left(tmp_path, monkeypatch):
    """Use own folders for temporary files and notes; return a function that lists their files."""
    state, temporary = tmp_path / "state", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(state))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return lambda: [*state.glob("*.json"), *temporary.glob("*plan*")]


def measure(*arguments, pipeline="superbias"):
    return calbatch("plan", pipeline, *arguments, "--scheduler", "sync", "--measure")


def fail(data):
    raise ValueError("not today")


def interrupt(data):
    raise KeyboardInterrupt


def fail_when_computed(model):
    return model.map_tiles(fail, ("data",))


def interrupt_when_computed(model):
    return model.map_tiles(interrupt, ("data",))


def test_no_commands_run_and_nothing_is_left(simulated, tmp_path, left):
    seen = tmp_path / "seen.fits"
    out = tmp_path / "out"
    said = measure(simulated.exposures[0], "-o", out, f"--post_hooks=cp {{0}} '{seen}'")
    assert said.status == 0, said.err
    assert "judging by 1 exposure calibrated before" in said.out
    assert not seen.exists()
    assert not out.exists()
    assert left() == []


def test_the_folder_may_be_given_as_a_parameter(simulated, tmp_path):
    said = measure(simulated.exposures[0], f"--output_dir={tmp_path / 'out'}")
    assert said.status == 0, said.err
    assert "judging by 1 exposure calibrated before" in said.out


@pytest.mark.parametrize("as_json", [False, True])
def test_an_exposure_that_fails_is_named(simulated, tmp_path, capsys, left, as_json):
    options = {"scheduler": "sync", "parameters": {"post_hooks": [fail_when_computed]}}
    path, out = str(simulated.exposures[0]), str(tmp_path / "out")
    status = plan.main(
        "superbias", [path], output_dir=out, measure=True, as_json=as_json, **options
    )
    said = capsys.readouterr()
    assert status == 1
    assert left() == []
    assert "nothing was measured: calibrating" in (said.err if as_json else said.out)
    if as_json:
        [failure] = json.loads(said.out)["failures"]
        assert failure["exposure"] == path
        assert "not today" in failure["reason"]
    else:
        lines = said.out.splitlines()
        assert "time: unknown" in lines
        [line] = [line for line in lines if line.startswith("would fail: ")]
        assert path in line
        assert "not today" in line


def test_an_interrupt_leaves_nothing(simulated, tmp_path, left):
    options = {"scheduler": "sync", "parameters": {"post_hooks": [interrupt_when_computed]}}
    path, out = str(simulated.exposures[0]), str(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        plan.main("superbias", [path], output_dir=out, measure=True, **options)
    assert left() == []


ENDED = """
import sys, calbatch.models.temporary as temporary
from pathlib import Path
temporary.make_process_folder("plan", Path(sys.argv[1]))
"""


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_folder_of_a_process_that_has_ended_is_removed(simulated, tmp_path, command):
    folder = tmp_path / "temporary"
    subprocess.run([sys.executable, "-c", ENDED, folder], check=True)
    assert list(folder.glob("calbatch-plan-*")) != []
    arguments = "superbias", simulated.exposures[0], "-o", tmp_path / "out", "--scheduler", "sync"
    assert calbatch(command, *arguments, *(["--measure"] if command == "plan" else [])).status == 0
    assert list(folder.glob("calbatch-plan-*")) == []


@pytest.fixture
def uncached(simulated, tmp_path, monkeypatch):
    """Select a cache without the reference, and a server that has it."""
    cache = tmp_path / "cache"
    shutil.copytree(simulated.crds, cache)
    for path in cache.rglob("*superbias*.fits"):
        path.unlink()
    monkeypatch.setenv("CRDS_PATH", str(cache))
    monkeypatch.setenv("CRDS_MODE", "")
    with CrdsServer(Cache(simulated.crds)) as server:
        monkeypatch.setenv("CRDS_SERVER_URL", server.url)
        yield


@pytest.mark.usefixtures("uncached")
def test_references_that_are_not_cached_are_named_beside_the_object(simulated, tmp_path):
    said = measure(*simulated.exposures, "-o", tmp_path / "out", "--json")
    found = json.loads(said.out)
    assert (said.status, found["unknown"], found["kinds"]) == (0, 3, [])
    assert "to be fetched first: 1 reference file" in said.err
    assert "nothing was measured: the references have to be fetched first" in said.err


def test_exposures_that_are_done_are_not_measured(simulated, tmp_path):
    arguments = "superbias", simulated.exposures[0], "-o", tmp_path / "out", "--scheduler", "sync"
    assert calbatch("run", *arguments, "--no-fsync").status == 0
    said = calbatch("plan", *arguments, "--measure")
    assert said.status == 0
    assert "nothing was measured: all exposures" in said.out


def test_units_of_several_files_are_not_measured(simulated, tmp_path, monkeypatch):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    with registered_toys(tmp_path / "site", monkeypatch):
        assert calbatch(
            "run", "toy1", simulated.exposures[0], "-o", raw, "--scheduler", "sync"
        ).status == 0  # fmt: skip
        [rate] = raw.glob("*_rate.fits")
        association = write_association(raw / "one_asn.json", ("p", [("science", rate.name)]))
        said = measure(association, "-o", out, pipeline="toy2")
    assert said.status == 0, said.err
    assert "nothing was measured: only single exposures can be measured" in said.out
    assert "time: unknown" in said.out.splitlines()
