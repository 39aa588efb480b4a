"""Subcommands that list or check something, with imports that batches do not need."""

from __future__ import annotations

from typing import Any

import click

from calbatch.cluster.cli.completion import (
    SHELLS,
    complete_file,
    complete_folder,
    complete_pipeline,
)
from calbatch.cluster.cli.options import ParameterCommand, json_lines_option


@click.command()
@json_lines_option
def steps(as_json: bool) -> None:
    """List the steps."""
    from calbatch.cluster.cli.commands import listings

    listings.steps(as_json=as_json)


@click.command()
@json_lines_option
def pipelines(as_json: bool) -> None:
    """List the pipelines."""
    from calbatch.cluster.cli.commands import listings

    listings.pipelines(as_json=as_json)


@click.command("sites")
@json_lines_option
def sites_(as_json: bool) -> None:
    """List the sites of dask's configuration, with all their options."""
    from calbatch.cluster.cli.commands import listings

    listings.sites(as_json=as_json)


@click.command(cls=ParameterCommand)
@click.argument("pipeline", shell_complete=complete_pipeline)
@click.option(
    "--cfg",
    "config",
    metavar="FILE",
    help="Parameters from a .cfg file.",
    shell_complete=complete_file,
)
@click.option("--as-cfg", is_flag=True, help="Write a .cfg file to standard output.")
@json_lines_option
@click.option(
    "--for",
    "exposure",
    metavar="FILE",
    help="Include the parameters that CRDS has for this file.",
    shell_complete=complete_file,
)
@click.option(
    "--context",
    metavar="PMAP",
    help="CRDS context; the environment's CRDS_CONTEXT by default.",
)
@click.pass_context
def params(ctx: click.Context, /, pipeline: str, **options: Any) -> None:
    """Show all parameters of PIPELINE with their values, sources and meanings."""
    from calbatch.cluster.cli.commands import listings

    listings.params(pipeline, ctx.obj, **options)


@click.command()
@click.argument("path", metavar="FILE", shell_complete=complete_file)
@click.option("--meta", is_flag=True, help="Show all metadata that is set.")
def inspect(path: str, meta: bool) -> None:
    """Show a file's model, arrays and metadata, without reading any pixel."""
    from calbatch.cluster.cli.commands import listings

    listings.inspect(path, meta=meta)


@click.command()
@click.option(
    "-o",
    "--output",
    default=".",
    metavar="DIR",
    help="Output folder to check; the working folder by default.",
    shell_complete=complete_folder,
)
@json_lines_option
@click.pass_context
def doctor(ctx: click.Context, output: str, as_json: bool) -> None:
    """Check whether batches can run here, and show how to fix each problem.

    Covers the installation, kernels, references, sites, Slurm, dashboard and disks.
    """
    from calbatch.cluster.cli.commands import doctor as command

    ctx.exit(command.main(output, as_json=as_json))


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete commands, pipelines, parameters and batches.

    In bash: eval "$(calbatch completion bash)"
    """
    from calbatch.cluster.cli.completion import make_script

    click.echo(make_script(shell))


SMALL_COMMANDS = (steps, pipelines, sites_, params, inspect, doctor, completion)
"""The commands of this module, in the order of their declaration."""
