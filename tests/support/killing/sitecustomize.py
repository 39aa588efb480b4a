"""Kill processes, or their driver, at the points that a plan names.

Python imports this module at its start if its folder is in PYTHONPATH. ``KILLS`` names the plan, a
JSON file with a list of ``[point, when, count, victim]``; nothing is killed if it is empty. Each
time that a process passes the point of the first entry, its count decreases. At 0 the victims are
killed: ``self``, ``driver`` (its workers live on), or ``all``.
"""

import fcntl
import importlib.util
import json
import os
import signal
import sys
from contextlib import suppress
from functools import wraps
from pathlib import Path

POINTS = {
    "prepare": ("calbatch.models.fits.writer", "FitsWriter.prepare"),
    "complete": ("calbatch.models.fits.writer", "FitsWriter.complete"),
    "publish": ("calbatch.models.fits.writer", "FitsWriter.publish"),
    "fence": ("calbatch.cluster.driver.staging", "fence_earlier_drivers"),
    "make": ("calbatch.cluster.driver.staging", "Staging.make"),
    "remove": ("calbatch.cluster.driver.staging", "Staging.remove"),
    "close": ("calbatch.cluster.driver.staging", "Staging.close"),
    "drive": ("calbatch.cluster.ledger.store", "Ledger.set_driver"),
    "commit": ("calbatch.cluster.ledger.store", "Ledger.commit"),
    "end": ("calbatch.cluster.ledger.store", "Ledger.end_batch"),
    "clear": ("calbatch.cluster.batch.session", "remove_leftovers"),
    "manifest": ("calbatch.cluster.batch.session", "write_manifest"),
}
"""Functions by the names of points; ``publish`` is called once for each product."""


class _Finder:
    """Patches the modules of the points as soon as they have been imported."""

    busy = False

    def find_spec(self, name, path=None, target=None):
        if self.busy or name not in {module for module, _ in POINTS.values()}:
            return None
        self.busy = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.busy = False
        execute = spec.loader.exec_module

        def execute_and_patch(module):
            execute(module)
            _patch(module)

        spec.loader.exec_module = execute_and_patch
        return spec


def _patch(module):
    for point, (name, place) in POINTS.items():
        if name == module.__name__:
            *outer, attribute = place.split(".")
            owner = getattr(module, outer[0]) if outer else module
            setattr(owner, attribute, _killing(point, getattr(owner, attribute)))


def _killing(point, function):
    @wraps(function)
    def call(*arguments, **named):
        _pass(point, "before")
        result = function(*arguments, **named)
        _pass(point, "after")
        return result

    return call


def _pass(point, when):
    """Decrease the count, and kill while no other process can write the plan."""
    if not os.environ["KILLS"]:
        return
    path = Path(os.environ["KILLS"])
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        plan = json.loads(path.read_text())
        if not plan or plan[0][:2] != [point, when]:
            return
        plan[0][2] -= 1
        victim = plan.pop(0)[3] if plan[0][2] <= 0 else ""
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(plan))
        new.replace(path)
        if victim:
            _strike(victim)


def _strike(victim):
    import psutil

    doomed = []
    if victim != "self":
        with suppress(OSError, ValueError, psutil.Error):
            driver = psutil.Process(_driver())
            doomed = driver.children(recursive=True) if victim == "all" else []
            doomed.append(driver)
    for process in doomed:
        if process.pid != os.getpid():
            with suppress(psutil.Error):
                process.kill()
    if victim in ("self", "all"):
        os.kill(os.getpid(), signal.SIGKILL)


def _driver():
    """Return the number of the process that drives the newest batch."""
    notes = Path(os.environ["KILLS_OUTPUT"]).glob(".calbatch/*/driver.json")
    return json.loads(max(notes, key=lambda note: note.stat().st_mtime).read_text())["pid"]


if "KILLS" in os.environ:
    sys.meta_path.insert(0, _Finder())
