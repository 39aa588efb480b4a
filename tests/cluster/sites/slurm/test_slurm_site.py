"""Workers in jobs of a real Slurm."""

import os
import signal
import socket
import stat
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from distributed import Client, Security, as_completed
from support.batches import checksums, small_set
from support.onehost import slurm
from support.placed import (
    calibrate_all,
    double,
    eventually,
    jobs,
    make_importable,
    run_slowly,
    worker_facts,
)

from calbatch.cluster import RequestError
from calbatch.cluster.exposure.job import calibrate
from calbatch.cluster.sites.draining import BEGAN, ENDS
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.slurm.slurm_site import open_slurm

pytestmark = pytest.mark.services

ENCLOSING = {
    "SLURM_JOB_ID": "4711",
    "SLURM_MEM_PER_CPU": "1",
    "SLURM_NTASKS": "64",
    "SBATCH_PARTITION": "elsewhere",
    "SBATCH_EXPORT": "NONE",
}
"""The environment of a driver that is itself a job, on a partition that is not ours."""


def options(folder, **more):
    given = {"memory": "1GiB", "interface": "lo", "logs": str(folder / "logs")}
    # a nanny gives up a worker that takes longer to start
    return SlurmOptions(**{**given, "walltime": "20:00", "patience": 120.0, **more})


def ours():
    """Return the numbers of jobs in the queue."""
    return set(slurm("squeue", "-h", "-o", "%A").split())


