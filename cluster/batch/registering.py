"""Entering a batch in the ledger, and taking it back when its driver could not be started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from calbatch.calibrate.step import Step
from calbatch.cluster.batch.order import Order
from calbatch.cluster.folder import BatchFolder, remove
from calbatch.cluster.ledger import Ledger, LedgerError
from calbatch.cluster.planning.identity import parameters_of, software
from calbatch.models.private import write_private_text
from calbatch.models.storage.location import Location


def enter(
    folder: BatchFolder,
    ledger: Ledger,
    step: Step,
    order: Order,
    paths: Sequence[Location],
    config: str,
    notes: Mapping[str, str],
) -> None:
    """Make a batch's folder, and enter the batch in the ledger.

    Parameters
    ----------
    folder : BatchFolder
        The batch's.
    ledger : Ledger
        Open.
    step : Step
        Configured.
    order : Order
        How it is to be done.
    paths : sequence of Path
        Its exposures.
    config : str
        The configured step, as a ``.cfg`` holds it.
    notes : mapping
        Input to why it is done.

    Raises
    ------
    LedgerError, OSError
        When there is no room, or no permission.
    """
    folder.make()
    write_private_text(folder.config, config)
    ledger.begin(
        folder.name,
        step.name,
        [str(path) for path in paths],
        request=order.as_json(),
        parameters=parameters_of(step),
        software=software(),
        notes=notes,
    )


def abandon(folder: BatchFolder, why: str, *, fresh: bool) -> None:
    """Take back a batch whose driver could not be started.

    Nothing stays of a batch that was made for this driver and of which nothing has been tried. Any
    other stays in the ledger, with the reason.

    Parameters
    ----------
    folder : BatchFolder
        The batch's.
    why : str
        Why its driver could not be started.
    fresh : bool
        Whether the batch was made for this driver.
    """
    with suppress(LedgerError), Ledger(folder.state) as ledger:
        row = ledger.batch(folder.name)
        if fresh and not ledger.tries(row.id):
            ledger.forget(row.id)
            remove(folder)
        elif row.state in ("planned", "running"):
            ledger.end(row.id, "failed", why)
