"""Running a batch in this process from Python; the command line does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calbatch.calibrate.step import Step
from calbatch.cluster.batch.arguments import BatchArguments, RunArguments, accept_arguments
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.product_names import require_product_names
from calbatch.cluster.batch.registering import RegisteredBatch, begin_batch
from calbatch.cluster.batch.result import Result
from calbatch.cluster.batch.session import drive
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.planning.step_configuration import configure_step

COMMAND_LINE = "the command line"


@accept_arguments(RunArguments)
def run(arguments: RunArguments) -> Result:
    """Calibrate exposures, and show progress.

    Exposures that have been calibrated before, from the same inputs in the same way, are not
    calibrated again if their products are intact.

    Parameters
    ----------
    FIELDS

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
    batch = register(arguments, source="run's arguments")
    return drive(batch, arguments.console or Console(stderr=True), debug=arguments.debug)


def register(arguments: BatchArguments, *, source: str = COMMAND_LINE) -> RegisteredBatch:
    """Register a new batch, and hold its ledger until it is driven; see `build_order`."""
    return begin_batch(*build_order(arguments, source=source), hold=True)


def build_order(arguments: BatchArguments, *, source: str = COMMAND_LINE) -> tuple[Step, Order]:
    """Return the configured step, and the order of its batch.

    Parameters
    ----------
    arguments : BatchArguments
        The inputs, the output and the options.
    source : str
        Where the parameters come from, for messages about them.

    Raises
    ------
    RequestError
        If a parameter is wrong, or would name products that the batch cannot write.
    """
    values = group_parameters(arguments.parameters)
    site_options = {name: str(value) for name, value in values.pop("site", {}).items()}
    if arguments.output_dir is not None:
        _require_one_folder(str(arguments.output_dir), values[""].get("output_dir"))
        values[""]["output_dir"] = str(arguments.output_dir)
    step = configure_step(
        arguments.pipeline,
        config=arguments.config,
        parameters=values,
        save_steps=split_names(arguments.save_steps),
        source=source,
    )
    require_product_names(step)
    return step, Order.from_options(list_inputs(arguments.inputs), arguments, site_options)


def _require_one_folder(output: str, parameter: object) -> None:
    """Refuse an output folder that is empty, or another than the parameter ``output_dir`` names."""
    if not output:
        raise RequestError("-o (output_dir): empty; the working folder is .")
    if parameter not in (None, output):
        raise RequestError(f"-o {output} and output_dir = {parameter!r}: choose one folder")


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
