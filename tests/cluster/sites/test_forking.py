"""A fork server that is forked from the command line's process is like one that is executed."""

import json
import mmap
import os
import subprocess
import sys

import psutil
import pytest
from support.batches import small_set, unfinished_products
from support.gated import GATE, SLOW
from support.placed import TESTS
from support.waiting import eventually

PROGRAM = """
import atexit, fcntl, json, os, signal, sys, threading, time
from multiprocessing import forkserver, get_context, resource_tracker
from pathlib import Path
from calbatch.cluster.sites import forking

atexit.register(print, "exit handlers")
before = forking.is_fork_safe()
forking.allow_forking()
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, lambda *_: None)
safe = forking.is_fork_safe()
waiting = threading.Thread(target=time.sleep, args=(0.2,))
waiting.start()
beside_a_thread = forking.is_fork_safe()
waiting.join()
resource_tracker.ensure_running()
os.environ.update(json.loads(sys.argv[2]))
if safe:
    with forking.fork_server_here():
        forkserver.ensure_running()
server = forkserver._forkserver._forkserver_pid

FAULTS = '''[__import__("resource").getrusage(0).ru_minflt,
             [len(bytearray(64 * 2**20)) for _ in range(5)],
             __import__("resource").getrusage(0).ru_minflt]'''
with get_context("forkserver").Pool(1) as pool:
    parent = pool.apply(os.getppid)
    pool.apply(eval, (FAULTS,))
    faults, _, more = pool.apply(eval, (FAULTS,))
status = Path(f"/proc/{server}/status").read_text()
caught, = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt")]
print(json.dumps({
    "before": before, "safe": safe, "beside_a_thread": beside_a_thread,
    "server": server, "parent": parent, "faults": more - faults,
    "commands": [Path(f"/proc/{each}/cmdline").read_text() for each in ("self", server)],
    "caught": [n for n in (signal.SIGTERM, signal.SIGHUP) if caught >> (n - 1) & 1],
    "open": [os.readlink(each) for each in Path(f"/proc/{server}/fd").iterdir()],
}))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems execute the server")


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """Return the findings of a process whose fork server is forked."""
    held = tmp_path_factory.mktemp("forking") / "held"
    malloc = {"MALLOC_TRIM_THRESHOLD_": str(2 * 10**9), "MALLOC_MMAP_THRESHOLD_": str(10**9)}
    command = [sys.executable, "-c", PROGRAM, held, json.dumps(malloc)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, *rest = done.stdout.splitlines()
    return {**json.loads(found), "held": held, "rest": rest}


def test_only_the_command_line_forks_and_only_without_threads(forked):
    assert not forked["before"]
    assert forked["safe"]
    assert not forked["beside_a_thread"]


def test_the_server_is_forked_and_workers_are_its_children(forked):
    own, servers = forked["commands"]
    assert own == servers
    assert forked["parent"] == forked["server"]


def test_the_server_holds_no_file_of_the_driver(forked):
    assert str(forked["held"]) not in forked["open"]


def test_open_files_of_the_driver_write_nowhere(tmp_path):
    product = tmp_path / "product"
    code = (
        "import os, sys\n"
        "from multiprocessing import forkserver, get_context\n"
        "from calbatch.cluster.sites import forking\n"
        "stale = open(sys.argv[1], 'w')\n"  # as a worker's copy of it remains
        "forking.allow_forking()\n"
        "with forking.fork_server_here():\n"
        "    forkserver.ensure_running()\n"
        "code = f'import os; os.write(os.open({sys.argv[2]!r}, 65, 0o600), bytes(3)); '\\\n"
        "    f'os.write({stale.fileno()}, bytes(9))'\n"
        "with get_context('forkserver').Pool(1) as pool:\n"
        "    pool.apply(exec, (code,))\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "stale", product]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert product.read_bytes() == bytes(3)
    assert (tmp_path / "stale").read_bytes() == b""


def test_workers_of_a_batch_are_forked(tmp_path):
    made, gate = small_set(), tmp_path / "gate"
    code = "from calbatch.cluster.cli import main; main()"
    inputs = ("run", SLOW, made.exposures[0], "-o", tmp_path / "out")
    command = [sys.executable, "-c", code, *inputs, "--scheduler", "local", "--workers", "1"]
    settings = {**os.environ, **made.environment(), "PYTHONPATH": str(TESTS), GATE: str(gate)}
    with subprocess.Popen(command, env=settings, stderr=subprocess.DEVNULL) as process:
        try:
            own = psutil.Process(process.pid)
            eventually(lambda: unfinished_products(tmp_path / "out"))
            server, _ = found = [p for p in own.children(recursive=True) if is_forked(p, own)]
            assert [p.ppid() for p in found] == [own.pid, server.pid]
        finally:
            gate.touch()
            assert process.wait() == 0


def is_forked(process, own):
    return process.cmdline() == own.cmdline()


@pytest.mark.parametrize("to_file", [True, False])
def test_a_process_that_logs_to_a_file_is_not_forked(tmp_path, to_file):
    code = (
        "import logging, sys\n"
        "from calbatch.cluster.sites import forking\n"
        "forking.allow_forking()\n"
        "logging.getLogger('x').addHandler(logging.NullHandler())\n"
        "logging.basicConfig(filename=sys.argv[1] or None)\n"
        "print(forking.is_fork_safe())\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "log" if to_file else ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{not to_file}\n"


@pytest.mark.parametrize("more", [0, 2**20])
def test_a_process_with_a_large_heap_is_not_forked(more):
    code = (
        "import sys\n"
        "from calbatch.cluster.sites import forking\n"
        "forking.allow_forking()\n"
        "size = forking.MAX_RESIDENT if int(sys.argv[1]) else 0\n"
        "heap = b'x' * (size + int(sys.argv[1]))\n"
        "print(forking.is_fork_safe())\n"
    )
    command = [sys.executable, "-c", code, str(more)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{not more}\n"


def test_signals_have_their_default_effect_in_the_server(forked):
    assert forked["caught"] == []


def test_freed_memory_stays_with_the_process(forked):
    pages = 5 * 64 * 2**20 / mmap.PAGESIZE  # faulted in if each array were new to the process
    assert forked["faults"] < pages / 10


@pytest.mark.parametrize("is_command_line", [True, False])
def test_the_command_line_keeps_freed_memory_while_it_calibrates_by_itself(is_command_line):
    code = (
        "import resource, sys\n"
        "from calbatch.cluster.sites import forking, placement\n"
        "def count():\n"
        "    found = [len(bytearray(64 * 2**20)) for _ in range(5)]\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "if sys.argv[1:]:\n"
        "    forking.allow_forking()\n"
        "with placement.open_place(placement.Place('sync', 1, 'tile')):\n"
        "    print(-count() + count())\n"
    )
    command = [sys.executable, "-c", code, *["allowed"][:is_command_line]]
    # dask's nannies leave variables of malloc in the environment, and they take precedence
    environment = {n: value for n, value in os.environ.items() if not n.startswith("MALLOC_")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    pages = 5 * 64 * 2**20 / mmap.PAGESIZE
    assert (int(done.stdout) < pages / 10) == is_command_line


def test_the_server_ends_with_the_driver_and_runs_none_of_its_exit_handlers(forked):
    eventually(lambda: not psutil.pid_exists(forked["server"]))
    assert forked["rest"] == ["exit handlers"]
