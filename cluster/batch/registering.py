"""Entering a batch in the ledger of its folder, taking it up again, and taking it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from calbatch.calibrate import cfg
from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.leftovers import living_batches, remove_leftovers
from calbatch.cluster.batch.manifest import write_manifest
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.reconfiguring import reconfigure
from calbatch.cluster.driver.control import withdraw_stop_request
from calbatch.cluster.driver.staging import take_over
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import BatchFolder, make_batch_name, remove_batch
from calbatch.cluster.ledger import HistoryQueries, Ledger, LedgerError
from calbatch.cluster.ledger.sqlite_errors import decoding
from calbatch.cluster.planning.identity import parameters_of, software
from calbatch.cluster.planning.inputs import (
    find_exposures,
    refuse_name_clashes,
    require_writable_place,
    total_bytes,
)
from calbatch.cluster.planning.planner import open_references
from calbatch.cluster.planning.step_configuration import input_pattern
from calbatch.cluster.sites import placement
from calbatch.models.private import write_private_text
from calbatch.models.storage.location import Location, location


@dataclass(frozen=True)
class RegisteredBatch:
    """A batch that is in the ledger.

    Attributes
    ----------
    folder : BatchFolder
        Its files.
    step : Step
        Configured.
    order : Order
        How it is to be done.
    inputs : sequence of (int, Path)
        What is still to be done.
    total : int
        Exposures in all.
    fresh : bool
        True if it was made just now, rather than taken up.
    ledger : Ledger, optional
        The open ledger, if it was kept open for whoever drives the batch.
    """

    folder: BatchFolder
    step: Step
    order: Order
    inputs: Sequence[tuple[int, Location]]
    total: int
    fresh: bool = False
    ledger: Ledger | None = None

    @property
    def place(self) -> placement.Place:
        """Where it runs."""
        paths = [path for _, path in self.inputs]
        return placement.choose_place(self.order.site, len(paths), total_bytes(paths))

    @contextmanager
    def hold_ledger(self) -> Iterator[Ledger]:
        """Yield the ledger that was kept open, or open it; close it in the end.

        Raises
        ------
        LedgerError
            If another driver writes it.
        """
        with self.ledger or Ledger(self.folder.state) as ledger:
            yield ledger


def find_inputs(step: Step, order: Order) -> list[Location]:
    """Return the input files that an order means.

    Raises
    ------
    RequestError
        When there are none, or two would have products of one name.
    """
    paths = find_exposures(order.inputs, input_pattern(step), recursive=order.recursive)
    refuse_name_clashes(paths)
    if step.output_file and len(paths) > 1:
        raise RequestError(f"output_file = {step.output_file}: {len(paths)} exposures need names")
    return paths


def select_failed(
    paths: Sequence[Location], books: HistoryQueries, output: Location
) -> list[Location]:
    """Return those inputs that failed when they were tried last.

    Raises
    ------
    RequestError
        When there are none.
    """
    failed = books.find_failed()
    chosen = [path for path in paths if str(path) in failed]
    if not chosen:
        raise RequestError(f"none of the exposures has failed before in {output}")
    return chosen


def begin_batch(
    step: Step, order: Order, notes: Mapping[str, str] | None = None, *, hold: bool = False
) -> RegisteredBatch:
    """Enter a batch in the ledger of its output folder.

    Parameters
    ----------
    step : Step
        Configured; its ``output_dir`` is where products go, by default this folder.
    order : Order
        How it is to be done.
    notes : mapping, optional
        Input to why it is done, for the ledger.
    hold : bool
        Keep the ledger open, so that no other driver can take it before this batch is driven.

    Raises
    ------
    RequestError
        When it cannot be begun: no inputs, names that clash, an output that cannot be written.
    """
    output = require_writable_place(step.output_dir or ".")
    paths = find_inputs(step, order)
    placement.check_request(order.site)
    step.output_dir = str(output)
    open_references(step, order.context)  # refused before there is a batch, not after
    config = _config_of(step)
    folder = BatchFolder(output, make_batch_name())
    folder.secure()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder.state))
        if order.rerun.only_failed:
            paths = select_failed(paths, ledger, output)
        try:
            enter_batch(folder, ledger, step, order, paths, config, notes or {})
        except BaseException:
            remove_batch(folder)
            raise
        inputs = list(enumerate(paths))
        begun = RegisteredBatch(
            folder, step, order, inputs, len(paths), True, ledger if hold else None
        )
        if hold:
            stack.pop_all()
    return begun


def _config_of(step: Step) -> str:
    """Return a step as the batch's ``.cfg``, before there is a batch."""
    try:
        return cfg.format_cfg(step, chosen=True)
    except ParameterError as error:
        raise RequestError(str(error)) from error


def take_up(folder: BatchFolder, *, failed: bool = False, hold: bool = False) -> RegisteredBatch:
    """Return a batch of the ledger that is to be continued.

    Parameters
    ----------
    folder : BatchFolder
        The batch.
    failed : bool
        Whether what failed, or was quarantined, is tried again.
    hold : bool
        Keep the ledger open if anything is left to do; see `begin`.

    Raises
    ------
    RequestError
        When there is no such batch, or another driver has it.
    """
    folder.secure()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder.state))
        row = ledger.batch(folder.name)
        with decoding(ledger.path):
            order = Order.from_json(row.request)
        step = reconfigure(folder, row)
        if failed:
            withdraw_stop_request(folder.control)  # whoever resumes it wants no end any more
            ledger.reopen_failed(row.id)
        left = [(n, location(p)) for n, p in ledger.unfinished_exposures(row.id)]
        if failed and not left:  # its driver may have died when all was done but saying so
            _conclude(folder, ledger, row.id)
        hold = hold and bool(left)
        begun = RegisteredBatch(
            folder, step, order, left, row.total, False, ledger if hold else None
        )
        if hold:
            stack.pop_all()
    return begun


def _conclude(folder: BatchFolder, ledger: Ledger, batch: int) -> None:
    """Leave a batch of which all is done as its driver would have."""
    take_over(folder).close()
    remove_leftovers(folder, living_batches(ledger, batch))
    with suppress(OSError):
        write_manifest(folder, "done")
    ledger.end_batch(batch, "done")


def enter_batch(
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
    ledger.add_batch(
        folder.name,
        step.name,
        [str(path) for path in paths],
        request=order.as_json(),
        parameters=parameters_of(step),
        software=software(),
        notes=notes,
    )


def abandon_batch(ledger: Ledger, folder: BatchFolder, why: str, *, fresh: bool) -> None:
    """Take back a batch whose driver could not be started.

    Nothing stays of a batch that was made for this driver and of which nothing has been tried. Any
    other stays in the ledger, with the reason.

    Parameters
    ----------
    ledger : Ledger
        Open.
    folder : BatchFolder
        The batch's.
    why : str
        Why its driver could not be started.
    fresh : bool
        Whether the batch was made for this driver.
    """
    with suppress(LedgerError):
        row = ledger.batch(folder.name)
        if fresh and not ledger.count_attempts(row.id):
            ledger.remove_batch(row.id)
            remove_batch(folder)
        elif row.state in ("planned", "running"):
            ledger.end_batch(row.id, "failed", why)
