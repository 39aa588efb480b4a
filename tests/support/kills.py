"""Batches whose processes are killed at exact points, each kill followed by another command."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import psutil

from calbatch.cluster.batch.liveness import state_of
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import View
from support.batches import DATE, calbatch
from support.chaos import driver_of
from support.waiting import Limit, be_slow

HOOKS = Path(__file__).parent / "killing"
OTHERWISE = {False: (), True: ("--ramp_fit.suppress_one_group", "false", "--jump.skip", "true")}
"""What a batch's parameters are, by whether they are the other ones."""

HOW = ("--date", DATE, "--no-fsync")


@dataclass
class Killed:
    """A folder of products, whose batches are killed as planned until nothing is planned any more.

    Parameters
    ----------
    inputs, output : Path
        Where exposures are, and products go.
    site : sequence of str
        Options of `submit` that say where it runs.
    plan : Path
        The file with what is planned; see `support.killing`.
    temporary : Path
        The folder for temporary files of all processes.
    """

    inputs: Path
    output: Path
    site: tuple[str, ...]
    plan: Path
    temporary: Path
    other: bool = False
    folders: list[BatchFolder] = field(default_factory=list)

    def environment(self):
        """Return what processes must find in their environment."""
        return {"KILLS": str(self.plan), "KILLS_OUTPUT": str(self.output)}

    @property
    def folder(self):
        """The last batch."""
        return self.folders[-1]

    def planned(self):
        """Return what is still to come."""
        return json.loads(self.plan.read_text())

    def again(self):
        """Give the same command again, which makes a new batch."""
        how = (*self.site, *HOW, *OTHERWISE[self.other])
        said = _accepted("submit", "detector1", self.inputs, "-o", self.output, *how)
        self.folders.append(BatchFolder(self.output, said.out.strip()))

    def otherwise(self):
        """Give it with other parameters."""
        self.other = not self.other
        self.again()

    def resume(self):
        """Resume the last batch."""
        _accepted("resume", self.folder.name, "--detach")

    def run(self, seconds, keep=lambda: None):
        """Go on until all kills have been done and a batch has ended well.

        A batch that ends before is followed by one with other parameters, which has all to do.
        It fails if nothing more is done for so many seconds: a machine may be slow, but not stuck.
        """
        follow = cycle([self.resume, self.again, self.otherwise])
        limit, reached = Limit(seconds), None
        self.again()
        while True:
            keep()
            state, done = self.state()
            if reached != (reached := (self.folder.name, done, len(self.planned()))):
                limit = Limit(seconds)
            limit.check((state, self.planned(), self.said()))
            if state == "done" and not self.planned():
                break
            if state in ("done", "failed", "interrupted"):
                self._wait_for_driver()
                (self.otherwise if state == "done" else next(follow))()
            be_slow(0.1)
        self._wait_for_driver()

    def state(self):
        """Return how the last batch is, and how many exposures are done."""
        with View(self.folder.state) as view:
            row = view.batch(self.folder.name)
            done = sum(exposure.state == "done" for exposure in view.exposures(row.id))
            return state_of(self.folder, row), done

    def said(self):
        """Return what the last driver said."""
        return self.folder.log.read_text()[-3000:] if self.folder.log.exists() else ""

    def _wait_for_driver(self):
        with suppress(psutil.NoSuchProcess):
            driver = driver_of(self.folder)
            if driver is not None:
                driver.wait(60)

    def processes(self):
        """Return all processes that batches have started and that live."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("KILLS") == str(self.plan):
                    found.append(process)
        return found


def _accepted(*arguments):
    """Give a command, again while the threads of a killed driver are still ending."""
    limit = Limit()
    while (said := calbatch(*arguments)).status and "is being written" in said.err:
        limit.check(said.err)
    assert said.status == 0, said.err
    return said
