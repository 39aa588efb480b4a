"""Worker and driver jobs of a Slurm site, as arguments of sbatch and commands."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.draining import BEGAN, ENDS
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.slurm.job_options import (
    check_options,
    driver_job,
    sbatch_arguments,
    single_worker_job,
    time_limit,
    worker_command,
    worker_variables,
)

LOGS = Path("/logs")


def option_values(command):
    """Return a command's options with the values that follow them."""
    pairs = zip(command, [*command[1:], ""], strict=True)
    return {name: value for name, value in pairs if name.startswith("--")}


def test_the_arguments_of_a_worker_job():
    options = SlurmOptions(
        cores=4, memory="3GB", walltime="2:00:00", partition="long", account="me",
        directives=("--exclusive",),
    )  # fmt: skip
    assert sbatch_arguments(options, "calbatch-x", LOGS) == [
        "--parsable",
        "--job-name=calbatch-x",
        "--output=/logs/worker-%j.log",
        "--error=/logs/worker-%j.log",
        "--export=ALL",
        "--no-requeue",
        "--ntasks=1",
        "--cpus-per-task=4",
        "--mem=2862M",  # 3e9 bytes are 2861.02 MiB
        "--partition=long",
        "--account=me",
        "--time=2:00:00",
        "--exclusive",
    ]


def test_skipped_and_replaced_arguments_are_left_out():
    options = SlurmOptions(skip=("no-requeue",), directives=("--mem-per-cpu=2G",))
    found = sbatch_arguments(options, "n", LOGS)
    assert "--mem-per-cpu=2G" in found
    assert not [a for a in found if a.startswith(("--mem=", "--no-requeue"))]


@given(st.integers(1, 64), st.integers(1, 2**12))
def test_workers_share_the_memory_of_their_job(cores, mebibytes):
    options = SlurmOptions(cores=cores, memory=f"{mebibytes}MiB")
    limit = int(option_values(worker_command(options, {}))["--memory-limit"])
    assert limit == mebibytes * 2**20 // cores
    assert f"--mem={mebibytes}M" in sbatch_arguments(options, "n", LOGS)


def test_the_command_of_a_worker_job():
    options = SlurmOptions(
        cores=2, walltime="1:00:00", margin=100.0, patience=5.0, scratch="/scratch",
        worker_interface="ib0",
    )  # fmt: skip
    command = worker_command(options, {"cert": "/c.pem"})
    assert command[:3] == [sys.executable, "-m", "distributed.cli.dask_worker"]
    found = option_values(command)
    assert (found["--nworkers"], found["--nthreads"]) == ("2", "1")
    assert (found["--lifetime"], found["--death-timeout"]) == ("3500 s", "5")
    assert found["--lifetime-stagger"] == "50 s"
    assert (found["--local-directory"], found["--interface"]) == ("/scratch", "ib0")
    assert found["--tls-cert"] == "/c.pem"
    assert worker_command(SlurmOptions(python="/py"), {})[0] == "/py"


def test_the_lifetimes_of_a_short_job_spread_over_a_twentieth_of_it():
    options = SlurmOptions(walltime="10:00", margin=120.0)
    assert option_values(worker_command(options, {}))["--lifetime-stagger"] == "30 s"


def test_the_job_tells_workers_when_it_must_end():
    lines = time_limit(SlurmOptions(walltime="10:00", margin=100.0))
    script = "\n".join([*lines, f"echo $(({ENDS} - {BEGAN}))"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "500\n"


@pytest.mark.parametrize("encrypted", [True, False])
def test_workers_get_dasks_settings_in_their_environment(encrypted):
    found = worker_variables(SlurmOptions(encrypted=encrypted))
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["DASK_DISTRIBUTED__WORKER__MEMORY__SPILL"] == "False"
    name = "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"
    assert found.get(name) == ("True" if encrypted else None)
    assert not [name for name in found if name.startswith("DASK_DISTRIBUTED__SCHEDULER")]


# -- one worker with more memory ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "memory"),
    [
        (SlurmOptions(cores=1, memory="4GiB"), "8192MiB"),
        (SlurmOptions(cores=2, memory="4GiB"), "4096MiB"),
        (SlurmOptions(cores=8, memory="4GiB", jobs=20), "4096MiB"),
    ],
)
def test_a_single_worker_has_twice_the_usual_memory_or_a_whole_job(options, memory):
    single = single_worker_job(options)
    assert (single.jobs, single.cores, single.memory) == (1, 1, memory)
    assert single.directives == options.directives


def test_memory_that_comes_with_cores_takes_more_cores():
    single = single_worker_job(SlurmOptions(cores=1, memory="2GiB", skip=("mem",)))
    assert single.directives == ("--cpus-per-task=2",)
    assert "--cpus-per-task=2" in sbatch_arguments(single, "n", LOGS)
    assert single_worker_job(SlurmOptions(cores=6, skip=("mem",))).directives[-1].endswith("=6")


def test_where_neither_memory_nor_cores_are_sent_a_worker_has_the_memory_of_a_job():
    single = single_worker_job(SlurmOptions(memory="2GiB", skip=("mem", "cpus-per-task")))
    assert (single.memory, single.directives) == ("2048MiB", ())


# -- driver jobs -------------------------------------------------------------------------------


def test_a_driver_job_has_the_sites_options():
    options = SlurmOptions(
        partition="long", account="me", driver_walltime="1:00:00",
        driver_directives=("--qos=low",), directives=("--exclusive",), skip=("mem",),
    )  # fmt: skip
    job = driver_job(options, "calbatch-x")
    assert (job.name, job.partition, job.account) == ("calbatch-x", "long", "me")
    assert (job.walltime, job.directives, job.skip) == ("1:00:00", ("--qos=low",), ("mem",))


def test_a_short_driver_job_leaves_a_quarter_of_its_time_for_stopping():
    usual = driver_job(SlurmOptions(), "n").warning
    assert driver_job(SlurmOptions(driver_walltime="2:00"), "n").warning == min(usual, 30)
    assert driver_job(SlurmOptions(driver_walltime="9-00"), "n").warning == usual


# -- options that cannot work ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"jobs": 0}, "jobs 0: must be at least 1"),
        ({"cores": -1}, "cores -1: must be at least 1"),
        ({"walltime": "2:00", "margin": 120.0}, "longer than the margin of 120 s"),
        ({"walltime": "never"}, "walltime 'never'"),
        ({"memory": "much"}, "memory 'much': must be like 4GiB"),
        ({"memory": "1kB"}, "memory '1kB': must be at least 1MiB"),
        ({"skip": ("output",)}, "skip 'output': cannot be left out"),
        ({"scratch": "/a\nb"}, "scratch .*line breaks"),
        ({"directives": ("--a\n",)}, "directives .*line breaks"),
    ],
)
def test_options_that_cannot_work_are_named(wrong, message):
    with pytest.raises(RequestError, match=message):
        check_options(SlurmOptions(**wrong), "exposure")


def test_tiles_of_one_exposure_stay_in_one_job():
    check_options(SlurmOptions(jobs=1), "tile")
    with pytest.raises(RequestError, match=r"2 jobs may be on several hosts.*--grain exposure"):
        check_options(SlurmOptions(jobs=2), "tile")
