"""Unwritable and damaged ledgers: the exit status follows from the driver's knowledge."""

import io
import os
import random
import resource
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from rich.console import Console
from support.batches import DATE, calbatch, products_in, quiet_console

from calbatch.calibrate.parameters import Text
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.registering import begin_batch
from calbatch.cluster.batch.report import print_summary
from calbatch.cluster.batch.session import drive
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.folder import state_of
from calbatch.cluster.ledger import Ledger, LedgerError, View
from calbatch.cluster.ledger.store import NAME
from calbatch.models.datamodels import RampModel

HOW = {"scheduler": "sync", "date": DATE, "fsync": False}
OTHER = 12345
"""The ID of a user without files."""


class Plain(Step):
    """A step that changes nothing."""

    def process(self, exposure):
        return RampModel(exposure)


@contextmanager
def no_file_larger_than(size):
    """Limit the size of files of this process, like `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def grow_ledger(folder, size):
    """Make a ledger larger than the products, so that only the ledger reaches the limit."""
    with Ledger(state_of(folder)) as ledger:
        batch = ledger.add_batch("old", "x", [], request={}, parameters={}, software={})
        ledger.add_event(batch, "note", "x" * size)
    return (state_of(folder) / NAME).stat().st_size


def summary_of(result):
    console = Console(file=io.StringIO(), width=200)
    print_summary(result, console)
    return console.file.getvalue()


def test_a_ledger_at_the_file_size_limit_fails_the_batch(simulated, tmp_path):
    out, console = tmp_path / "out", quiet_console()
    grow_ledger(out, 2_000_000)
    step, order = build_order(
        BatchArguments(Plain, simulated.exposures, out, policy=RetryPolicy(patience=0.3), **HOW)
    )
    begun = begin_batch(step, order)
    limit = (state_of(out) / NAME).stat().st_size
    with no_file_larger_than(limit):
        result = drive(begun, console)
    completed = console.file.getvalue()
    assert result.exit_status == 130
    assert "ledger cannot be written" in result.reason
    unrecorded = {outcome.number for outcome in result.unrecorded}
    recorded = {row.number for row in _rows(result) if row.state == "done"} - unrecorded
    assert unrecorded  # the first outcomes may still find room in the file
    assert len(products_in(out)) == len(unrecorded) + len(recorded)
    for outcome in result.unrecorded:
        assert outcome.path.name in completed
    assert "ledger cannot be written" in summary_of(result)
    undone = {row.number for row in _rows(result)} - unrecorded - recorded
    assert {o.number for o in result.outcomes} == unrecorded | recorded
    assert result.counts == {"done": len(unrecorded | recorded), **_waiting(undone)}


def _rows(result):
    with View(result.folder.state) as view:
        return list(view.exposures(result.batch.id))


def _waiting(numbers):
    return {"waiting": len(numbers)} if numbers else {}


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on its own file system, small enough to be filled quickly."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


class Filling(Step):
    """A step during which the disk fills up, after the room of its products is allocated."""

    def process(self, exposure):
        return RampModel(exposure).map_tiles(_fill, ["data"], folder=str(self.output_dir))


def _fill(data, *, folder):
    with suppress(OSError), (Path(folder) / "filler").open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return data


def test_a_disk_that_is_full_at_the_end_fails_the_batch(simulated, small_disk):
    console = quiet_console()
    step, order = build_order(
        BatchArguments(Filling, simulated.exposures[:1], small_disk, **patient(0.3))
    )
    result = drive(begin_batch(step, order), console)
    assert result.exit_status == 130
    assert "ledger cannot be written" in result.reason
    assert [o.number for o in result.unrecorded] == [0]
    assert simulated.exposures[0].name in console.file.getvalue()
    (small_disk / "filler").unlink()
    again = drive(
        begin_batch(*build_order(BatchArguments(Plain, simulated.exposures, small_disk, **HOW))),
        quiet_console(),
    )
    assert (again.exit_status, again.counts) == (0, {"done": 3})


def test_space_freed_in_time_loses_nothing(simulated, small_disk):
    step, order = build_order(
        BatchArguments(Filling, simulated.exposures[:1], small_disk, **patient(60))
    )
    result = drive(begin_batch(step, order), _Emptying(small_disk / "filler"))
    assert (result.exit_status, result.counts) == (0, {"done": 1})
    assert result.unrecorded == ()


def patient(seconds):
    return {**HOW, "policy": RetryPolicy(patience=seconds)}


class _Emptying(Console):
    """A console that frees disk space when it prints that there is none."""

    def __init__(self, filler):
        super().__init__(file=io.StringIO(), width=200)
        self.filler = filler

    def print(self, *texts, **how):
        super().print(*texts, **how)
        if "cannot be written" in str(texts):
            self.filler.unlink(missing_ok=True)


# -- damage ------------------------------------------------------------------------------------


def scribble(path, seed=0, first=0):
    """Overwrite the pages of a file with noise, starting with a given page."""
    noise = random.Random(seed)
    with path.open("r+b") as file:
        for start in range(first * 4096, path.stat().st_size, 4096):
            file.seek(start)
            file.write(noise.randbytes(4096))


class Scribbling(Step):
    """A step during which the ledger is overwritten."""

    def process(self, exposure):
        if "_00002_" in str(exposure.path):
            scribble(state_of(Path(self.output_dir)) / NAME)
        return RampModel(exposure)


def test_a_ledger_damaged_during_a_batch_ends_it_cleanly(simulated, tmp_path):
    out, console = tmp_path / "out", quiet_console()
    step, order = build_order(BatchArguments(Scribbling, simulated.exposures, out, **HOW))
    result = drive(begin_batch(step, order), console)
    assert result.exit_status == 130
    for text in (result.reason, summary_of(result)):
        assert NAME in text
        assert f"calbatch rebuild {out}" in text
    assert len(products_in(out)) >= len(result.unrecorded) > 0
    assert all(o.path.name in console.file.getvalue() for o in result.unrecorded)
    with pytest.raises(LedgerError, match="rebuild"):
        list(result.outcomes)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("command", ["status", "logs", "report", "resume", "run", "recalibrate"])
def test_every_command_says_how_to_repair_a_damaged_ledger(
    simulated, tmp_path, monkeypatch, command, first
):
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    out = tmp_path / "out"
    begin_batch(*build_order(BatchArguments("superbias", simulated.exposures, out, **HOW)))
    scribble(state_of(out) / NAME, first=first)
    arguments = {
        "run": ("superbias", simulated.exposures[0], "-o", out, "--scheduler", "sync"),
        "recalibrate": ("--context", "jwst_1.pmap"),
    }
    completed = calbatch(command, *arguments.get(command, ()))
    assert completed.status == 2, completed
    assert "Traceback" not in completed.err
    assert f"calbatch rebuild {out}" in completed.err


def test_a_damaged_ledger_is_listed_and_never_pruned(simulated, tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    out = tmp_path / "out"
    folder = begin_batch(
        *build_order(BatchArguments("superbias", simulated.exposures, out, **HOW))
    ).folder
    scribble(state_of(out) / NAME)
    listed = calbatch("list")
    assert listed.status == 0
    assert folder.name in listed.out
    assert "damaged" in listed.out
    assert calbatch("prune", "--older-than", "0").status == 0
    assert calbatch("prune", folder.name).status == 2
    assert folder.name in calbatch("list").out
    assert f"calbatch rebuild {out}" in calbatch("status", out).err


class Removing(Step):
    """A step that takes the output folder away."""

    how = Text("remove")

    def process(self, exposure):
        out = Path(self.output_dir)
        if self.how == "remove":
            shutil.rmtree(state_of(out), ignore_errors=True)
        elif out.exists():
            out.rename(out.with_name("moved"))
        return RampModel(exposure)


@pytest.mark.parametrize("how", ["remove", "move"])
def test_a_folder_that_is_taken_away_interrupts_the_batch(simulated, tmp_path, how):
    out, console = tmp_path / "out", quiet_console()
    arguments = BatchArguments(
        Removing, simulated.exposures, out, parameters={"how": how},
        policy=RetryPolicy(retries=0, patience=0.3), **HOW,
    )  # fmt: skip
    result = drive(begin_batch(*build_order(arguments), hold=True), console)
    assert (result.state, result.exit_status) == ("interrupted", 130)
    assert f"{state_of(out)} is gone" in result.reason
    assert f"{state_of(out)} is gone" in summary_of(result)


class Denying(Step):
    """A step after which the output folder is inaccessible."""

    def process(self, exposure):
        Path(self.output_dir).chmod(0)
        if os.geteuid() == 0:  # whom no mode stops
            os.seteuid(OTHER)
        return RampModel(exposure)


def test_a_folder_that_becomes_inaccessible_interrupts_the_batch(simulated, tmp_path):
    out, console, user = tmp_path / "out", quiet_console(), os.geteuid()
    policy = RetryPolicy(retries=0, patience=0.3)
    arguments = BatchArguments(Denying, simulated.exposures, out, policy=policy, **HOW)
    begun = begin_batch(*build_order(arguments), hold=True)
    try:
        result = drive(begun, console)
    finally:
        os.seteuid(user)
        out.chmod(0o700)
    assert (result.state, result.exit_status) == ("interrupted", 130)
    assert "is gone" not in result.reason
