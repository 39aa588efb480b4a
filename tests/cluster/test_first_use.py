"""On a new machine, kernels are compiled while headers are read and references are fetched."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from support.batches import small_set
from support.crds_server import CrdsServer
from support.waiting import eventually

from calbatch.calibrate import compilation, compilers
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.crds_client.cache.layout import Cache

LATE = "jwst_nircam_linearity_0001.fits"
"""The reference that the server withholds."""

RULES = "jwst_nircam_0001.imap"
SKIPPED = sorted(set(Detector1Pipeline().steps()) - {"saturation", "linearity"})
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from calbatch.cluster.cli.app import main; main()"
)


class WithholdingServer(CrdsServer):
    """A server that sends one file, `LATE` at first, only after an event."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self.released = threading.Event()
        self.withheld = LATE

    def next_fault(self, name: str) -> str:
        """Wait for the event."""
        fault = super().next_fault(name)
        if name == self.withheld:
            self.released.wait()
        return fault


class Machine:
    """A machine without kernels and references."""

    def __init__(self, folder, temporary, server):
        self.folder, self.temporary, self.server = folder, temporary, server
        self.kernels, self.output = folder / "kernels", folder / "out"
        (folder / "crds").mkdir()

    @contextmanager
    def start(self, *options):
        """Start a batch, and end what it leaves."""
        settings = {
            "CRDS_PATH": str(self.folder / "crds"),
            "COLUMNS": "300",
            "CRDS_MODE": "",
            "CRDS_READONLY_CACHE": "",
            "CRDS_SERVER_URL": self.server.url,
            "NUMBA_CACHE_DIR": str(self.kernels),
            "TMPDIR": str(self.temporary),
        }
        path = small_set().exposures[0]
        command = [sys.executable, "-c", PROGRAM, "run", "detector1", path, "-o", self.output]
        command += [f"--{name}.skip=true" for name in SKIPPED]
        with subprocess.Popen(
            [*command, *options],
            env={**os.environ, **small_set().environment(), **settings},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                self.server.released.set()
                process.kill()

    def list_kernels(self, name):
        """Return the stored kernels of a name."""
        return list(self.kernels.rglob(f"*{name}*.nbi"))

    def list_claims(self):
        """Return the folders of processes that compile."""
        return list(self.temporary.glob("calbatch-compiling-*"))


@pytest.fixture
def machine(tmp_path):
    with (
        TemporaryDirectory(prefix="cb-") as temporary,  # the names of sockets must be short
        WithholdingServer(Cache(small_set().crds)) as server,
    ):
        yield Machine(tmp_path, Path(temporary), server)
        server.released.set()


def find_helpers(process):
    """Return the processes that compile for a batch."""
    found = []
    for child in psutil.Process(process.pid).children():
        with suppress(psutil.NoSuchProcess):
            found += [child] if compilers.PROGRAM in child.cmdline() else []
    return found


@pytest.mark.parametrize(
    "scheduler",
    [*(pytest.param(name, marks=pytest.mark.ci) for name in ("sync", "threads")), "local"],
)
def test_kernels_are_compiled_while_a_reference_is_withheld(machine, scheduler):
    with machine.start("--scheduler", scheduler) as process:
        eventually(lambda: machine.list_kernels("flag_integrations"), state=process.poll)
        assert not machine.list_kernels("linearize")  # its reference is not there
        machine.server.released.set()
        text = process.communicate()[0]
    assert process.returncode == 0, text
    assert machine.list_kernels("linearize")
    places = [text.index(part) for part in (
        compilation.MESSAGE, "fetching 3 reference files", "fetched 3 of 3 files",
        "kernels compiled", "1/1 done",
    )]  # fmt: skip
    assert places == sorted(places)
    fetched = [line for line in text.splitlines() if "fetched 3 of 3" in line][-1]
    assert "of 3 parts compiled" in fetched


@pytest.mark.ci
def test_kernels_are_compiled_while_the_rules_are_withheld(machine):
    machine.server.withheld = RULES
    with machine.start("--scheduler", "sync") as process:
        eventually(lambda: machine.server.asked[RULES], state=process.poll)
        eventually(lambda: machine.list_kernels("_add_flags"), state=process.poll)
        assert not machine.list_kernels("flag_integrations")  # its reference is not chosen
        machine.server.released.set()
        text = process.communicate()[0]
    assert process.returncode == 0, text
    assert machine.list_kernels("flag_integrations")
    places = [text.index(part) for part in (
        compilation.MESSAGE, "rules files into", "fetching 3 reference files", "kernels compiled",
    )]  # fmt: skip
    assert places == sorted(places)
    assert text.count(compilation.MESSAGE) == 1


class ReluctantServer(BaseHTTPRequestHandler):
    """Serves a file as ``last_uncal.fits``, whose bytes it sends only after an event."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        """Send the size."""
        self.answer(200, b"")

    def do_GET(self):
        """Send a range; clients ask for the first two bytes to learn the size."""
        if self.headers["Range"] != "bytes=0-1":
            self.server.released.wait()
        first, last = re.match(r"bytes=(\d+)-(\d*)", self.headers["Range"]).groups()
        self.answer(206, self.server.content[int(first) : int(last) + 1 if last else None])

    def answer(self, status, part):
        """Send an answer."""
        size = len(self.server.content)
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part) if status == 206 else size))
        if status == 206:
            first = self.server.content.index(part)
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{size}")
        with suppress(ConnectionError):  # the client has read what it wanted
            self.end_headers()
            self.wfile.write(part)

    def log_message(self, *_):
        """Print nothing."""


@contextmanager
def serve_reluctantly(path, released):
    """Serve a file, and yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), ReluctantServer)
    server.content, server.released = Path(path).read_bytes(), released
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/last_uncal.fits"
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.ci
def test_kernels_are_compiled_while_a_header_is_awaited(machine):
    machine.server.released.set()
    others = [machine.folder / f"copy{number}_uncal.fits" for number in range(4)]
    for other in others:
        other.hardlink_to(small_set().exposures[0])
    released = threading.Event()
    with (
        serve_reluctantly(others[0], released) as url,
        machine.start("--scheduler", "sync", *map(str, others), url) as process,
    ):
        eventually(lambda: machine.list_kernels("_add_flags"), state=process.poll)
        assert not machine.server.asked  # the rules come after the headers
        released.set()
        text = process.communicate()[0]
    assert process.returncode == 0, text
    assert "6/6 done" in text


