"""Registering a batch in the ledger of its output folder, resuming it, and abandoning it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import cfg
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.leftovers import living_batches, remove_leftovers
from calbatch.cluster.batch.liveness import is_beating
from calbatch.cluster.batch.manifest import write_manifest
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.reconfiguring import reconfigure
from calbatch.cluster.driver.control import withdraw_stop_request
from calbatch.cluster.driver.deaths import RecordedDeath, find_deaths, record_driver_deaths
from calbatch.cluster.driver.staging import take_over
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import BatchFolder, make_batch_name, remove_batch
from calbatch.cluster.ledger import HistoryQueries, Ledger, LedgerError
from calbatch.cluster.ledger.records import FAILED, OPEN
from calbatch.cluster.ledger.sqlite_errors import decoding
from calbatch.cluster.ledger.unit_queries import UnitQueries
from calbatch.cluster.planning.associations import PATTERN
from calbatch.cluster.planning.dependencies import (
    Dependencies,
    UnitResult,
    describe_blocking_failure,
)
from calbatch.cluster.planning.identity import parameters_of, software
from calbatch.cluster.planning.input_list import InputList
from calbatch.cluster.planning.inputs import (
    find_exposures,
    refuse_name_clashes,
    require_writable_place,
)
from calbatch.cluster.planning.planner import open_references
from calbatch.cluster.planning.step_configuration import input_pattern
from calbatch.cluster.planning.unit_collection import accepts_associations, collect_units
from calbatch.cluster.planning.unit_graph import UnitGraph
from calbatch.cluster.sites import placement
from calbatch.models.private import write_private_text
from calbatch.models.storage.location import Location, location


@dataclass(frozen=True, kw_only=True)
class RegisteredBatch:
    """A batch that is in the ledger.

    Attributes
    ----------
    folder : BatchFolder
        The batch's files.
    step : Step
        The configured step or pipeline.
    order : Order
        The batch's order.
    inputs : InputList
        Number and path of the exposures that are not done.
    total : int
        Number of all exposures.
    fresh : bool
        True if the batch is new, rather than resumed.
    is_proven : bool
        True if the last calibration of each input, if any, ended well.
    ledger : Ledger, optional
        The open ledger, if it is held for the driver.
    dependencies : Dependencies
        The units that are more than one file.
    deaths : mapping
        The deaths that earlier drivers have left, by exposure; see
        `calbatch.cluster.driver.deaths.find_deaths`.
    """

    folder: BatchFolder
    step: Step
    order: Order
    inputs: InputList
    total: int
    fresh: bool = False
    is_proven: bool = False
    ledger: Ledger | None = None
    dependencies: Dependencies = field(default_factory=Dependencies)
    deaths: Mapping[int, Sequence[RecordedDeath]] = field(default_factory=dict)

    @property
    def place(self) -> placement.Place:
        """The place where the batch runs."""
        return self.order.choose_place(
            self.step,
            len(self.inputs),
            self.inputs.paths(),
            is_proven=self.is_proven,
            has_killed=bool(self.deaths),
        )

    @contextmanager
    def hold_ledger(self) -> Iterator[Ledger]:
        """Yield the ledger, which is opened if it is not held, and close it at the end.

        Raises
        ------
        LedgerError
            If another driver holds it.
        """
        with self.ledger or Ledger(self.folder.state) as ledger:
            yield ledger


def input_patterns(step: Step) -> list[str]:
    """Return the patterns of a step's input files in a folder: exposures and associations."""
    return [input_pattern(step), *([PATTERN] if accepts_associations(step) else [])]


def find_inputs(step: Step, order: Order) -> list[Location]:
    """Return the input files of an order: exposures and associations.

    Raises
    ------
    RequestError
        If there are none, or the products of two would have the same name.
    """
    paths = find_exposures(order.inputs, *input_patterns(step), recursive=order.recursive)
    refuse_name_clashes(paths)
    if step.output_file and len(paths) > 1:
        raise RequestError(f"output_file = {step.output_file}: {len(paths)} exposures need names")
    return paths


def select_failed(graph: UnitGraph, history: HistoryQueries, output: Location) -> UnitGraph:
    """Return the units that failed in their last batch, and those that they wait for.

    Raises
    ------
    RequestError
        If there are none.
    """
    failed = history.find_failed()
    numbers = {number for number, path in enumerate(graph.paths) if str(path) in failed}
    if not numbers:
        raise RequestError(f"none of the exposures has failed before in {output}")
    return graph.select(numbers)


def begin_batch(
    step: Step,
    order: Order,
    notes: Mapping[str, str] | None = None,
    *,
    graph: UnitGraph | None = None,
    hold: bool = False,
) -> RegisteredBatch:
    """Register a new batch in the ledger of its output folder.

    Parameters
    ----------
    step : Step
        The configured step or pipeline. Its ``output_dir`` is the folder for
        products; the working folder by default.
    order : Order
        The batch's order.
    notes : mapping, optional
        Input to the reason why it is calibrated, for the ledger.
    graph : UnitGraph, optional
        The units; by default those of the order's inputs.
    hold : bool
        Keep the ledger open, so that no other driver can take it before this batch is driven.

    Raises
    ------
    RequestError
        If there are no inputs, names clash, or the output folder cannot be written.
    """
    output = require_writable_place(step.output_dir or ".")
    paths = find_inputs(step, order) if graph is None else []
    placement.check_request(order.site)
    step.output_dir = str(output)
    if graph is None:
        graph = collect_units(step, paths, output)
    open_references(step, order.context)  # raises before there is a batch
    config = _config_of(step)
    folder = BatchFolder(output, make_batch_name())
    folder.secure()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder.state))
        record_driver_deaths(ledger, output, living_batches(ledger))
        if order.rerun.only_failed:
            graph = select_failed(graph, ledger, output)
        is_proven = not ledger.has_open_ends(graph.paths)
        try:
            _enter_batch(
                folder,
                ledger,
                step=step,
                order=order,
                graph=graph,
                config=config,
                notes=notes or {},
            )
        except BaseException:
            remove_batch(folder)
            raise
        registered = RegisteredBatch(
            folder=folder,
            step=step,
            order=order,
            inputs=InputList(enumerate(graph.paths)),
            total=len(graph.paths),
            fresh=True,
            is_proven=is_proven,
            ledger=ledger if hold else None,
            dependencies=Dependencies(graph.units),
            deaths=find_deaths(ledger, ledger.batch(folder.name).id),
        )
        if hold:
            stack.pop_all()
    return registered


