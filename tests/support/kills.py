"""Batches whose processes are killed at exact points; a command follows each kill."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path

import psutil

from calbatch.cluster.batch.liveness import batch_state
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import View
from support.batches import DATE, calbatch
from support.chaos import driver_of
from support.forking import DriverServer
from support.waiting import Limit, be_slow

HOOKS = Path(__file__).parent / "killing"
OTHER_PARAMETERS = ("--ramp_fit.suppress_one_group", "false", "--jump.skip", "true")
"""Other parameters for detector1."""

HOW = ("--date", DATE, "--no-fsync")


@cache
def killing_server():
    """Return the process of this session from which drivers are forked that can be killed."""
    return DriverServer({"PYTHONPATH": str(HOOKS), "KILLS": ""})


@dataclass
class Killed:
    """An output folder whose batches are killed until all planned kills have happened.

    Parameters
    ----------
    inputs, output : Path
        Folders of the exposures and of the products.
    site : sequence of str
        Options of `submit` that select the site.
    plan : Path
        The file with the planned kills; see `support.killing`.
    temporary : Path
        The folder for temporary files of all processes.
    pipeline, other_parameters
        The pipeline that the batches run, and other parameters for it.
    """

    inputs: Path
    output: Path
    site: tuple[str, ...]
    plan: Path
    temporary: Path
    pipeline: str = "detector1"
    other_parameters: tuple[str, ...] = OTHER_PARAMETERS
    other: bool = False
    folders: list[BatchFolder] = field(default_factory=list)

    def environment(self):
        """Return the environment of the processes."""
        return {"KILLS": str(self.plan), "KILLS_OUTPUT": str(self.output)}

    @property
    def folder(self):
        """The last batch."""
        return self.folders[-1]

    def remaining_kills(self):
        """Return the remaining kills."""
        return json.loads(self.plan.read_text())

    def repeat(self):
        """Repeat the command, which makes a new batch."""
        how = (*self.site, *HOW, *self.parameters())
        completed = _run_until_accepted(
            "submit", self.pipeline, self.inputs, "-o", self.output, *how
        )
        self.folders.append(BatchFolder(self.output, completed.out.strip()))

    def run_with_other_parameters(self):
        """Repeat the command with other parameters."""
        self.other = not self.other
        self.repeat()

    def parameters(self):
        """Return the parameters of the last batch."""
        return self.other_parameters if self.other else ()

    def resume(self):
        """Resume the last batch."""
        _run_until_accepted("resume", self.folder.name, "--detach")

    def run(self, seconds, keep=lambda: None):
        """Continue until all kills have happened and a batch has succeeded.

        A batch that ends earlier is followed by one with other parameters, which repeats all
        exposures. Fail after so many seconds without progress: a machine may be slow, but not
        stuck.
        """
        follow = cycle([self.resume, self.repeat, self.run_with_other_parameters])
        limit, reached = Limit(seconds), None
        self.repeat()
        while True:
            keep()
            state, done = self.state()
            if reached != (reached := (self.folder.name, done, len(self.remaining_kills()))):
                limit = Limit(seconds)
            limit.check((state, self.remaining_kills(), self.driver_log()))
            if state == "done" and not self.remaining_kills():
                break
            if state in ("done", "failed", "interrupted"):
                self._wait_for_driver()
                (self.run_with_other_parameters if state == "done" else next(follow))()
            be_slow(0.1)
        self._wait_for_driver()

    def state(self):
        """Return the state of the last batch, and the number of exposures done."""
        with View(self.folder.state) as view:
            row = view.batch(self.folder.name)
            done = sum(exposure.state == "done" for exposure in view.exposures(row.id))
            return batch_state(self.folder, row), done

    def driver_log(self):
        """Return the output of the last driver."""
        return self.folder.log.read_text()[-3000:] if self.folder.log.exists() else ""

    def _wait_for_driver(self):
        with suppress(psutil.NoSuchProcess):
            driver = driver_of(self.folder)
            if driver is not None:
                driver.wait(60)

    def processes(self):
        """Return all live processes that batches have started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("KILLS") == str(self.plan):
                    found.append(process)
        return found


def _run_until_accepted(*arguments):
    """Run a command, and repeat it while the threads of a killed driver are still ending."""
    limit = Limit()
    while (completed := calbatch(*arguments)).status and "a batch is running" in completed.err:
        limit.check(completed.err)
    assert completed.status == 0, completed.err
    return completed
