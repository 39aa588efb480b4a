"""Drivers as jobs of a real Slurm."""

import stat
import sys
from datetime import datetime

import pytest
from support.onehost import is_left, slurm, start_soon
from support.placed import eventually
from support.services import start_process

from calbatch.cluster import RequestError
from calbatch.cluster.sites.slurm.commands import walltime_seconds
from calbatch.cluster.sites.slurm.driver_job import DriverJob, cancel_job, job_state, submit_driver

pytestmark = pytest.mark.services

DRIVER = """
import os, signal, sys, time
def stop(number, frame):
    print("drained", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
print("began", sys.argv[1:], os.environ.get("SBATCH_PARTITION"), os.environ.get("OWN"), flush=True)
time.sleep(float(sys.argv[1 + int(os.environ.get("SLURM_RESTART_COUNT", 0))]))
print("ended", flush=True)
"""
"""A driver that ends on SIGTERM, or after the seconds given for each run."""


@pytest.fixture
def driver(slurm_host, tmp_path):
    """Return a function that submits a driver, and the driver's log."""
    program = tmp_path / "driver.py"
    program.write_text(DRIVER)
    log = tmp_path / "logs" / "driver log.txt"

    def submit_program(*arguments, **how):
        command = [sys.executable, "-S", str(program), *map(str, arguments)]
        return submit_driver(command, log, DriverJob(**how))

    return submit_program, log


NESTED = """
import sys
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.slurm.slurm_site import open_slurm
patience = float(sys.argv[1])
options = SlurmOptions(jobs=2, memory="1GiB", interface="lo", logs="jobs", patience=patience)
with open_slurm(options, "exposure") as site:
    site.client.wait_for_workers(2, timeout=120)
    print(site.client.gather(site.client.map(pow, [2, 3], [3, 2])), flush=True)
"""
"""A driver that is a job, and has jobs, whose patience is given."""


def program_lines(log):
    """Return a log's lines without those of Slurm's own, which may come at any time."""
    return [line for line in log.read_text().splitlines() if not line.startswith("slurmstepd")]


def state(number):
    return job_state(number).state


def test_a_driver_is_submitted_and_followed(driver, monkeypatch):
    submitted, log = driver
    monkeypatch.setenv("SBATCH_PARTITION", "elsewhere")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    evil = ["a b", "$(touch pwned)", "`id`", "c;d\n#SBATCH --hold", "'", '"\\']
    number = submitted(0.2, *evil, variables={"OWN": "this"}, cores=2, walltime="5:00")
    eventually(lambda: job_state(number).ended)
    assert job_state(number).state == "COMPLETED"
    assert job_state(number).exit_status == 0
    assert log.read_text() == f"began {['0.2', *evil]} None this\nended\n"
    shown = slurm("scontrol", "-o", "show", "job", number)
    assert "Requeue=1" in shown
    assert "NumCPUs=2" in shown
    assert "TimeLimit=00:05:00" in shown
    written = log.with_name("driver log.txt.sh")
    assert stat.S_IMODE(written.stat().st_mode) == 0o700
    assert sorted(log.parent.iterdir()) == [log, written]


def test_put_back_into_the_queue_it_runs_again(driver):
    submitted, log = driver
    number = submitted(600, 0.2)
    eventually(lambda: log.exists() and "began" in log.read_text())
    slurm("scontrol", "requeue", number)
    # Slurm gives the reason later than the state
    waiting = eventually(lambda: (now := job_state(number)).reason == "BeginTime" and now)
    assert waiting.state == "PENDING"
    assert not waiting.ended
    eventually(lambda: not is_left(number) and slurm("sinfo", "-h", "-o", "%t") == "idle")
    start_soon(number)
    eventually(lambda: job_state(number).ended)
    assert job_state(number).restarts == 1
    assert state(number) == "COMPLETED"
    assert log.read_text().count("began") == 2
    assert program_lines(log)[-1] == "ended"


def test_it_is_asked_to_drain(driver):
    submitted, log = driver
    number = submitted(60)
    eventually(lambda: log.exists() and "began" in log.read_text())
    cancel_job(number, drain=True)
    eventually(lambda: job_state(number).ended)
    assert program_lines(log)[-1] == "drained"
    assert (state(number), job_state(number).exit_status) == ("FAILED", 3)


def test_it_is_warned_before_its_time_is_up(driver):
    submitted, log = driver
    number = submitted(300, walltime="1:00", warning=48)  # whoever is slow has begun by then
    eventually(lambda: job_state(number).ended)
    assert program_lines(log)[-1] == "drained"
    assert job_state(number).exit_status == 3


