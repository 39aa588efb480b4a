"""`calbatch refs`: the commands on reference files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


@click.group()
def refs() -> None:
    """Choose, fetch and verify reference files."""


@refs.command()
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option("--context", metavar="PMAP", help="CRDS context; by default CRDS_CONTEXT.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def bestrefs(ctx: click.Context, inputs: Sequence[str], context: str | None, as_json: bool) -> None:
    """Show which references the rules choose for exposures."""
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.bestrefs(inputs, context, as_json=as_json))


@refs.command()
@click.argument("items", nargs=-1, metavar="[FILE]...")
@click.option("--files", is_flag=True, help="FILE are names of references or rules to fetch.")
@click.option("--context", metavar="PMAP", help="CRDS context; by default CRDS_CONTEXT.")
@click.option("--pipeline", metavar="NAME", help="Only what this pipeline or step wants.")
@click.option(
    "--instrument", "instruments", multiple=True, metavar="NAME", help="Without FILE: only its."
)
@click.pass_context
def sync(ctx: click.Context, /, items: Sequence[str], **options: Any) -> None:
    """Fetch references that are not in the cache, before working offline.

    FILE are exposures; without any, all that a context has is fetched.
    """
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.sync(items, **options))


@refs.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--repair", is_flag=True, help="Fetch what is wrong anew.")
@click.pass_context
def verify(ctx: click.Context, names: Sequence[str], repair: bool) -> None:
    """Read the cache's files again and compare them with their sizes and sums."""
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.verify(names, repair=repair))


@refs.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, inputs: Sequence[str], as_json: bool) -> None:
    """Show which references of exposures differ between two contexts."""
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.diff(old, new, inputs, as_json=as_json))


@refs.command()
@click.option("--context", metavar="PMAP", help="CRDS context; by default CRDS_CONTEXT.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.pass_context
def info(ctx: click.Context, context: str | None, as_json: bool) -> None:
    """Show the cache, the context and why that one, the mode and the server."""
    from calbatch.cluster.cli.commands import refs as command

    ctx.exit(command.info(context, as_json=as_json))
