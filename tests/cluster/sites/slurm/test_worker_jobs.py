"""Worker jobs, with commands of a fake Slurm, and the cluster that keeps their number."""

import asyncio
import logging
import os
import shlex
from itertools import pairwise
from types import SimpleNamespace

import pytest
from distributed import Status

from calbatch.cluster.sites.slurm import worker_jobs
from calbatch.cluster.sites.slurm.worker_jobs import Recipe, WorkerCluster, WorkerJob

RECIPE = Recipe(
    name="calbatch-x",
    sbatch=["--parsable", "--mem=4M"],
    worker=["python", "-m", "worker", "--log", "a b"],
    before=["export BEGAN=1"],
    variables={"OMP_NUM_THREADS": "1"},
)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Put a fake Slurm on the path: it logs its arguments, and numbers jobs from 4711 on."""
    (tmp_path / "queue").touch()
    programs = {
        "sbatch": 'echo "sbatch $* $OMP_NUM_THREADS ${SLURM_JOB_ID:-none}" >> log\n'
        "number=$((4711 + $(grep -c ^sbatch log) - 1)); echo $number >> queue; echo $number",
        "squeue": 'echo "squeue $*" >> log; cat queue',
        "scancel": 'echo "scancel $*" >> log',
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    return tmp_path


def lines(slurm, command=""):
    return [s for s in (slurm / "log").read_text().splitlines() if s.startswith(command)]


def job(**more):
    """Return a worker job; dask-jobqueue wants sizes, which the recipe replaces."""
    return WorkerJob("tls://here:1", "w-0", recipe=RECIPE, cores=1, memory="1GB", **more)


def test_the_script_is_one_quoted_command():
    *before, line = job().job_script().splitlines()
    assert before == ["#!/bin/sh", "export BEGAN=1"]
    assert shlex.split(line) == ["exec", *RECIPE.worker, "--name", "w-0", "tls://here:1"]


def test_options_are_passed_to_slurm_as_arguments(slurm):
    async def submit():
        submitted = job()
        await submitted.start()
        return submitted

    submitted = asyncio.run(submit())
    assert submitted.job_id == "4711"
    [line] = lines(slurm, "sbatch")
    assert line.startswith("sbatch --parsable --mem=4M ")
    assert line.endswith(" 1 none")  # the recipe's variable; no variable of this job


def test_a_closed_job_is_cancelled(slurm):
    async def submit_and_close():
        submitted = job()
        await submitted.start()
        await submitted.close()
        return submitted

    assert asyncio.run(submit_and_close()).status == Status.closed
    assert lines(slurm, "scancel") == ["scancel 4711"]


class Cluster(WorkerCluster):
    """A cluster without a scheduler, whose methods are called in a loop of the test's own."""

    def __init__(self, jobs=2, cores=3):
        self.recipe, self.jobs, self.wasted = RECIPE, jobs, 0
        self._expected, self._numbers = jobs * cores, iter(range(99))
        self._watching = self._filling = None
        self._name, self.worker_spec, self.workers = RECIPE.name, {}, {}
        self.scheduler = SimpleNamespace(workers={})

    def new_worker_spec(self):
        return {self._new_worker_name(0): {"cls": WorkerJob}}

    async def _correct_state(self):
        for name in self.worker_spec.keys() - self.workers.keys():
            made = SimpleNamespace(name=name, job_id=None, status=Status.running)
            made.job_id = await WorkerJob._call(["sbatch"])
            self.workers[name] = SimpleNamespace(**vars(made) | {"job_id": made.job_id.strip()})


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    monkeypatch.setattr(Cluster, "__del__", lambda self: None, raising=False)


def test_the_cluster_submits_as_many_jobs_as_it_is_to_keep(slurm):
    cluster = Cluster(jobs=3)
    asyncio.run(cluster._fill())
    assert sorted(cluster.workers) == ["calbatch-x-0", "calbatch-x-1", "calbatch-x-2"]
    assert asyncio.run(cluster._query_jobs()) == {"4711", "4712", "4713"}
    [query] = lines(slurm, "squeue")
    assert f"--user={os.getuid()} --name=calbatch-x" in query