def _config_of(step: Step) -> str:
    """Return the text of the batch's ``.cfg``."""
    try:
        return cfg.format_cfg(step, chosen=True)
    except ParameterError as error:
        raise RequestError(str(error)) from error


def resume_batch(
    folder: BatchFolder, *, failed: bool = False, hold: bool = False
) -> RegisteredBatch:
    """Return a registered batch that is to be resumed.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.
    failed : bool
        Calibrate failed and quarantined exposures again.
    hold : bool
        Keep the ledger open if anything is left to do; see `begin_batch`.

    Raises
    ------
    RequestError
        If there is no such batch, or another driver is running it.
    """
    folder.secure()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder.state))
        row = ledger.batch(folder.name)
        living = living_batches(ledger)
        if folder.name in living and not is_beating(ledger, folder.name):
            living -= {folder.name}  # once this process is recorded, nobody could tell
        record_driver_deaths(ledger, folder.output, living)
        with decoding(ledger.path):
            order = Order.from_json(row.request)
        step = reconfigure(folder, row)
        if failed:
            withdraw_stop_request(folder.control)  # resuming a batch cancels requests to stop it
            ledger.reopen_failed(row.id)
        unfinished = InputList(ledger.unfinished_exposures(row.id))
        if failed and not unfinished:  # the driver may have died just before it recorded the end
            _conclude(folder, ledger, row.id)
        hold = hold and bool(unfinished)
        registered = RegisteredBatch(
            folder=folder,
            step=step,
            order=order,
            inputs=unfinished,
            total=row.total,
            ledger=ledger if hold else None,
            dependencies=load_dependencies(ledger, row.id),
            deaths=find_deaths(ledger, row.id),
        )
        if hold:
            stack.pop_all()
    return registered


def load_dependencies(ledger: UnitQueries, batch: int, *states: str) -> Dependencies:
    """Return the units of a batch that are more than one file, with the results so far.

    Parameters
    ----------
    ledger : UnitQueries
        The open ledger.
    batch : int
        The batch's number in the ledger.
    *states : str
        States of the units; by default those without a final outcome.
    """
    results = {
        maker.number: UnitResult(
            maker.identity,
            maker.products,
            describe_blocking_failure(
                location(maker.path), quarantined=maker.state == "quarantined"
            )
            if maker.state in FAILED
            else "",
        )
        for maker in ledger.finished_makers(batch)
    }
    return Dependencies(ledger.units(batch, *(states or OPEN)), results)


def _conclude(folder: BatchFolder, ledger: Ledger, batch: int) -> None:
    """End a batch whose exposures are all done, as its driver would have."""
    take_over(folder).close()
    remove_leftovers(folder, living_batches(ledger))
    with suppress(OSError):
        write_manifest(folder, "done")
    ledger.end_batch(batch, "done")


def _enter_batch(
    folder: BatchFolder,
    ledger: Ledger,
    *,
    step: Step,
    order: Order,
    graph: UnitGraph,
    config: str,
    notes: Mapping[str, str],
) -> None:
    """Create a batch's folder, and add the batch to the ledger.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.
    ledger : Ledger
        The open ledger.
    step : Step
        The configured step or pipeline.
    order : Order
        The batch's order.
    graph : UnitGraph
        The exposures and other units.
    config : str
        The configured step as the text of a ``.cfg``.
    notes : mapping
        Input to the reason why it is calibrated.

    Raises
    ------
    LedgerError, OSError
        If there is no space left, or no permission.
    """
    folder.make()
    write_private_text(folder.config, config)
    ledger.add_batch(
        folder.name,
        step.name,
        [str(path) for path in graph.paths],
        request=order.as_json(),
        parameters=parameters_of(step),
        software=software(),
        notes=notes,
        units=graph.units,
    )


def abandon_batch(ledger: Ledger, folder: BatchFolder, reason: str, *, fresh: bool) -> None:
    """Abandon a batch whose driver could not be started.

    A new batch without any attempt is removed entirely. Any other batch stays in the ledger, with
    the reason.

    Parameters
    ----------
    ledger : Ledger
        The open ledger.
    folder : BatchFolder
        The batch's files.
    reason : str
        The reason why its driver could not be started.
    fresh : bool
        True if the batch is new, rather than resumed.
    """
    with suppress(LedgerError):
        row = ledger.batch(folder.name)
        if fresh and not ledger.count_attempts(row.id):
            ledger.remove_batch(row.id)
            remove_batch(folder)
        elif row.state in ("planned", "running"):
            ledger.end_batch(row.id, "failed", reason)
