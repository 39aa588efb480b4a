"""Refused requests leave no batch behind."""

import os
import shutil
import stat

import pytest
import yaml
from support.batches import DATE, calbatch, small_set

from calbatch.cluster.batch import liveness
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.registering import begin_batch
from calbatch.cluster.folder import find_batch, find_registered, state_of
from calbatch.cluster.ledger import Ledger, View
from calbatch.cluster.sites import remote

HOW = ("--date", DATE, "--no-fsync")


@pytest.fixture
def out(simulated, tmp_path, monkeypatch):
    """Return an output folder of a user without batches."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    return tmp_path / "out"


def require_no_batch(out):
    assert list(find_registered()) == []
    if state_of(out).is_dir():
        assert [p.name for p in state_of(out).iterdir() if p.is_dir()] == []
        with View(state_of(out)) as view:
            assert view.batches() == []
    assert calbatch("status").status == 2
    assert calbatch("status", out).status == 2


def without_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CRDS_PATH", str(tmp_path / "nowhere"))
    monkeypatch.delenv("CRDS_SERVER_URL", raising=False)


def without_rules(monkeypatch, tmp_path):
    cache = shutil.copytree(small_set().crds, tmp_path / "cache")
    for rules in (cache / "mappings").rglob("*.pmap"):
        rules.unlink()
    monkeypatch.setenv("CRDS_PATH", str(cache))


def where_nothing_answers(monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "CONNECT", 0.5)


def site(monkeypatch, tmp_path, **options):
    """Define a site in the user's configuration."""
    import dask

    folder = tmp_path / "dask"
    folder.mkdir()
    config = {"calbatch": {"sites": {"node": options}}}
    (folder / "calbatch.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("DASK_CONFIG", str(folder))
    dask.config.refresh(paths=[str(folder)])


def slurm_site(monkeypatch, tmp_path):
    site(monkeypatch, tmp_path, kind="slurm", logs=str(tmp_path / "jobs"))


def without_sbatch(monkeypatch, tmp_path):
    slurm_site(monkeypatch, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))


def with_sbatch_that_refuses(monkeypatch, tmp_path):
    slurm_site(monkeypatch, tmp_path)
    program = tmp_path / "sbatch"
    program.write_text("#!/bin/sh\necho 'sbatch: error: no credit left' >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def with_a_class_that_fails(monkeypatch, tmp_path):
    site(monkeypatch, tmp_path, kind="cluster", path="collections.OrderedDict")


SYNC = ("--scheduler", "sync")
NODE = ("--site", "node")


@pytest.mark.parametrize(
    ("command", "where", "prepare"),
    [
        ("run", SYNC, without_cache),
        ("run", SYNC, without_rules),
        ("run", ("--scheduler", "tcp://127.0.0.1:1"), where_nothing_answers),
        ("run", NODE, without_sbatch),
        ("run", NODE, with_a_class_that_fails),
        ("submit", SYNC, without_cache),
        ("submit", NODE, without_sbatch),
        ("submit", NODE, with_sbatch_that_refuses),
    ],
)
def test_a_refused_request_leaves_no_batch(
    simulated, out, tmp_path, monkeypatch, command, where, prepare
):
    with monkeypatch.context() as changed:
        prepare(changed, tmp_path)
        completed = calbatch(command, "superbias", simulated.exposures[0], "-o", out, *where, *HOW)
        assert completed.status == 2, completed
        require_no_batch(out)
    assert calbatch("run", "superbias", simulated.exposures[0], "-o", out, *SYNC).status == 0
    [folder] = find_registered()
    assert folder.output == out


def test_a_full_disk_at_the_start_leaves_no_batch(simulated, out):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Ledger(state_of(out)):
        pass
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        many = [str(simulated.exposures[0])]
        completed = calbatch(
            "run", "superbias", *many, "-o", out, *SYNC, f"--suffix={'x' * 200_000}"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert completed.status == 2, completed
    require_no_batch(out)


def test_a_resumed_batch_records_why_its_driver_was_refused(simulated, out, tmp_path, monkeypatch):
    step, order = build_order(
        BatchArguments("superbias", simulated.exposures, out, scheduler="sync")
    )
    folder = begin_batch(step, order).folder
    monkeypatch.setenv("CRDS_PATH", str(tmp_path / "nowhere"))
    monkeypatch.delenv("CRDS_SERVER_URL", raising=False)
    assert calbatch("resume", folder.name).status == 2
    completed = calbatch("status", folder.name)
    assert completed.status == 1
    assert "nowhere" in completed.out
    assert calbatch("prune", folder.name).status == 0


def test_a_batch_that_was_never_driven_can_be_pruned(simulated, out, monkeypatch):
    folder = begin_batch(
        *build_order(BatchArguments("superbias", simulated.exposures, out, scheduler="sync"))
    ).folder
    assert calbatch("status", folder.name).status == 3
    monkeypatch.setattr(liveness, "SILENCE", 0.0)
    assert calbatch("status", folder.name).status == 130
    assert calbatch("prune", folder.name).status == 0
    assert list(find_registered()) == []


def test_pruning_skips_batches_that_are_being_written(simulated, tmp_path, out):
    how = ("--scheduler", "sync", "--date", DATE, "--no-fsync")
    for folder in (out, tmp_path / "second"):
        completed = calbatch("run", "superbias", simulated.exposures[0], "-o", folder, *how)
        assert completed.status == 0, completed.err
    held, other = (find_batch(str(folder)) for folder in (out, tmp_path / "second"))
    with Ledger(held.state):
        completed = calbatch("prune", "--older-than", "0")
        assert completed.status == 0, completed.err
        assert calbatch("prune", held.name).status == 2
    assert f"{held.name}: stays" in completed.out
    assert f"{other.name}: forgotten" in completed.out
    assert [folder.name for folder in find_registered()] == [held.name]


def test_an_empty_name_matches_no_batch(simulated, out):
    how = ("--scheduler", "sync", "--date", DATE, "--no-fsync")
    assert calbatch("run", "superbias", simulated.exposures[0], "-o", out, *how).status == 0
    assert calbatch("prune", "").status == 2
    assert len(list(find_registered())) == 1
