"""`calbatch run`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from calbatch.calibrate import warm
from calbatch.cluster import sites
from calbatch.cluster.driver import Batch, Result, executed, gathered
from calbatch.cluster.job import Options
from calbatch.cluster.progress import watching
from calbatch.cluster.report import summary
from calbatch.cluster.request import configured


def main(
    pipeline: str,
    inputs: Sequence[str],
    output_dir: str,
    *,
    timings: bool = False,
    debug: bool = False,
    **options: Any,
) -> int:
    """Run a batch with progress and a summary; return the exit status."""
    console = Console(file=sys.stderr if not sys.stdout.isatty() else sys.stdout)
    result = run(pipeline, inputs, output_dir, console=console, **options)
    summary(result, console, timings=timings, debug=debug)
    return result.exit_status


def run(
    pipeline: str,
    inputs: Sequence[str] | str | Path,
    output_dir: str | Path,
    *,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    config: str | None = None,
    context: str | None = None,
    save_steps: str | Sequence[str] = (),
    scheduler: str = "auto",
    workers: int | None = None,
    grain: str = "auto",
    tile_rows: int | None = None,
    verify_inputs: bool = False,
    no_fsync: bool = False,
    date: str | None = None,
    insecure: bool = False,
    console: Console | None = None,
) -> Result:
    """Calibrate exposures.

    Parameters
    ----------
    pipeline : str
        A name, an import path, or a ``.cfg``.
    inputs : path or sequence of paths
        Files, folders and globs.
    output_dir : path
        Where products go.
    parameters : mapping, optional
        Section ("" for the pipeline's own) to parameters.
    config : path, optional
        A ``.cfg``, where ``pipeline`` is not one.
    context : str, optional
        The CRDS context; by default the environment's.
    save_steps : sequence of str
        Steps whose results are kept as well.
    scheduler, workers, grain
        As `calbatch.cluster.sites.chosen` takes them.
    tile_rows : int, optional
        Height of a tile; by default what memory suggests.
    verify_inputs : bool
        Verify the inputs' checksums first.
    no_fsync : bool
        Do not wait for the disk.
    date : str, optional
        What DATE says in products.
    insecure : bool
        Allow an unencrypted scheduler elsewhere.
    console : rich.console.Console, optional
        Where progress is shown.

    Returns
    -------
    Result
        What became of each exposure.

    Raises
    ------
    RequestError
        When the batch cannot be started.
    """
    console = console or Console()
    kept = save_steps.split(",") if isinstance(save_steps, str) else list(save_steps)
    step = configured(
        pipeline, config=config, parameters=parameters, save_steps=[k for k in kept if k]
    )
    wanted = [str(inputs)] if isinstance(inputs, (str, Path)) else [str(i) for i in inputs]
    options = Options(
        Path(output_dir).expanduser().absolute(),
        date=date,
        fsync=not no_fsync,
        tile_rows=tile_rows,
        verify_inputs=verify_inputs,
    )
    batch = gathered(step, wanted, options, context)
    warm.compile_kernels(lambda text: console.print(text))
    place = sites.chosen(scheduler, workers, grain, len(batch.found), insecure=insecure)
    with place as site:
        _introduce(batch, site, console)
        with watching(len(batch.found), site.dashboard, console) as watch:
            return executed(batch, site, watch)


def _introduce(batch: Batch, site: sites.Site, console: Console) -> None:
    context = f", context {batch.context}" if batch.context else ""
    count = len(batch.found)
    plural = "s" * (count != 1)
    console.print(
        f"{batch.step.name}: {count} exposure{plural}, {site.description}{context}", markup=False
    )