def is_alive(process):
    """Return whether a process has not ended; one that nobody has asked for is a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="told"),
        pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.ci),
    ],
)
def test_the_compilation_ends_with_its_batch(machine, number):
    with machine.start("--scheduler", "sync") as process:
        eventually(lambda: machine.list_kernels("flag_integrations"), state=process.poll)
        helpers = find_helpers(process)  # which wait for the reference
        assert helpers
        process.send_signal(number)
        process.wait(60)
        eventually(lambda: not any(is_alive(helper) for helper in helpers))
    assert number == signal.SIGKILL or not machine.list_claims()


@pytest.mark.ci
def test_a_reference_that_cannot_be_fetched_ends_the_compilation(machine):
    machine.server.faults[LATE] = ["gone"]
    with machine.start("--scheduler", "sync") as process:
        eventually(lambda: find_helpers(process), state=process.poll)
        machine.server.released.set()
        text = process.communicate()[0]
    assert process.returncode == 1
    assert LATE in text
    assert "kernels compiled" not in text
    assert not machine.list_claims()
    assert not machine.list_kernels("linearize")


@pytest.mark.ci
def test_nothing_is_compiled_when_everything_is_done(machine):
    machine.server.released.set()
    with machine.start("--scheduler", "sync") as process:
        process.communicate()
    machine.kernels.rename(machine.folder / "old")
    with machine.start("--scheduler", "sync") as process:
        text = process.communicate()[0]
    assert "1 of them earlier" in text
    assert "kernels" not in text
    assert not list(machine.kernels.rglob("*.nbi"))
