"""`calbatch steps`, `pipelines`, `sites`, `params` and `inspect`: listings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from calbatch.calibrate import pars, registry
from calbatch.calibrate.parameters import cfg
from calbatch.calibrate.references import CrdsReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.exposure.messages import escape_lines
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels


def steps() -> None:
    """Print the steps with their descriptions."""
    _print(registry.steps())


def sites() -> None:
    """Print the configured sites."""
    from calbatch.cluster.sites.named_sites import site_table, sites_by_name

    Console().print(site_table(sites_by_name().values()))


def pipelines() -> None:
    """Print the pipelines with their descriptions."""
    _print(registry.pipelines())


def _print(table: Mapping[str, str]) -> None:
    grid = Table.grid(padding=(0, 2))
    for name in table:
        first = (registry.find(name).__doc__ or "").strip().partition("\n")[0]
        grid.add_row(name, Text(first))
    Console().print(grid)


def params(
    pipeline: str,
    values: Mapping[str, Mapping[str, Any]],
    *,
    config: str | None,
    as_cfg: bool,
    exposure: str | None,
    context: str | None,
) -> None:
    """Print the parameters of a step or pipeline, for an exposure if one is named."""
    step = configure_step(pipeline, config=config, parameters=values)
    if exposure is not None:
        step.references = CrdsReferences(context)
        step = pars.configure_for_exposure(step, datamodels.open(exposure).to_flat_dict())
    if as_cfg:
        text = cfg.format_cfg(step)
        if sys.stdout.isatty():
            text = escape_lines(text)
        print(text, end="")  # noqa: T201 - for a file, so nothing is folded
        return
    table = Table("parameter", "value", "from", "allowed", "meaning")
    for prefix, part in [("", step), *((f"{a}.", s) for a, s in step.steps().items())]:
        _add_rows(table, prefix, part)
    Console().print(table)


def _add_rows(table: Table, prefix: str, step: Step) -> None:
    for name, (value, source) in step.parameter_values().items():
        parameter = step.parameters()[name]
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        cells = (f"{prefix}{name}", str(value), source, parameter.describe(), parameter.help + unit)
        table.add_row(*(Text(cell) for cell in cells))


def inspect(path: str, *, meta: bool) -> None:
    """Print a file's model and metadata."""
    model = datamodels.open(path)
    console = Console(soft_wrap=True, markup=False)
    console.print(repr(model))
    if meta:
        for name, value in model.to_flat_dict().items():
            spec = model.schema.keywords.get(name)
            keyword = f" ({spec.keyword})" if spec is not None and spec.keyword else ""
            console.print(f"{name}{keyword} = {value!r}")