def test_a_job_that_has_ended_is_replaced_under_an_unused_name(slurm, caplog):
    cluster = Cluster()
    asyncio.run(cluster._fill())
    (slurm / "queue").write_text("4712\n")
    with caplog.at_level(logging.WARNING, logger=worker_jobs.__name__):
        asyncio.run(cluster._replace())
    assert "Slurm job 4711 is gone, and is replaced" in caplog.messages
    assert sorted(j.job_id for j in cluster.workers.values()) == ["4712", "4713"]
    assert "calbatch-x-0" not in cluster.workers or "calbatch-x-1" not in cluster.workers
    assert "calbatch-x-2" in cluster.workers
    assert cluster.wasted == 1
    asyncio.run(cluster._replace())
    assert (len(lines(slurm, "sbatch")), cluster.wasted) == (3, 1)


def test_a_submission_is_completed_before_the_cluster_closes(slurm):
    """Otherwise distributed finds a job that is neither open nor closed."""

    class Slow(Cluster):
        async def _correct_state(self):
            under_way.set()
            await asyncio.sleep(0.05)
            await super()._correct_state()

    async def close_while_submitting():
        cluster._watching = asyncio.create_task(cluster._replace())
        await under_way.wait()
        await cluster._stop_watching()
        return sorted(cluster.workers)

    cluster, under_way = Slow(), asyncio.Event()
    assert asyncio.run(close_while_submitting()) == ["calbatch-x-0", "calbatch-x-1"]
    assert cluster._watching is cluster._filling is None


def watch(cluster, monkeypatch, looks, change):
    """Let a cluster watch its jobs; call `change` with the number of each look, before it."""
    count = 0

    async def look(seconds):
        nonlocal count
        if count == looks:
            raise asyncio.CancelledError
        change(count)
        count += 1

    monkeypatch.setattr(worker_jobs.asyncio, "sleep", look)
    monkeypatch.setattr(worker_jobs.time, "monotonic", lambda: 1.0 * count)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cluster._watch())


def test_slurm_is_asked_more_and_more_seldom_while_workers_are_missing(monkeypatch):
    cluster, asked = Cluster(), []

    async def replace():
        asked.append(worker_jobs.time.monotonic())

    cluster._replace = replace
    watch(cluster, monkeypatch, 200, lambda look: None)
    pauses = [b - a for a, b in pairwise(asked)]
    assert pauses[:3] == sorted(pauses[:3])
    assert pauses[0] <= 4
    assert pauses[-1] == 30
    assert asked[0] == 1


def test_slurm_is_not_asked_while_all_workers_are_there(monkeypatch):
    cluster, asked = Cluster(jobs=2, cores=3), []
    cluster.scheduler.workers = dict.fromkeys(range(6))
    cluster.wasted = 4

    async def replace():
        asked.append(1)

    cluster._replace = replace
    watch(cluster, monkeypatch, 50, lambda look: None)
    assert asked == []
    assert cluster.wasted == 0


def test_slurm_is_asked_at_once_when_a_worker_goes(monkeypatch):
    cluster, asked = Cluster(jobs=1, cores=1), []
    cluster.scheduler.workers = {"w": 1}

    async def replace():
        asked.append(worker_jobs.time.monotonic())

    def go(look):
        if look == 9:
            cluster.scheduler.workers = {}

    cluster._replace = replace
    watch(cluster, monkeypatch, 12, go)
    assert asked == [10]


def test_a_slurm_that_is_unavailable_is_asked_again(monkeypatch, caplog):
    cluster = Cluster()

    async def replace():
        raise RuntimeError("sbatch: error: Unable to contact slurm controller")

    cluster._replace = replace
    with caplog.at_level(logging.WARNING, logger=worker_jobs.__name__):
        watch(cluster, monkeypatch, 10, lambda look: None)
    assert len(caplog.messages) >= 2
    assert set(caplog.messages) == {"Slurm jobs: Unable to contact slurm controller"}