WARNED = """
import os, sys, threading, time
from calbatch.cluster.sites.slurm import driver_job
driver_job.RESERVE = float(sys.argv[1])
asked = threading.Event()
def stop():
    print("asked", flush=True)
    asked.set()
try:
    with driver_job.stop_before_time_limit(os.environ["SLURM_JOB_ID"], stop):
        print("began", flush=True)
        while not asked.is_set():
            time.sleep(0.1)
        time.sleep(float(sys.argv[2]))
    print("ended", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
"""A driver that stops in order before its time limit.

Its arguments are the seconds by which it stops earlier, and those that stopping takes.
"""


@pytest.mark.parametrize(
    ("walltime", "arguments", "wanted"),
    [
        ("10:00", (20, 60), ["interrupted"]),  # somebody ends it: its time is not up
        ("2:00", (20, 0), ["asked", "ended"]),
        ("2:00", (118, 60), ["asked", "interrupted"]),  # it takes too long
    ],
)
def test_a_driver_stops_in_order_when_its_time_is_up(
    slurm_host, tmp_path, walltime, arguments, wanted
):
    log = tmp_path / "log"
    command = [sys.executable, "-c", WARNED, *map(str, arguments)]
    number = submit_driver(command, log, DriverJob(walltime=walltime))
    eventually(lambda: log.exists() and "began" in log.read_text())
    ends = job_state(number).ends
    assert ends is not None
    begins, told = slurm("squeue", "-h", "-o", "%S %e", "-j", number).split()
    assert ends == datetime.fromisoformat(told).timestamp()
    assert ends - datetime.fromisoformat(begins).timestamp() == walltime_seconds(walltime)
    cancel_job(number, drain=True)
    eventually(lambda: job_state(number).ended)
    assert program_lines(log) == ["began", *wanted]


def test_it_is_stopped(driver):
    submitted, _ = driver
    running = submitted(60)
    waiting = submitted(60, directives=["--hold"])
    eventually(lambda: state(running) == "RUNNING")
    assert state(waiting) == "PENDING"
    cancel_job(running)
    cancel_job(waiting, drain=True)  # it has not begun: there is nothing to drain
    for number in (running, waiting):
        eventually(lambda number=number: job_state(number).ended)
        assert state(number) == "CANCELLED"
        cancel_job(number)  # which it may have been before
    assert job_state("99999999").ended


def test_a_driver_has_jobs_of_its_own(slurm_host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    how = DriverJob(memory="500M", walltime="5:00")
    number = submit_driver([sys.executable, "-c", NESTED, "120"], log, how)
    eventually(lambda: job_state(number).ended)
    assert log.read_text() == "[8, 9]\n"
    assert state(number) == "COMPLETED"
    eventually(lambda: slurm("squeue", "-h") == "")


def test_a_driver_that_is_killed_leaves_no_jobs(slurm_host, tmp_path):
    # Workers give up after their patience; nannies, on workers that take longer to start.
    program = NESTED + "    import time; time.sleep(600)\n"
    with (tmp_path / "log").open("wb") as log:
        driver = start_process(sys.executable, "-c", program, "30", log=log, cwd=tmp_path)
    try:
        eventually(lambda: "[8, 9]" in (tmp_path / "log").read_text())
        assert slurm("squeue", "-h") != ""
    finally:
        driver.kill()
        driver.wait()
    eventually(lambda: slurm("squeue", "-h") == "")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"partition": "elsewhere"}, "sbatch: .*elsewhere"),
        ({"partition": "a;id"}, "partition 'a;id': must be a name"),
        ({"name": "a\nb"}, "name .*: must not contain line breaks"),
        ({"memory": "much"}, "sbatch: .*mem"),
        ({"directives": ["--requeue"]}, "--requeue is set by calbatch"),
        ({"walltime": "soon"}, "walltime 'soon'"),
    ],
)
def test_impossible_options_are_refused(driver, how, message):
    submitted, _ = driver
    before = slurm("squeue", "-h", "-o", "%A")
    with pytest.raises(RequestError, match=message) as told:
        submitted(1, **how)
    assert "\n" not in str(told.value)
    assert slurm("squeue", "-h", "-o", "%A") == before


@pytest.mark.parametrize("number", ["", "1 2", "--me", "-1", "1;id", "\u0661"])
def test_only_numbers_are_jobs(slurm_host, number):
    for function in (job_state, cancel_job):
        with pytest.raises(RequestError, match="must be the number of a Slurm job"):
            function(number)


def test_without_slurm_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="sbatch is not installed"):
        submit_driver(["true"], tmp_path / "log")
