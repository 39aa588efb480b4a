"""Small batches of simulated exposures, and the command line run in this process."""

import atexit
import hashlib
import io
import os
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from astropy.io import fits
from rich.console import Console

from calbatch.calibrate.simulate import SimulatedSet, SimulationSpec, simulate
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.registering import begin_batch
from calbatch.cluster.batch.result import Result
from calbatch.cluster.batch.session import drive
from calbatch.cluster.cli import app
from calbatch.cluster.exposure.job import ExposureOptions
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.folder import STATE
from calbatch.cluster.planning.step_configuration import configure_step

DATE = "2024-01-31T12:00:00"
SMALL = SimulationSpec(
    "NRCA1", "GENERIC", shape=(48, 64), corner=(1, 1), nints=2, ngroups=5, full_references=False
)


@cache
def small_set(exposures: int = 3) -> SimulatedSet:
    """Return a set of small NIRCam exposures, shared within a session and never modified."""
    folder = Path(tempfile.mkdtemp(prefix="calbatch-batch-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return simulate(folder, spec=SMALL, exposures=exposures)


def quiet_console() -> Console:
    """Return a console that prints to memory; read its ``file``."""
    return Console(file=io.StringIO(), width=200)


def leave_staging_folder(output: Path) -> Path:
    """Make a staging folder as a killed driver leaves it, with a file that its worker holds."""
    folder = output / STATE / "staging" / "0123" / "0-1"
    folder.mkdir(parents=True)
    (folder / "a.fits").write_bytes(b"stale")
    return folder


def unfinished_products(output: Path) -> list[Path]:
    """Return the products that workers are writing, not other files that get their names later."""
    return list(output.glob(".calbatch/staging/*/*/.*.part"))


def products_in(folder: Path) -> list[Path]:
    """Return all paths in a folder, hidden ones included, except the state of batches."""
    return sorted(p for p in Path(folder).iterdir() if p.name != STATE)


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every product in a folder, hidden files included."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in products_in(folder)}


def make_copies(count: int, folder: Path) -> Path:
    """Create a folder with a number of small exposures, and return it."""
    folder.mkdir()
    made = small_set().exposures
    for number in range(count):
        shutil.copy(made[number % len(made)], folder / f"e{number:04}_uncal.fits")
    return folder


def copy_changed(source: Path, target: Path, **cards: object) -> Path:
    """Copy an exposure with changed cards in its primary header; None removes a card."""
    with fits.open(source) as hdus:
        for keyword, value in cards.items():
            if value is None:
                del hdus[0].header[keyword]
            else:
                hdus[0].header[keyword] = value
        hdus.writeto(target)
    return target


def calibrate_on(site, step, paths, folder, policy=None, **options) -> Result:
    """Run a batch on an open site."""
    how = ExposureOptions(date=DATE, fsync=False, **options)
    order = Order(inputs=tuple(map(str, paths)), exposure=how, policy=policy or RetryPolicy())
    step = configure_step(step)
    step.output_dir = str(folder)
    return drive(
        begin_batch(step, order), quiet_console(), open_site=lambda *place: nullcontext(site)
    )


@dataclass(frozen=True)
class CommandResult:
    """The output and the exit status of a command."""

    status: int
    out: str
    err: str


def calbatch(*arguments: object) -> CommandResult:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with _process_state():
        sys.argv, os.environ["COLUMNS"] = ["calbatch", *map(str, arguments)], "200"
        try:
            with redirect_stdout(out), redirect_stderr(err):
                app.main()
        except SystemExit as end:
            return CommandResult(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("the command line did not say how it ended")


@contextmanager
def _process_state() -> Iterator[None]:
    """Restore the state of the process that commands change, such as hooks of pytest."""
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    argv, columns, formatwarning = sys.argv, os.environ.get("COLUMNS"), warnings.formatwarning
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    try:
        yield
    finally:
        sys.argv, warnings.formatwarning = argv, formatwarning
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        os.environ.pop("COLUMNS", None)
        if columns is not None:
            os.environ["COLUMNS"] = columns
        for number, handler in handlers.items():
            signal.signal(number, handler)