def jobs_of(client):
    """Return the numbers of jobs whose workers are there."""
    return {f["job"] for f in client.run(worker_facts, on_error="ignore").values()}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    make_importable(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("slurm")


@pytest.fixture(scope="module")
def site(slurm_host, folder):
    """Return two jobs with a worker each."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENCLOSING.items():
            patch.setenv(name, value)
        make_importable(patch)
        with open_slurm(options(folder, jobs=2), "exposure") as running:
            running.client.wait_for_workers(2, timeout=120)
            yield running


def test_workers_are_jobs(site):
    names = ["OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "PYTHONSAFEPATH", *ENCLOSING]
    found = list(site.client.run(worker_facts, names).values())
    assert {f["job"] for f in found} == ours()
    assert len(found) == 2
    for each in found:
        environment = each["environment"]
        assert each["address"].startswith("tls://127.0.0.1:")
        assert each["threads"] == 1
        assert environment["OMP_NUM_THREADS"] == environment["PYTHONSAFEPATH"] == "1"
        assert environment["MALLOC_TRIM_THRESHOLD_"]
        assert environment["SLURM_NTASKS"] == "1"
        assert environment["SBATCH_PARTITION"] is None
    assert site.description == "2 Slurm jobs with 1 worker each"


def test_exposures_are_calibrated_as_they_are_here(site, tmp_path):
    exposures = small_set().exposures
    outcomes = calibrate_all(site, exposures, tmp_path / "there")
    for job in jobs(exposures, tmp_path / "here"):
        assert calibrate(job).error == ""
    assert [outcome.error for outcome in outcomes] == [""] * len(exposures)
    assert checksums(tmp_path / "there") == checksums(tmp_path / "here")


def test_others_are_refused(site):
    address = site.client.scheduler.address
    parts = urlsplit(address)
    assert (parts.scheme, parts.hostname) == ("tls", "127.0.0.1")
    for security, scheme in ((None, "tcp"), (Security.temporary(), "tls")):
        with pytest.raises((OSError, RuntimeError)):
            Client(f"{scheme}://{parts.netloc}", security=security, timeout=2)


def test_the_dashboard_is_for_this_machine_and_no_proxy(site):
    link = urlsplit(site.dashboard)
    assert link.hostname == "127.0.0.1"
    with urllib.request.urlopen(f"http://{link.netloc}/health") as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{link.netloc}/proxy/{link.port}/127.0.0.1/status")
    assert refused.value.code == 404
    others = [i[4][0] for i in socket.getaddrinfo(socket.gethostname(), link.port)]
    for other in {o for o in others if not o.startswith("127.")}:
        with pytest.raises(ConnectionRefusedError), socket.socket() as elsewhere:
            elsewhere.connect((other, link.port))


def test_certificates_are_for_this_user_alone(site, folder):
    [private] = (folder / "logs").glob(".tls-*")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    files = list(private.iterdir())
    assert len([file for file in files if file.suffix == ".pem"]) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((folder / "logs").stat().st_mode) == 0o700


def test_a_job_that_vanishes_is_replaced(site):
    client = site.client
    before = ours()
    gone = sorted(before)[0]
    slurm("scancel", gone)
    eventually(lambda: len(ours() - {gone}) == 2 and gone not in ours())
    eventually(lambda: ours() == jobs_of(client))
    assert client.gather(client.map(double, range(10))) == list(range(0, 20, 2))


def test_work_of_a_job_that_vanishes_is_done(site, tmp_path):
    client = site.client
    client.wait_for_workers(2, timeout=120)
    arguments = (0.5, str(tmp_path))
    futures = [client.submit(run_slowly, n, *arguments, pure=False) for n in range(8)]
    eventually(lambda: (tmp_path / "begun").exists())
    slurm("scancel", sorted(ours())[0])
    found = client.gather(futures, errors="skip")
    assert len(found) >= len(futures) - 2  # each worker was at one, which drivers try again
    lost = [n for n, future in enumerate(futures) if future.status == "error"]
    again = client.gather([client.submit(run_slowly, n, *arguments, pure=False) for n in lost])
    assert sorted(found + again) == list(range(8))


def test_a_worker_that_dies_comes_again_in_its_job(site):
    client = site.client
    client.wait_for_workers(2, timeout=120)
    before = client.run(worker_facts)
    [victim, *_] = before.values()
    os.kill(victim["pid"], signal.SIGKILL)  # its host is this one

    def back():
        now = client.run(worker_facts, on_error="ignore").values()
        return len(now) == 2 and victim["pid"] not in {f["pid"] for f in now} and list(now)

    after = eventually(back)
    assert victim["job"] in {f["job"] for f in after}


def test_jobs_follow_one_another_and_interrupt_nothing(slurm_host, tmp_path):
    limited = options(tmp_path, walltime="1:00", margin=42.0)  # 18 seconds each
    with open_slurm(limited, "exposure") as running:
        client = running.client
        client.wait_for_workers(1, timeout=120)
        [first] = client.run(worker_facts, [BEGAN, ENDS]).values()
        began, ends = (float(first["environment"][name]) for name in (BEGAN, ENDS))
        assert ends - began == 18  # where processes start slowly, half of that
        futures = [client.submit(run_slowly, n, 1.7, str(tmp_path), pure=False) for n in range(12)]
        done = []
        for future, result in as_completed(futures, loop=client.loop, with_results=True):
            done.append(result)
            future.release()  # as a driver does: a worker that ends takes results with it
        [last] = client.run(worker_facts).values()
    assert sorted(done) == list(range(12))
    assert int(last["job"]) > int(first["job"])
    assert len((tmp_path / "begun").read_text().splitlines()) == 12


def test_nothing_is_left(slurm_host, folder, tmp_path):
    others = ours()
    with open_slurm(options(tmp_path, cores=2), "tile") as running:
        running.client.wait_for_workers(2, timeout=120)
        [job] = ours() - others
        assert jobs_of(running.client) == {job}  # both in one job
        assert running.description == "1 Slurm job with 2 workers each"
    eventually(lambda: job not in ours())
    assert [p.name for p in (tmp_path / "logs").iterdir()] == [f"worker-{job}.log"]


# -- impossible options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jobs": 0}, "jobs 0: must be at least 1"),
        ({"memory": "much"}, "memory 'much': must be like 4GiB"),
        ({"walltime": "an hour"}, "walltime 'an hour': must be like 30"),
        ({"walltime": "1:00"}, "walltime 1:00: must be longer than the margin of 120 s"),
        ({"partition": "a b"}, "partition 'a b': must be a name"),
        ({"account": "$(id)"}, r"account '\$\(id\)': must be a name"),
        ({"directives": ("-x",)}, "directive '-x': must be like --NAME"),
        ({"directives": ("script.sh",)}, "must be like --NAME"),
        ({"directives": ("--wrap=id",)}, "--wrap is set by calbatch"),
        ({"directives": ("--out=x",)}, "--out is set by calbatch"),
        ({"directives": ("--comment=a\n#SBATCH --wrap=x",)}, "must not contain line breaks"),
        ({"python": "python\ntouch pwned"}, "must not contain line breaks"),
        ({"scratch": "x\u2028y"}, "must not contain line breaks"),
        ({"interface": "nowhere0"}, "nowhere0"),
        ({"partition": "elsewhere"}, "Slurm: .*elsewhere"),
    ],
)
def test_impossible_options_are_refused(slurm_host, tmp_path, given, message):
    with (
        pytest.raises(RequestError, match=message) as told,
        open_slurm(options(tmp_path, **given), "exposure"),
    ):
        raise AssertionError("it was taken")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.glob("logs/.tls-*"))
    waiting = ("squeue", "-h", "-o", "%j", "--states=PENDING")
    eventually(lambda: "calbatch" not in slurm(*waiting))  # another test's may be ending


def test_tiles_of_an_exposure_stay_on_one_host(slurm_host, tmp_path):
    with pytest.raises(RequestError, match="2 jobs may be on several hosts"):
        open_slurm(options(tmp_path, jobs=2), "tile").__enter__()


def test_jobs_that_cannot_work_are_told_of(slurm_host, tmp_path):
    asked = options(tmp_path, python=str(tmp_path / "no-such-python"))
    with (
        pytest.raises(RequestError, match=r"jobs end and no worker arrives: .*no-such-python"),
        open_slurm(asked, "exposure"),
    ):
        raise AssertionError("it was taken")
    eventually(lambda: not list((tmp_path / "logs").glob(".tls-*")))


def test_names_reach_no_shell(slurm_host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = tmp_path / "a 'b' \"c\" ; touch pwned1 $(touch pwned2) `touch pwned3` %j & | > pwned4"
    evil.mkdir()
    asked = replace(
        options(evil), scratch=str(evil / "scratch"), directives=("--comment=$(id);id",)
    )
    with open_slurm(asked, "exposure") as running:
        running.client.wait_for_workers(1, timeout=120)
        [found] = running.client.run(worker_facts).values()
        told = slurm("scontrol", "show", "job", found["job"])
        where = list(running.client.run(os.getcwd).values())
    assert "Comment=$(id);id" in told
    assert where == [str(tmp_path)]
    assert list((evil / "logs").glob("worker-*.log"))
    assert (evil / "scratch").is_dir()
    assert [p.name for p in Path(tmp_path).rglob("*pwned*")] == [evil.name]


def test_jobs_of_a_killed_driver_of_the_same_batch_are_ended(slurm_host, tmp_path, monkeypatch):
    for variable in ENCLOSING:
        monkeypatch.delenv(variable, raising=False)
    name = "calbatch-20260131-120000-abcd-workers"
    wrap = ("-o", "/dev/null", "--mem=10M", "--wrap", "sleep 600")
    left = slurm("sbatch", "--parsable", f"--job-name={name}", *wrap)
    other = slurm("sbatch", "--parsable", f"--job-name={name}2", *wrap)
    for folder in (f".tls-{name}-x", f".tls-{name}2-x"):
        (tmp_path / "logs" / folder).mkdir(parents=True)
    with open_slurm(options(tmp_path), "exposure", "20260131-120000-abcd") as running:
        assert "CANCELLED" in slurm("scontrol", "show", "job", left)
        assert slurm("squeue", "-h", "-o", "%T", "-j", other) in ("PENDING", "RUNNING")
        assert running.client.submit(double, 4).result() == 8
        slurm("scancel", other)
    assert [p.name for p in (tmp_path / "logs").glob(".tls-*")] == [f".tls-{name}2-x"]
