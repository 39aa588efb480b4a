"""A real one-node Slurm: its three daemons are children of the tests."""

import os
import re
import shutil
import socket
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from subprocess import CalledProcessError, check_output, run

from psutil import process_iter

from support.services import end_process, find_program, require_available, start_process
from support.waiting import WaitTimeoutError, eventually, now

ANSWERS = 90.0
"""Seconds within which the node must be ready."""

SETTINGS = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=2,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=4
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""

CPUS = 8
"""CPUs that the node declares, more than it has: jobs of tests mostly wait."""


def is_left(job: object) -> bool:
    """Return whether a run of a job still exists, although Slurm may have requeued the job.

    The process that supervises a run ends when it has reported the run's end to the controller.
    """
    return any(
        " ".join(p.info["cmdline"] or ()).startswith(f"slurmstepd: [{job}.")
        and (p.info["environ"] or {}).get("SLURM_CONF") == os.environ["SLURM_CONF"]
        for p in process_iter(["cmdline", "environ"])  # there may be another Slurm
    )


def start_soon(number: object) -> None:
    """Start a requeued job in three seconds instead of Slurm's two minutes.

    An immediate start fails: a node refuses a run whose credential is as old, in whole seconds,
    as the end of the previous run, and the controller then abandons the job.
    """
    found = re.search(r"StartTime=(\d\S+)", slurm("scontrol", "-o", "show", "job", number))
    if found and datetime.fromisoformat(found[1]).timestamp() - now() > 10.0:
        slurm("scontrol", "update", f"JobId={number}", "StartTime=now+3seconds")


def free_ports(count: int) -> list[int]:
    """Return unused ports."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def slurm(*command: object) -> str:
    """Run a command of Slurm, and return its output."""
    return check_output(list(map(str, command)), text=True).strip()


@contextmanager
def one_host():
    """Run Slurm, and set SLURM_CONF to select it.

    Afterwards no job, daemon or file of it is left.
    """
    require_available("munged", "slurmctld", "slurmd", "sbatch", package="slurm-wlm munge")
    before = os.environ.get("SLURM_CONF")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="calbatch-slurm-"))  # a socket's path must be short
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # munge refuses folders that its users cannot enter
        os.environ["SLURM_CONF"] = str(_write_configuration(folder))
        stack.callback(_restore_variable, "SLURM_CONF", before)
        _run_daemons(stack, folder)
        stack.callback(_without_jobs)
        _wait_for_node(folder)
        yield folder


def _restore_variable(name: str, value: str | None) -> None:
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value


def _write_configuration(folder: Path) -> Path:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller, node = free_ports(2)
    megabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    settings = folder / "slurm.conf"
    settings.write_text(
        SETTINGS.format(
            host=socket.gethostname().partition(".")[0],
            controller=controller,
            node=node,
            folder=folder,
            cpus=CPUS,
            memory=int(megabytes * 0.9),
        )
    )
    return settings


def _run_daemons(stack: ExitStack, folder: Path) -> None:
    log = stack.enter_context((folder / "daemons.log").open("ab"))
    munge = {"socket": "munge.socket", "key-file": "munge.key", "seed-file": "munge.seed"}
    munge |= {"pid-file": "munge.pid", "log-file": "munge.log"}
    files = [f"--{option}={folder / name}" for option, name in munge.items()]
    for command in (
        ("munged", "--foreground", "--force", *files),
        ("slurmctld", "-D"),
        ("slurmd", "-D"),
    ):
        process = start_process(find_program(command[0]), *command[1:], log=log)
        stack.callback(end_process, process)


def _wait_for_node(folder: Path) -> None:
    def state() -> str:
        completed = (folder / "daemons.log").read_text(errors="replace")[-3000:]
        return f"Slurm's node is not ready: {_states()!r}\n{completed}"

    eventually(lambda: "idle" in _states(), ANSWERS, state=state)


def _states() -> str:
    return run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True).stdout.strip()


def _without_jobs() -> None:
    """Cancel all jobs, and wait until their processes are gone."""
    # Without an answer, the controller has ended already.
    with suppress(CalledProcessError, WaitTimeoutError):
        slurm("scancel", "--user", "root")
        eventually(lambda: not slurm("squeue", "-h"), ANSWERS, every=0.2)
