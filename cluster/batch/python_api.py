"""Running a batch from Python; the command line does the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rich import console as rich_console

from calbatch.calibrate.parameters import nearest
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.launching import launch
from calbatch.cluster.batch.options import (
    BatchOptions,
    describe_options,
    option_fields,
    signature_parameters,
)
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.product_names import require_product_names
from calbatch.cluster.batch.registering import RegisteredBatch, begin_batch
from calbatch.cluster.batch.result import Result
from calbatch.cluster.batch.session import drive
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.planning.step_configuration import configure_step

if TYPE_CHECKING:
    from calbatch.cluster.batch.arguments import BatchArguments


def run(
    pipeline: str | Path | Step | type[Step],
    inputs: str | Path | Sequence[str | Path],
    output_dir: str | Path | None = None,
    *,
    console: rich_console.Console | None = None,
    debug: bool = False,
    **options: Unpack[BatchArguments],
) -> Result:
    """Calibrate exposures, and show progress.

    Exposures that have been calibrated before, from the same inputs in the same way, are not
    calibrated again if their products are intact.

    Parameters
    ----------
    pipeline : str, path, Step or class
        A name, an import path, a ``.cfg``, or a step or pipeline itself.
    inputs : path or sequence of paths
        Files, folders and globs.
    output_dir : path, optional
        The folder for products; the working folder by default.
    console : rich.console.Console, optional
        Shows progress; by default on standard error, or in the notebook.
    debug : bool
        Show the tracebacks of failures.
    OPTIONS

    Returns
    -------
    Result
        The outcome of each exposure. An exposure that fails does not raise.

    Raises
    ------
    RequestError
        If the batch cannot be started.
    TypeError
        If there is no such option.
    """
    batch = register(pipeline, inputs, output_dir, source="run's arguments", **options)
    return drive(batch, console or Console(stderr=True), debug=debug)


def submit(
    pipeline: str | Path | Step | type[Step],
    inputs: str | Path | Sequence[str | Path],
    output_dir: str | Path | None = None,
    **options: Unpack[BatchArguments],
) -> Result:
    """Calibrate exposures in the background, and return at once.

    The batch continues after this process has ended. If the site's workers are Slurm jobs, its
    driver is a job, too.

    Parameters
    ----------
    pipeline : str, path, Step or class
        A name, an import path, a ``.cfg``, or a step or pipeline itself.
    inputs : path or sequence of paths
        Files, folders and globs.
    output_dir : path, optional
        The folder for products; the working folder by default.
    OPTIONS

    Returns
    -------
    Result
        The batch: `Result.state` follows its progress, and `Result.wait` waits for its end. The
        commands `calbatch status`, `calbatch logs` and `calbatch cancel` take `Result.name`.

    Raises
    ------
    RequestError
        If the batch cannot be started.
    TypeError
        If there is no such option.
    """
    batch = register(pipeline, inputs, output_dir, source="submit's arguments", **options)
    launch(batch)
    return Result(batch.folder, 0.0)


def register(
    pipeline: str | Path | Step | type[Step],
    inputs: str | Path | Sequence[str | Path],
    output_dir: str | Path | None = None,
    **options: Any,
) -> RegisteredBatch:
    """Register a new batch, and hold its ledger until it is driven; see `build_order`."""
    return begin_batch(*build_order(pipeline, inputs, output_dir, **options), hold=True)


def build_order(
    pipeline: str | Path | Step | type[Step],
    inputs: str | Path | Sequence[str | Path],
    output_dir: str | Path | None = None,
    *,
    source: str = "the command line",
    **options: Any,
) -> tuple[Step, Order]:
    """Return the configured step, and the order of its batch; see `run`."""
    names = [each.name for each in option_fields()]
    for name in options.keys() - set(names):
        raise TypeError(f"there is no option {name!r}{nearest(name, names)}")
    batch_options = BatchOptions(**options)
    values = group_parameters(batch_options.parameters)
    site_options = {name: str(value) for name, value in values.pop("site", {}).items()}
    if output_dir is not None:
        values.setdefault("", {})["output_dir"] = str(output_dir)
    step = configure_step(
        pipeline,
        config=batch_options.config,
        parameters=values,
        save_steps=split_names(batch_options.save_steps),
        source=source,
    )
    require_product_names(step)
    return step, Order.from_options(list_inputs(inputs), batch_options, site_options)


def _document_options(function: Callable[..., Result]) -> None:
    """Add the options to the signature and the docstring of a function."""
    original = signature(function)
    parameters = [p for p in original.parameters.values() if p.kind is not p.VAR_KEYWORD]
    full = original.replace(parameters=[*parameters, *signature_parameters()])
    function.__signature__ = full  # type: ignore[attr-defined]
    function.__doc__ = (function.__doc__ or "").replace("OPTIONS", describe_options("    "))


_document_options(run)
_document_options(submit)


def group_parameters(parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return parameters by section; the section "" holds the pipeline's own."""
    sections: dict[str, dict[str, Any]] = {"": {}}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            sections.setdefault(name, {}).update(value)
        else:
            sections[""][name] = value
    return sections


def list_inputs(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Return inputs as a list of strings, even if there is only one."""
    return [str(inputs)] if isinstance(inputs, (str, Path)) else [str(i) for i in inputs]


def split_names(names: str | Sequence[str]) -> list[str]:
    """Return a list of names, given as a sequence or as a comma-separated string."""
    parts = names.split(",") if isinstance(names, str) else names
    return [name.strip() for name in parts if name.strip()]
