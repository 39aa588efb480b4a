"""A batch as an object: started, followed and cancelled from Python.

The batch is driven by the process or Slurm job that `calbatch submit` starts as well, never by a
thread of this process. It thus outlives a notebook's kernel, leaves signals and the interpreter to
the user's code, and any number of batches run side by side. The ledger is the only link: an object
takes all its answers from the ledger, so that another process that attaches to the batch gives
the same answers.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Generator, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any

from calbatch.calibrate.chain import Chain
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.arguments import (
    BatchArguments,
    accept_arguments,
    accept_in_constructor,
    insert_fields,
)
from calbatch.cluster.batch.default_batch import ACTIVE
from calbatch.cluster.batch.launching import launch
from calbatch.cluster.batch.liveness import batch_state
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.registering import begin_batch, resume_batch
from calbatch.cluster.batch.result import Result, read_result
from calbatch.cluster.batch.stopping import stop_driver
from calbatch.cluster.batch.watching.batch_status import (
    Status,
    describe_exposure,
    read_status,
    watch_batch,
)
from calbatch.cluster.batch.watching.quick_looks_html import QuickLooks
from calbatch.cluster.batch.watching.status_html import status_as_html
from calbatch.cluster.display.live_html import (
    LiveDisplay,
    Snapshot,
    is_notebook,
    show_in_notebook,
)
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import BatchFolder, find_batch
from calbatch.cluster.ledger import LedgerError, View
from calbatch.cluster.ledger.records import FAILED
from calbatch.models.markup import make_display
from calbatch.models.storage.location import Location

_LOOK_EVERY = 0.5
"""Seconds between checks while waiting for a batch."""


class Batch:
    """A batch of exposures that are calibrated in the background.

    Nothing happens before `start`. The batch then continues on its own, after this process has
    ended, too; `calbatch.attach` returns an object for it in any other process. In a notebook, the
    object is shown as a table that follows the batch. Waiting for it with ``await`` leaves the
    notebook free, and the end of the waiting, by an interrupt or in another way, does not cancel
    the batch.

    Parameters
    ----------
    FIELDS

    Raises
    ------
    TypeError
        If there is no such option.

    Examples
    --------
    >>> batch = calbatch.Batch("detector1", "exposures/", "calibrated/").start()
    >>> batch.wait().products
    """

    _most_looks = 0  # that its display shows

    @accept_in_constructor(BatchArguments)
    def __init__(self, arguments: BatchArguments) -> None:
        self._arguments: BatchArguments | None = arguments
        self._folder: BatchFolder | None = None

    @classmethod
    def of(cls, folder: BatchFolder) -> Batch:
        """Return the batch with these files."""
        batch = cls.__new__(cls)
        batch._arguments, batch._folder = None, folder
        return batch

    # -- starting and ending --------------------------------------------------------------------

    def start(self) -> Batch:
        """Start the batch in the background, and return it at once.

        Raises
        ------
        RequestError
            If the batch has been started already, or cannot be started.
        """
        if self._folder is not None:
            raise RequestError(f"{self.name}: has been started already; resume() continues it")
        assert self._arguments is not None
        self._folder = _start_batch(self._arguments, "the batch's arguments")
        return self

    def resume(self) -> Batch:
        """Calibrate the exposures that are waiting, failed or quarantined, in the background.

        Raises
        ------
        RequestError
            If the batch has not been started, or its step cannot be restored.
        LedgerError
            If a batch is running in its output folder.
        """
        registered = resume_batch(self.folder, failed=True, hold=True)
        if registered.inputs:
            launch(registered)
        return self

    def cancel(self, *, now: bool = False) -> None:
        """Ask the batch to stop; `resume` continues it.

        Parameters
        ----------
        now : bool
            Abandon the running exposures, instead of finishing them first.

        Raises
        ------
        RequestError
            If the batch is not running.
        """
        stop_driver(self.folder, now=now)

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the end of the batch, and return its result.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait.

        Raises
        ------
        TimeoutError
            If the batch is still waiting or running after that time.
        RequestError
            If the batch has not been started.
        """
        limit = time.monotonic() + (math.inf if timeout is None else timeout)
        while (state := self.state) in ACTIVE:
            if time.monotonic() > limit:
                raise TimeoutError(f"{self.name} is {state} after {timeout:g} s")
            time.sleep(_LOOK_EVERY)
        return read_result(self.folder)

    def __await__(self) -> Generator[Any, None, Result]:
        return self._wait_asynchronously().__await__()

    async def _wait_asynchronously(self) -> Result:
        while await asyncio.to_thread(self._read_state) in ACTIVE:
            await asyncio.sleep(_LOOK_EVERY)
        return await asyncio.to_thread(read_result, self.folder)

    # -- following ------------------------------------------------------------------------------

    @property
    def folder(self) -> BatchFolder:
        """The batch's files."""
        if self._folder is None:
            raise RequestError(f"the batch of {self._pipeline} has not been started: call start()")
        return self._folder

    @property
    def name(self) -> str:
        """The batch's name, which the commands `calbatch status` and others take."""
        return self.folder.name

    @property
    def output_dir(self) -> Location:
        """The folder of products."""
        return self.folder.output

    @property
    def state(self) -> str:
        """The batch's state.

        It is ``planned``, ``running``, ``done``, ``failed``, ``interrupted`` or ``cancelled``.
        """
        return self._read_state()

    def _read_state(self) -> str:
        with View(self.folder.state) as view:
            return batch_state(self.folder, view.batch(self.name))

    def status(self) -> Status:
        """Return the counts of exposures by state, the rate, the time left and the failures."""
        return read_status(self.folder)

    def progress(self, *, quick_looks: int = 0) -> None:
        """Show the progress until the batch has ended.

        A notebook shows it in place, and goes on; elsewhere, the call returns at the end.

        Parameters
        ----------
        quick_looks : int
            Maximum number of quick-looks of the latest products that a notebook shows below it.
        """
        self._most_looks = quick_looks
        if is_notebook():
            self._display.show()
        else:
            watch_batch(self.folder, Console(stderr=True))

    def results(self) -> list[Outcome]:
        """Return the exposures that have products so far, in the order of the inputs."""
        return list(read_result(self.folder).each("done", "kept"))

    def failures(self) -> list[Outcome]:
        """Return the exposures that have failed so far, in the order of the inputs."""
        return list(read_result(self.folder).each(*FAILED))

    def to_dataframe(self) -> Any:
        """Return a pandas.DataFrame with a row for each exposure, by number.

        Its columns are the exposure's path, state and reason, tries, wall time (``seconds``), CPU
        seconds, peak memory in bytes, warnings, and products.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        folder = self.folder
        try:
            pandas = import_module("pandas")
        except ModuleNotFoundError as error:
            raise ImportError("to_dataframe() needs pandas: pip install pandas") from error
        with View(folder.state) as view:
            records = [
                {**describe_exposure(row), "products": [product.path for product in products]}
                for row, _, products in view.exposures_in_full(view.batch(folder.name).id)
            ]
        return pandas.DataFrame.from_records(records, index="number")

    def quick_looks(self, most: int = 24) -> QuickLooks:
        """Return quick-looks of products, which a notebook shows as images.

        They have been sampled from the products' rows during calibration; no file is read.

        Parameters
        ----------
        most : int
            Maximum number: the latest products, the last one first.
        """
        from calbatch.cluster.display.quick_look_images import (
            draw_quick_looks,  # NumPy is slow to import
        )

        folder = self.folder
        with View(folder.state) as view:
            looks = view.quick_looks(view.batch(folder.name).id, most)
        return QuickLooks(folder.name, list(draw_quick_looks(looks)))

    # -- showing --------------------------------------------------------------------------------

    @property
    def _pipeline(self) -> object:
        wanted = self._arguments.pipeline if self._arguments else ""
        return wanted.__name__ if isinstance(wanted, type) else wanted

    @cached_property
    def _display(self) -> LiveDisplay:
        return LiveDisplay(self._take_snapshot, show_in_notebook)

    def _take_snapshot(self) -> Snapshot:
        if self._folder is None:
            text = f"<Batch of {self._pipeline}: not started>"
        else:
            try:
                looks = self.quick_looks(self._most_looks).images if self._most_looks else ()
                return _as_snapshot(self.status(), looks)
            except (LedgerError, OSError):  # pruned, or damaged
                place = f"in {self.output_dir}"
                text = f"<Batch {self.name}: its ledger cannot be read, {place}>"
        return Snapshot(html=make_display(text), text=escape_text(text), is_final=True)

    def __repr__(self) -> str:
        return self._take_snapshot().text

    def _repr_html_(self) -> str:
        return self._take_snapshot().html

    def _ipython_display_(self) -> None:
        self._display.show(follow=is_notebook())


def _as_snapshot(status: Status, images: Sequence[tuple[str, str]]) -> Snapshot:
    text = escape_text(f"<Batch {status.line()}, in {status.output}>")
    is_final = status.state not in ACTIVE
    return Snapshot(html=status_as_html(status, images), text=text, is_final=is_final)


Batch.__doc__ = insert_fields(Batch.__doc__, BatchArguments)


def attach(batch: str | None = None) -> Batch:
    """Return a batch that has been started elsewhere.

    Parameters
    ----------
    batch : str, optional
        The batch's name, a unique prefix of it, or an output folder, which stands for its latest
        batch. By default, the user's latest batch.

    Raises
    ------
    RequestError
        If no batch or more than one matches.
    """
    return Batch.of(find_batch(batch))


@accept_arguments(BatchArguments)
def submit(arguments: BatchArguments) -> Batch:
    """Calibrate exposures in the background, and return at once.

    This is ``Batch(…).start()``. The batch continues after this process has ended. If the site's
    workers are Slurm jobs, its driver is a job, too.

    Parameters
    ----------
    FIELDS

    Returns
    -------
    Batch
        The batch, to be followed and waited for.

    Raises
    ------
    RequestError
        If the batch cannot be started.
    TypeError
        If there is no such option.
    """
    return Batch.of(_start_batch(arguments, "submit's arguments"))


def _start_batch(arguments: BatchArguments, source: str) -> BatchFolder:
    """Register a batch, start its driver, and return the batch's files."""
    step, order = build_order(arguments, source=source)
    _require_importable(step)
    registered = begin_batch(step, order, hold=True)
    launch(registered)
    return registered.folder


def _require_importable(step: Step) -> None:
    """Raise RequestError for a step that exists only in this process, not in the driver's.

    Raises
    ------
    RequestError
        If a script or notebook defines the step.
    """
    for part in step.parts.values() if isinstance(step, Chain) else [step]:
        if type(part).__module__ == "__main__":
            raise RequestError(
                f"{type(part).__name__} is defined in this script or notebook, from which the "
                "driver in the background cannot import it: move it to a module that can be "
                "imported everywhere, or use calbatch.run, which drives the batch in this process"
            )
