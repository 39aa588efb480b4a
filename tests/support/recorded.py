"""Batches that are written to a ledger without being run."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calbatch.cluster.batch.liveness import record_driver
from calbatch.cluster.batch.order import Order
from calbatch.cluster.folder import BatchFolder, make_batch_name
from calbatch.cluster.ledger import Ledger, ProductRow
from support.waiting import now


def record_batch(
    output: Path,
    exposures: Sequence[Mapping[str, Any]],
    state: str | None = "done",
    reason: str = "",
    order: Order | None = None,
    name: str = "",
) -> BatchFolder:
    """Write a batch to the ledger of a folder, and return its folder.

    Parameters
    ----------
    output : Path
        The output folder.
    exposures : sequence of mapping
        Columns of each exposure; ``path`` (``/in/e<number>_uncal.fits`` by default), ``products``
        (a list of `ProductRow`) and ``log`` (of the last attempt) are optional.
    state, reason : str
        How the batch ended; None leaves it planned, ``running`` leaves this process driving it.
    order : Order, optional
        How it was to be run.
    name : str
        The batch's name; a new one by default.
    """
    folder = BatchFolder(output, name or make_batch_name())
    folder.secure()
    order = order or Order(inputs=("in",))
    paths = [each.get("path", f"/in/e{n}_uncal.fits") for n, each in enumerate(exposures)]
    with Ledger(folder.state) as ledger:
        folder.make()
        batch = ledger.add_batch(
            folder.name, "jump", paths, request=order.as_json(), parameters={}, software={}
        )
        if state is not None:
            ledger.set_driver(batch, "sync", None)
        for number, each in enumerate(exposures):
            columns = {k: v for k, v in each.items() if k not in ("path", "products", "log")}
            if columns:
                ledger.update_exposure(batch, number, **columns)
            ledger.set_products(batch, number, each.get("products", ()))
            if "log" in each:
                ledger.add_attempt(
                    batch, number, number=1, worker="host:7", peak=2**30, result="failed",
                    log=each["log"],
                )  # fmt: skip
        if state not in (None, "running"):
            ledger.end_batch(batch, state, reason)
    return folder


def record_all_states(output: Path) -> BatchFolder:
    """Write a batch of nine exposures, in each state that there is, which this process drives."""
    ended = {"ended": now() + 1}
    final = {"done": ended, "failed": ended, "quarantined": ended}
    states = ["done", "done", "done", "kept", "failed", "quarantined"]
    states += ["running", "retrying", "waiting"]
    return record_running(output, [{"state": s} | final.get(s, {}) for s in states])


def record_running(output: Path, exposures: Sequence[Mapping[str, Any]]) -> BatchFolder:
    """Write a batch that this process drives to the ledger of a folder; return its folder."""
    made = record_batch(output, exposures, state="running")
    record_driver(made, os.getpid())
    return made


def change_batch(folder: BatchFolder, change: Callable[[Ledger, int], object]) -> None:
    """Call a function with the open ledger and the row number of a batch."""
    with Ledger(folder.state) as ledger:
        change(ledger, ledger.batch(folder.name).id)


def product(path: Path | str, size: int = 5) -> ProductRow:
    """Return the record of a product."""
    return ProductRow(str(path), size, 7, "digest")
