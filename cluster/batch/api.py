"""Running a batch from Python: what the command line does, and notebooks do too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

from rich import console as rich_console

from calbatch.calibrate.parameters import nearest
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.product_names import require_product_names
from calbatch.cluster.batch.registering import begin
from calbatch.cluster.batch.result import Result
from calbatch.cluster.batch.service import drive
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.job import ExposureOptions
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.planning.planner import RerunPolicy
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.cluster.sites.placement import SiteRequest


class BatchOptions(TypedDict, total=False):
    """How a batch is done: what `run` takes by name, beside its console.

    Attributes
    ----------
    parameters : mapping
        The pipeline's parameters, and a mapping for each of its steps:
        ``{"save_calibrated_ramp": True, "jump": {"rejection_threshold": 5}}``.
    config : path, optional
        A ``.cfg``, where ``pipeline`` is not one.
    context : str, optional
        The CRDS context; by default the environment's.
    pars : bool
        Whether the observatory's parameter references (``pars-<step>``) are read; the default.
    save_steps : sequence of str, or str
        Steps whose results are kept as well; in one text, separated by commas.
    scheduler : str
        ``auto``, the default, ``local``, ``threads``, ``sync``, or the address of a scheduler.
    workers : int, optional
        Worker processes or threads; by default one a core, as far as memory reaches.
    grain : {"auto", "exposure", "tile"}
        What a task is: a whole exposure, or one of its tiles.
    tile_rows : int, optional
        Height of a tile; by default what memory suggests.
    verify_inputs : bool
        Verify the inputs' checksums first.
    fsync : bool
        Wait until products are on the disk; the default.
    date : str, optional
        What DATE says in products, to repeat them exactly.
    insecure : bool
        Allow an unencrypted scheduler elsewhere.
    site : str, optional
        A site of dask's configuration by its name, instead of ``scheduler``; the section ``site``
        of ``parameters`` changes its options.
    force : bool
        Do again what was done before.
    verify : bool
        Tell by checksums, rather than sizes and times, whether inputs are the same and products
        intact.
    only_failed : bool
        Do nothing but what failed, or was quarantined, when it was tried last.
    recursive : bool
        Take the exposures of folders in a folder, too.
    policy : RetryPolicy
        How patient to be with failures.
    """

    parameters: Mapping[str, Any]
    config: str | Path | None
    context: str | None
    pars: bool
    save_steps: str | Sequence[str]
    scheduler: str
    workers: int | None
    grain: str
    tile_rows: int | None
    verify_inputs: bool
    fsync: bool
    date: str | None
    insecure: bool
    site: str | None
    force: bool
    verify: bool
    only_failed: bool
    recursive: bool
    policy: RetryPolicy


USUAL: BatchOptions = {
    "parameters": {}, "config": None, "context": None, "pars": True, "save_steps": (),
    "scheduler": "auto", "workers": None, "grain": "auto", "tile_rows": None,
    "verify_inputs": False, "fsync": True, "date": None, "insecure": False, "site": None,
    "force": False, "verify": False, "only_failed": False, "recursive": False,
    "policy": RetryPolicy(),
}  # fmt: skip
"""What is done where nothing is said."""


def run(
    pipeline: str | Path | Step | type[Step],
    inputs: str | Path | Sequence[str | Path],
    output_dir: str | Path | None = None,
    *,
    console: rich_console.Console | None = None,
    debug: bool = False,
    **options: Unpack[BatchOptions],
) -> Result:
    """Calibrate exposures, showing progress.

    What was done before, from the same inputs in the same way, and is intact, is not done again.

    Parameters
    ----------
    pipeline : str, path, Step or class
        A name, an import path, a ``.cfg``, or a step or pipeline itself.
    inputs : path or sequence of paths
        Files, folders and globs.
    output_dir : path, optional
        Where products go; by default the working folder.
    console : rich.console.Console, optional
        Where progress is shown; by default standard error, or the notebook.
    debug : bool
        Show tracebacks of failures.
    **options
        See `BatchOptions`.

    Returns
    -------
    Result
        What became of each exposure. One that failed does not raise.

    Raises
    ------
    RequestError
        When the batch cannot be started.
    TypeError
        For an option that there is not.
    """
    source = "run's arguments"
    step, order = ordered(pipeline, inputs, output_dir, source=source, **options)
    return drive(begin(step, order, hold=True), console or Console(stderr=True), debug=debug)


def ordered(
    pipeline: str | Path | Step | type[Step],
    inputs: str | Path | Sequence[str | Path],
    output_dir: str | Path | None = None,
    *,
    source: str = "the command line",
    **options: Unpack[BatchOptions],
) -> tuple[Step, Order]:
    """Return a configured step, and how its batch is to be done; see `run`."""
    for name in options.keys() - USUAL.keys():
        raise TypeError(f"there is no option {name!r}{nearest(name, USUAL)}")
    how: BatchOptions = {**USUAL, **options}
    values = sections(how["parameters"])
    said = {name: str(value) for name, value in values.pop("site", {}).items()}
    if output_dir is not None:
        values.setdefault("", {})["output_dir"] = str(output_dir)
    step = configure_step(
        pipeline,
        config=how["config"],
        parameters=values,
        save_steps=listed(how["save_steps"]),
        source=source,
    )
    require_product_names(step)
    read = ExposureOptions(
        date=_checked(how["date"]),
        fsync=how["fsync"],
        tile_rows=how["tile_rows"],
        verify_inputs=how["verify_inputs"],
    )
    order = Order(
        tuple(texts(inputs)),
        how["context"],
        how["pars"],
        read,
        SiteRequest(how["scheduler"], how["workers"], how["grain"], how["insecure"], how["site"], said),
        RerunPolicy(
            force=how["force"], verify=how["verify"], only_failed=how["only_failed"]
        ),
        how["policy"],
        recursive=how["recursive"],
    )
    return step, order


def sections(parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return parameters by section, "" for the pipeline's own."""
    found: dict[str, dict[str, Any]] = {"": {}}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            found.setdefault(name, {}).update(value)
        else:
            found[""][name] = value
    return found


def texts(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Return inputs as a list, one given by itself too."""
    return [str(inputs)] if isinstance(inputs, (str, Path)) else [str(i) for i in inputs]


def listed(names: str | Sequence[str]) -> list[str]:
    """Return names, given one by one or in one text with commas, as a list."""
    parts = names.split(",") if isinstance(names, str) else names
    return [name.strip() for name in parts if name.strip()]


def _checked(date: str | None) -> str | None:
    """Return a date that DATE can have."""
    try:
        if date is not None:
            datetime.fromisoformat(date)
    except ValueError:
        raise RequestError(f"date {date!r}: must be like 2024-01-31T12:00:00") from None
    return date
