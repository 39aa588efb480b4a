"""`calbatch steps`, `pipelines`, `sites`, `params` and `inspect`: listings."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from calbatch.calibrate import pars, registry
from calbatch.calibrate.parameters import cfg
from calbatch.calibrate.references import CrdsReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.display.plain_lines import print_json_lines
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_lines
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels
from calbatch.models.errors import FileError
from calbatch.models.model import DataModel
from calbatch.models.summary import describe_contents, describe_frames


def steps(*, as_json: bool = False) -> None:
    """Print the steps with their descriptions."""
    _print(registry.steps(), as_json=as_json)


def sites(*, as_json: bool = False) -> None:
    """Print the configured sites."""
    from calbatch.cluster.sites.named_sites import describe_site, site_table, sites_by_name

    found = sites_by_name().values()
    if as_json:
        print_json_lines(map(describe_site, found))
    else:
        Console().print(site_table(found))


def pipelines(*, as_json: bool = False) -> None:
    """Print the pipelines with their descriptions."""
    _print(registry.pipelines(), as_json=as_json)


def _print(classes: Mapping[str, str], *, as_json: bool) -> None:
    """Print names of classes, each with the first line of the class's docstring."""
    texts = {n: (registry.find(n).__doc__ or "").strip().partition("\n")[0] for n in classes}
    if as_json:
        print_json_lines(
            {"name": name, "class": classes[name], "description": text}
            for name, text in texts.items()
        )
        return
    grid = Table.grid(padding=(0, 2))
    for name, text in texts.items():
        grid.add_row(name, Text(text))
    Console().print(grid)


def params(
    pipeline: str,
    values: Mapping[str, Mapping[str, Any]],
    *,
    config: str | None,
    as_cfg: bool,
    exposure: str | None,
    context: str | None,
    as_json: bool = False,
) -> None:
    """Print the parameters of a step or pipeline, for an exposure if one is named."""
    if as_cfg and as_json:
        raise RequestError("--as-cfg, --json: give one of them")
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
    rows = _describe_parameters(step)
    if as_json:
        print_json_lines(rows)
        return
    table = Table("parameter", "value", "from", "allowed", "meaning")
    for row in rows:
        unit = f" [{row['unit']}]" if row["unit"] else ""
        cells = (row["parameter"], row["value"], row["from"], row["allowed"], row["meaning"] + unit)
        table.add_row(*(Text(str(cell)) for cell in cells))
    Console().print(table)


def _describe_parameters(step: Step) -> Iterator[dict[str, Any]]:
    """Yield the parameters of a step, or of a pipeline and its steps, with their meanings."""
    for prefix, part in [("", step), *((f"{a}.", s) for a, s in step.steps().items())]:
        for name, (value, source) in part.parameter_values().items():
            parameter = part.parameters()[name]
            yield {
                "parameter": f"{prefix}{name}",
                "value": value,
                "from": source,
                "allowed": parameter.describe(),
                "meaning": parameter.help,
                "unit": parameter.unit,
            }


def inspect(path: str, *, meta: bool) -> None:
    """Print a file's model, columns of tables, items of lists, frames of its WCS, and metadata."""
    model = datamodels.open(path)
    console = Console(soft_wrap=True)
    console.print(repr(model))
    for line in (*describe_contents(model), *_list_frames(model)):
        console.print(line)
    if meta:
        for name, value in model.to_flat_dict().items():
            spec = model.schema.keywords.get(name)
            keyword = f" ({spec.keyword})" if spec is not None and spec.keyword else ""
            console.print(f"{name}{keyword} = {value!r}")


def _list_frames(model: DataModel) -> Iterator[str]:
    try:
        yield from describe_frames(model.value_in_asdf("meta.wcs"))
    except FileError as error:
        yield escape_lines(str(error))
