"""Batches that are disturbed all the time, and what must be true of them in the end."""

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
"""Seconds that a strike is put off while nothing is done."""


def status(folder):
    """Return how far a batch is."""
    return json.loads(calbatch("status", folder.name, "--json").out)


def driver_of(folder):
    """Return the process that drives a batch; None where there is none."""
    with suppress(OSError, ValueError, psutil.Error):
        return psutil.Process(json.loads(folder.pid.read_text())["pid"])
    return None


def kill(*processes):
    """Kill processes, which may have ended."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def with_children(process):
    """Return a process and all that it has started; nothing where there is none."""
    with suppress(psutil.Error):
        return [*process.children(recursive=True), process] if process else []
    return []


def spread(count, *actions):
    """Return actions with how many exposures are to be done before each."""
    return [(count * (n + 1) // (len(actions) + 1), a) for n, a in enumerate(actions)]


def disturbed(folder, *, every, strike, planned, seconds, keep=lambda: None):
    """Follow a batch to its end, resuming it whenever it is interrupted.

    A machine may be so slow that nothing is done between two strikes: then they are put off, so
    that the batch ends, but not for long.

    Parameters
    ----------
    folder : BatchFolder
        The batch.
    every : float
        Seconds between strikes, at the mean.
    strike : callable
        Told a source of chance, kills a worker; returns whether there was one to kill.
    planned : list of (int, callable)
        What else is done, once so many exposures are done; returns whether it could be.
    seconds : float
        How long nothing more may be done: a machine may be slow, but not stuck.
    keep : callable
        Called all the time: what supervises processes elsewhere.

    Returns
    -------
    strikes : int
        How many workers were killed.
    """
    strikes, planned, chance = 0, list(planned), random.Random(1)
    limit, most = Limit(seconds), 0
    due, done = time.monotonic() + every, 0
    while True:
        found = status(folder)
        limit.check((found, folder.log.read_text()[-3000:] if folder.log.exists() else ""))
        keep()
        if found["done"] > most:
            most, limit = found["done"], Limit(seconds)
        if found["state"] == "done":
            assert not planned
            _wait_for(driver_of(folder))  # it still writes the manifest
            return strikes
        if found["state"] in ("interrupted", "failed", "cancelled"):
            calbatch("resume", folder.name, "--detach")  # refused while the driver is just ending
            be_slow(0.5)
        elif planned and found["done"] >= planned[0][0]:
            if planned[0][1]():
                planned.pop(0)
        elif time.monotonic() > due + (PUT_OFF if found["done"] == done else 0):
            strikes += strike(chance)
            done, due = found["done"], time.monotonic() + every * chance.uniform(0.5, 1.5)
        be_slow(0.1)


def _wait_for(process):
    with suppress(psutil.NoSuchProcess):
        if process is not None:
            process.wait(30)


def require_consistent(folder, count):
    """Require that all is done, once, with nothing left behind, and that the ledger agrees."""
    _wait_for(driver_of(folder))  # it still writes the manifest
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
    assert len(set(map(len, made))) == 1
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
