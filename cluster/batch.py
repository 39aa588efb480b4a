"""Running a batch from Python: what the command line does, and notebooks do too."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from calbatch.calibrate import warm
from calbatch.calibrate.step import Step
from calbatch.cluster import sites
from calbatch.cluster.driver import (
    Batch,
    Result,
    executed,
    gathered,
    inputs_of,
    leaving_nothing,
    references_of,
)
from calbatch.cluster.errors import RequestError
from calbatch.cluster.fetching import fetched
from calbatch.cluster.inputs import total_bytes, writable_folder
from calbatch.cluster.job import Options
from calbatch.cluster.progress import watching
from calbatch.cluster.request import configured


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
    console: Console | None = None,
    debug: bool = False,
) -> Result:
    """Calibrate exposures, showing progress.

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
    start = time.perf_counter()
    console = console or Console(stderr=True)
    step = configured(
        pipeline,
        config=config,
        parameters=sections(parameters or {}),
        save_steps=listed(save_steps),
        source="run's arguments",
    )
    options = Options(_checked(date), fsync, tile_rows, verify_inputs=verify_inputs)
    step.output_dir = str(writable_folder(Path(output_dir or step.output_dir or ".")))
    paths = inputs_of(step, texts(inputs))
    references = references_of(step, context)
    wish = sites.Wish(scheduler, workers, grain, insecure)
    place = sites.decided(wish, len(paths), total_bytes(paths))
    sites.announced(place)
    fetching = partial(fetched, console=console)
    batch = gathered(step, paths, options, references, use_pars=pars, fetching=fetching)
    result = _run(batch, place, console, debug=debug)
    return replace(result, seconds=time.perf_counter() - start)


def _run(batch: Batch, place: sites.Place, console: Console, *, debug: bool) -> Result:
    for job in islice(batch.jobs(), 1):
        tell = partial(console.print, markup=False)
        warm.compile_kernels(tell, job.step, job.path, job.references)
    with leaving_nothing(batch), sites.entered(place) as site:
        _introduce(batch, site, console)
        try:
            with watching(len(batch.found), site.dashboard, console, debug=debug) as watch:
                return executed(batch, site, watch)
        except KeyboardInterrupt:
            console.print("stopping: what is not finished is given up")
            raise


def _introduce(batch: Batch, site: sites.Site, console: Console) -> None:
    rules = batch.resolved
    context = f", context {rules.context} ({rules.context_reason})" if rules.context else ""
    count = len(batch.found)
    plural = "s" * (count != 1)
    console.print(
        f"{batch.step.name}: {count} exposure{plural}, {site.description}{context}",
        markup=False,
        highlight=False,
    )
    for name, members in sorted(rules.parameters.items()):
        text = f"parameters from {name}: {members} exposure{'s' * (members != 1)}"
        console.print(text, markup=False, highlight=False)


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
