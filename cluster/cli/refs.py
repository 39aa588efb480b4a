"""`calbatch refs`: the commands on reference files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from calbatch.cluster.cli.completion import complete_file, complete_pipeline
from calbatch.cluster.cli.options import json_lines_option

_CONTEXT = click.option(
    "--context",
    metavar="PMAP",
    help="CRDS context; the environment's CRDS_CONTEXT by default.",
)


@click.group()
def refs() -> None:
    """Choose, fetch and verify reference files."""


@refs.command()
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...", shell_complete=complete_file)
@_CONTEXT
@json_lines_option
@click.pass_context
def bestrefs(ctx: click.Context, inputs: Sequence[str], context: str | None, as_json: bool) -> None:
    """Show the references that the rules choose for exposures."""
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.bestrefs(inputs, context, as_json=as_json))


@refs.command()
@click.argument("items", nargs=-1, metavar="[FILE]...", shell_complete=complete_file)
@click.option("--files", is_flag=True, help="FILE are names of references or rules to fetch.")
@_CONTEXT
@click.option(
    "--pipeline",
    metavar="NAME",
    help="Fetch only the types that this pipeline or step uses.",
    shell_complete=complete_pipeline,
)
@click.option(
    "--instrument",
    "instruments",
    multiple=True,
    metavar="NAME",
    help="Without FILE, fetch only this instrument's files.",
)
@click.pass_context
def sync(ctx: click.Context, /, items: Sequence[str], **options: Any) -> None:
    """Fetch references that are missing from the cache, before working offline.

    FILE are exposures; without any, all files of a context are fetched.
    """
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.sync(items, **options))


@refs.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--repair", is_flag=True, help="Fetch damaged files again.")
@click.pass_context
def verify(ctx: click.Context, names: Sequence[str], repair: bool) -> None:
    """Compare the cache's files with their recorded sizes and checksums."""
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.verify(names, repair=repair))


@refs.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...", shell_complete=complete_file)
@json_lines_option
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, inputs: Sequence[str], as_json: bool) -> None:
    """Show the references of exposures that differ between two contexts."""
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.diff(old, new, inputs, as_json=as_json))


@refs.command()
@_CONTEXT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def info(ctx: click.Context, context: str | None, as_json: bool) -> None:
    """Show the cache, the context and its source, the mode and the server."""
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.info(context, as_json=as_json))
