"""Running a batch from Python: what the command line does, and notebooks do too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from calbatch.calibrate.step import Step
from calbatch.cluster import sites
from calbatch.cluster.errors import RequestError
from calbatch.cluster.inputs import place_of
from calbatch.cluster.job import Options
from calbatch.cluster.order import Order
from calbatch.cluster.planning import Again
from calbatch.cluster.policy import Policy
from calbatch.cluster.request import configured
from calbatch.cluster.result import Result
from calbatch.cluster.service import begin, drive
from calbatch.models.location import Location


def run(
    pipeline: str | Path | Step | type[Step],
    inputs: str | Path | Sequence[str | Path],
    output_dir: str | Path | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    context: str | None = None,
    pars: bool = True,
    save_steps: str | Sequence[str] = (),
    scheduler: str = "auto",
    workers: int | None = None,
    grain: str = "auto",
    tile_rows: int | None = None,
    verify_inputs: bool = False,
    fsync: bool = True,
    date: str | None = None,
    insecure: bool = False,
    site: str | None = None,
    force: bool = False,
    verify: bool = False,
    only_failed: bool = False,
    policy: Policy | None = None,
    console: Console | None = None,
    debug: bool = False,
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
    parameters : mapping, optional
        The pipeline's parameters, and a mapping for each of its steps:
        ``{"save_calibrated_ramp": True, "jump": {"rejection_threshold": 5}}``.
    config : path, optional
        A ``.cfg``, where ``pipeline`` is not one.
    context : str, optional
        The CRDS context; by default the environment's.
    pars : bool
        Whether the observatory's parameter references (``pars-<step>``) are read.
    save_steps : sequence of str, or str
        Steps whose results are kept as well; in one text, separated by commas.
    scheduler : str
        ``auto``, ``local``, ``threads``, ``sync``, or the address of a scheduler.
    workers : int, optional
        Worker processes or threads; by default one a core, as far as memory reaches.
    grain : {"auto", "exposure", "tile"}
        What a task is: a whole exposure, or one of its tiles.
    tile_rows : int, optional
        Height of a tile; by default what memory suggests.
    verify_inputs : bool
        Verify the inputs' checksums first.
    fsync : bool
        Wait until products are on the disk.
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
        Tell by checksums, rather than sizes and times, whether products are intact.
    only_failed : bool
        Do nothing but what failed, or was quarantined, when it was tried last.
    policy : Policy, optional
        How patient to be with failures.
    console : rich.console.Console, optional
        Where progress is shown; by default standard error, or the notebook.
    debug : bool
        Show tracebacks of failures.

    Returns
    -------
    Result
        What became of each exposure. One that failed does not raise.

    Raises
    ------
    RequestError
        When the batch cannot be started.
    """
    step, order, output = ordered(
        pipeline, inputs, output_dir, parameters=parameters, config=config, context=context,
        pars=pars, save_steps=save_steps, scheduler=scheduler, workers=workers, grain=grain,
        tile_rows=tile_rows, verify_inputs=verify_inputs, fsync=fsync, date=date,
        insecure=insecure, site=site, force=force, verify=verify, only_failed=only_failed,
        policy=policy,
        source="run's arguments",
    )  # fmt: skip
    return drive(begin(step, order, output), console or Console(stderr=True), debug=debug)


def ordered(
    pipeline: str | Path | Step | type[Step],
    inputs: str | Path | Sequence[str | Path],
    output_dir: str | Path | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    context: str | None = None,
    pars: bool = True,
    save_steps: str | Sequence[str] = (),
    scheduler: str = "auto",
    workers: int | None = None,
    grain: str = "auto",
    tile_rows: int | None = None,
    verify_inputs: bool = False,
    fsync: bool = True,
    date: str | None = None,
    insecure: bool = False,
    site: str | None = None,
    force: bool = False,
    verify: bool = False,
    only_failed: bool = False,
    policy: Policy | None = None,
    source: str = "the command line",
) -> tuple[Step, Order, Location | None]:
    """Return a configured step, how its batch is to be done, and where products go; see `run`."""
    values = sections(parameters or {})
    said = {name: str(value) for name, value in values.pop("site", {}).items()}
    step = configured(
        pipeline,
        config=config,
        parameters=values,
        save_steps=listed(save_steps),
        source=source,
    )
    order = Order(
        tuple(texts(inputs)),
        context,
        pars,
        Options(_checked(date), fsync, tile_rows, verify_inputs=verify_inputs),
        sites.Wish(scheduler, workers, grain, insecure, site, said),
        Again(force, verify, only_failed),
        policy or Policy(),
    )
    return step, order, None if output_dir is None else place_of(output_dir)


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
