"""A real Slurm of one node: its three daemons as children of the tests, all files in one folder."""

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

from support.services import ended, located, needed, started
from support.waiting import WaitedInVain, eventually, now

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
"""What the node says it has: tests' jobs mostly wait."""


def is_left(job: object) -> bool:
    """Return whether a run of a job is still there, though Slurm may have the job waiting again.

    What watches over a run ends when it has told the controller how that ended.
    """
    return any(
        " ".join(p.info["cmdline"] or ()).startswith(f"slurmstepd: [{job}.")
        and (p.info["environ"] or {}).get("SLURM_CONF") == os.environ["SLURM_CONF"]
        for p in process_iter(["cmdline", "environ"])  # there may be another Slurm
    )


def start_soon(number: object) -> None:
    """Have a job that is in the queue again start in three seconds, not in Slurm's two minutes.

    Not at once: a node refuses a run whose credential is as old, in whole seconds, as the end of
    the run before, and the controller then gives the job up.
    """
    found = re.search(r"StartTime=(\d\S+)", slurm("scontrol", "-o", "show", "job", number))
    if found and datetime.fromisoformat(found[1]).timestamp() - now() > 10.0:
        slurm("scontrol", "update", f"JobId={number}", "StartTime=now+3seconds")


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def slurm(*command: object) -> str:
    """Run a command of Slurm's and return what it prints."""
    return check_output(list(map(str, command)), text=True).strip()


@contextmanager
def one_host():
    """Run Slurm; the environment's SLURM_CONF leads to it.

    Whoever leaves has no job, no daemon and no file of it left.
    """
    needed("munged", "slurmctld", "slurmd", "sbatch", package="slurm-wlm munge")
    before = os.environ.get("SLURM_CONF")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="calbatch-slurm-"))  # a socket's path must be short
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # munge refuses folders that its users cannot pass
        os.environ["SLURM_CONF"] = str(_configured(folder))
        stack.callback(_restored, "SLURM_CONF", before)
        _run_daemons(stack, folder)
        stack.callback(_without_jobs)
        _wait_for_node(folder)
        yield folder


def _restored(name: str, value: str | None) -> None:
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value


def _configured(folder: Path) -> Path:
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
        process = started(located(command[0]), *command[1:], log=log)
        stack.callback(ended, process)


def _wait_for_node(folder: Path) -> None:
    def state() -> str:
        said = (folder / "daemons.log").read_text(errors="replace")[-3000:]
        return f"Slurm's node is not ready: {_states()!r}\n{said}"

    eventually(lambda: "idle" in _states(), ANSWERS, state=state)


def _states() -> str:
    return run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True).stdout.strip()


def _without_jobs() -> None:
    """Cancel all jobs, and wait until their processes are gone."""
    # Without an answer the controller is gone already: nothing more can be asked of it.
    with suppress(CalledProcessError, WaitedInVain):
        slurm("scancel", "--user", "root")
        eventually(lambda: not slurm("squeue", "-h"), ANSWERS, every=0.2)
