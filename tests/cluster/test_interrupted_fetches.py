"""Interrupts of work that waits, for a silent server above all."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest
from support.batches import quiet_console
from support.crds_server import CrdsServer
from support.gated import GATE, SLOW_SUPERBIAS
from support.placed import TESTS, jobs
from support.toys import Accumulate
from support.waiting import GENEROUS, eventually

from calbatch.calibrate.simulate import SimulationSpec, simulate
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.python_api import run
from calbatch.cluster.exposure.job import calibrate
from calbatch.cluster.planning.ordering import find_ordering, group_exposures
from calbatch.cluster.planning.planner import FIRST_BLOCK
from calbatch.cluster.planning.unit_graph import DraftUnit
from calbatch.crds_client.cache.layout import Cache
from calbatch.models.datamodels import RampModel
from calbatch.models.storage.location import Url
from calbatch.models.threads import pause

FIRST, SECOND = (f"jwst_nircam_superbias_000{number}.fits" for number in (1, 2))
SPECS = [
    SimulationSpec(detector, "GENERIC", shape=(32, 32), ngroups=2, full_references=False)
    for detector in ("NRCA1", "NRCA2")
]
# Tests that a shell runs in the background, and their children, ignore Ctrl-C.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from calbatch.cluster.cli.app import main; main()"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Simulate an exposure of each of two configurations."""
    return simulate(tmp_path_factory.mktemp("made"), spec=SPECS, exposures=1)


@pytest.fixture
def server(made):
    with CrdsServer(Cache(made.crds)) as serving:
        yield serving


@pytest.fixture
def cache(tmp_path, made, server, monkeypatch):
    """Return an empty cache, whose server may be silent for longer than a test waits."""
    settings = {
        **made.environment(),
        "CRDS_PATH": str(tmp_path / "crds"),
        "CRDS_MODE": "",
        "CRDS_READONLY_CACHE": "",
        "CRDS_SERVER_URL": server.url,
        "CRDS_CLIENT_TIMEOUT_SECONDS": str(100 * GENEROUS),
        GATE: str(tmp_path / "gate"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)
    (tmp_path / "crds").mkdir()
    return tmp_path / "crds"


@pytest.fixture
def interruptible():
    """Let SIGINT raise KeyboardInterrupt, even in a background process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_once(condition):
    """Interrupt the main thread when a condition is true."""

    def interrupt():
        eventually(condition)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()


def is_received_in_part(cache, name):
    """Return whether some bytes of a file have been written."""
    return any(part.stat().st_size for part in cache.rglob(f".{name}.part"))


def is_amid(gate, cache):
    """Return whether an exposure is calibrated while the reference of another one is fetched."""
    return gate.with_suffix(".reached").exists() and is_received_in_part(cache, SECOND)


def test_ctrl_c_does_not_wait_for_references_of_later_exposures(tmp_path, made, server, cache):
    server.faults[SECOND] = ["halt"]
    first, second = made.exposures
    folder, gate = tmp_path / "exposures", tmp_path / "gate"
    folder.mkdir()
    for number in range(FIRST_BLOCK):
        shutil.copy(first, folder / f"a{number:02}_uncal.fits")
    shutil.copy(second, folder / "b_uncal.fits")
    command = [sys.executable, "-c", PROGRAM, "run", SLOW_SUPERBIAS, folder]
    command += ["-o", tmp_path / "out", "--scheduler", "local", "--workers", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            eventually(lambda: is_amid(gate, cache), state=process.poll)
            process.send_signal(signal.SIGINT)
            text = process.communicate(timeout=GENEROUS)[0]
        finally:
            process.kill()
    assert process.returncode == 130, text
    assert text.splitlines()[-1].startswith("calbatch: interrupted")
    assert "Traceback" not in text
    assert [path.name for path in cache.rglob("jwst_*.fits")] == [FIRST]
    eventually(lambda: server.left == [SECOND])


def list_daemons():
    """Return the threads for which no process waits, such as those that download."""
    return {thread for thread in threading.enumerate() if thread.daemon}


@pytest.mark.usefixtures("interruptible")
def test_no_download_goes_on_in_a_process_that_lives_on(tmp_path, made, server, cache):
    server.faults[FIRST] = ["halt"]
    before = list_daemons()
    interrupt_once(lambda: is_received_in_part(cache, FIRST))
    how = {"scheduler": "sync", "fsync": False, "console": quiet_console()}
    with pytest.raises(KeyboardInterrupt):
        run("superbias", made.exposures, tmp_path / "out", **how)
    eventually(lambda: server.left == [FIRST])
    eventually(lambda: list_daemons() <= before, state=list_daemons)
    assert FIRST not in {path.name for path in cache.rglob("jwst_*.fits")}
    assert len(run("superbias", made.exposures, tmp_path / "out", **how).done) == 2
    assert server.asked[FIRST] == 2  # the second request continued the first


class Patient(Step):
    """A step whose tiles wait until their work is cancelled."""

    begun = threading.Event()

    def process(self, exposure):
        return RampModel(exposure).map_tiles(_pause, ["data"])


def _pause(data):
    Patient.begun.set()
    pause(100 * GENEROUS)
    return data


@pytest.mark.usefixtures("interruptible")
def test_no_tile_waits_in_a_process_that_lives_on(tmp_path, made):
    before = set(threading.enumerate())
    (job,) = jobs(made.exposures[:1], tmp_path)
    step = Patient()
    step.output_dir = str(tmp_path)
    interrupt_once(Patient.begun.is_set)
    with pytest.raises(KeyboardInterrupt):
        calibrate(replace(job, step=step), threads=2)
    eventually(lambda: set(threading.enumerate()) <= before, state=threading.enumerate)


@pytest.mark.usefixtures("interruptible")
def test_headers_that_order_exposures_are_not_waited_for(monkeypatch):
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", str(100 * GENEROUS))
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as stack:
        url = Url(f"http://127.0.0.1:{silent.getsockname()[1]}/a_uncal.fits")
        interrupt_once(lambda: stack.enter_context(silent.accept()[0]))
        with pytest.raises(KeyboardInterrupt):
            group_exposures([DraftUnit(path=url)], find_ordering([Accumulate()]))
