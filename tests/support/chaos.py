"""Constantly disturbed batches, and the state in which they must end."""

import json
import random
import sqlite3
import time
from contextlib import suppress

import psutil

from calbatch.cluster.ledger import View
from calbatch.cluster.ledger.store import NAME
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.storage.files import read_stamp
from support.batches import calbatch, products_in
from support.waiting import Limit, be_slow

PUT_OFF = 8.0
"""Seconds that a strike is put off while nothing is done; twice as long each time in vain."""


def status(folder):
    """Return the status of a batch."""
    return json.loads(calbatch("status", folder.name, "--json").out)


def driver_of(folder):
    """Return the process that drives a batch, if there is one."""
    with suppress(OSError, ValueError, psutil.Error):
        return psutil.Process(json.loads(folder.pid.read_text())["pid"])
    return None


def kill(*processes):
    """Kill processes that may have ended already."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def with_children(process):
    """Return a process and its descendants; nothing if it has ended."""
    with suppress(psutil.Error):
        return [*process.children(recursive=True), process] if process else []
    return []


def spread_actions(count, *actions):
    """Return actions with the number of exposures to finish before each."""
    return [(count * (n + 1) // (len(actions) + 1), a) for n, a in enumerate(actions)]


def run_disturbed(folder, *, every, strike, planned, seconds, keep=lambda: None, hold=None):
    """Follow a batch to its end, resuming it whenever it is interrupted.

    On a slow machine nothing may get done between two strikes. Strikes are then postponed for a
    while, so that the batch ends.

    Parameters
    ----------
    folder : BatchFolder
        The batch.
    every : float
        Mean seconds between strikes.
    strike : callable
        Takes a random generator, kills a worker, and returns whether there was one.
    planned : list of (int, callable)
        Actions to take once a number of exposures is done; each returns whether it succeeded.
    seconds : float
        Longest time without progress; a machine may be slow, but not stuck.
    keep : callable
        Called constantly, to supervise other processes.
    hold : pathlib.Path, optional
        A file that keeps the batch from ending. It is removed after the last planned action and
        the first strike.

    Returns
    -------
    strikes : int
        Number of workers killed.
    """
    strikes, planned, chance = 0, list(planned), random.Random(1)
    limit, most = Limit(seconds), 0
    due, done, put_off = time.monotonic() + every, 0, PUT_OFF
    while True:
        found = status(folder)
        limit.check((found, folder.log.read_text()[-3000:] if folder.log.exists() else ""))
        keep()
        if hold is not None and strikes and not planned:
            hold.unlink(missing_ok=True)
        if found["done"] > most:
            most, limit = found["done"], Limit(seconds)
        if found["state"] == "done":
            assert not planned
            _wait_for(driver_of(folder))  # it is still writing the manifest
            return strikes
        if found["state"] in ("interrupted", "failed", "cancelled"):
            calbatch("resume", folder.name, "--detach")  # refused while the driver is ending
            be_slow(0.5)
        elif planned and found["done"] >= planned[0][0]:
            if planned[0][1]():
                planned.pop(0)
        elif time.monotonic() > due + (put_off if found["done"] == done else 0):
            put_off = 2 * put_off if found["done"] == done else PUT_OFF
            strikes += strike(chance)
            done, due = found["done"], time.monotonic() + every * chance.uniform(0.5, 1.5)
        be_slow(0.1)


def _wait_for(process):
    with suppress(psutil.NoSuchProcess):
        if process is not None:
            process.wait(30)


def require_consistent(folder, count, distinct_counts=1):
    """Require that each exposure is done once, nothing is left over, and the ledger agrees.

    ``distinct_counts`` is how many different numbers of products the exposures have.
    """
    _wait_for(driver_of(folder))  # it is still writing the manifest
    assert not list(folder.output.rglob("*.part"))
    assert not list(folder.logs.iterdir())
    with sqlite3.connect(folder.state / NAME) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    with View(folder.state) as view:
        row = view.batch(folder.name)
        assert row.state == "done"
        exposures = list(view.exposures(row.id))
        assert [e.number for e in exposures] == list(range(count))
        assert {e.state for e in exposures} <= {"done", "kept"}
        assert len({e.path for e in exposures}) == count
        for exposure in (e for e in exposures if e.state == "done"):
            _require_one_try_that_succeeded(exposure, view.attempts(exposure.id))
        made = [view.products(e.id) for e in exposures]
    assert len(set(map(len, made))) == distinct_counts
    products = [product for each in made for product in each]
    assert sorted(p.path for p in products) == [str(p) for p in products_in(folder.output)]
    for product in products:
        _require_as_told(product)


def _require_one_try_that_succeeded(exposure, attempts):
    assert [a.number for a in attempts] == list(range(1, len(attempts) + 1)), exposure
    assert exposure.attempts == len(attempts)
    *others, last = [a.result for a in attempts]
    assert last == "done"
    assert set(others) <= {"death", "lost", "memory"}, attempts


def _require_as_told(product):
    now, layout = read_stamp(product.path), read_layout(product.path)
    assert (now.size, now.mtime_ns, layout.digest) == (
        product.size,
        product.mtime_ns,
        product.digest,
    )
    verify_checksums(layout)
