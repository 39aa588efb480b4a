"""The command line: its commands, which import nothing heavy before they run."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import click

from calbatch import __version__
from calbatch.cluster.cli._small_commands import SMALL_COMMANDS
from calbatch.cluster.cli.completion import (
    PROGRAM,
    complete_batch,
    complete_file,
    complete_folder,
    complete_pipeline,
)
from calbatch.cluster.cli.options import (
    PARAMETERS_HELP,
    BatchCommand,
    add_input_arguments,
    json_lines_option,
    retry_policy,
)
from calbatch.cluster.cli.refs import refs


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="calbatch")
def cli() -> None:
    """Calibrate large sets of telescope exposures."""


@cli.command(cls=BatchCommand, epilog=PARAMETERS_HELP)
@add_input_arguments
@click.option("--timings", is_flag=True, help="Show the CPU seconds of each step.")
@click.option("--debug", is_flag=True, help="Show tracebacks of failures.")
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Calibrate exposures. INPUT is files, folders and globs.

    PIPELINE is a name, a step, a class path or a .cfg.
    """
    from calbatch.cluster.cli.commands import run as command

    ctx.exit(command.main(parameters=ctx.obj, policy=retry_policy(options), **options))


@cli.command(cls=BatchCommand, epilog=PARAMETERS_HELP)
@add_input_arguments
@click.option(
    "--measure",
    is_flag=True,
    help="Calibrate an exposure of each kind first, into a temporary folder, to measure the time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def plan(ctx: click.Context, /, **options: Any) -> None:
    """Show what `run` would do: exposures, references, tiles, time, memory and disk space."""
    from calbatch.cluster.cli.commands import plan as command

    ctx.exit(command.main(parameters=ctx.obj, **options))


@cli.command(cls=BatchCommand, epilog=PARAMETERS_HELP)
@add_input_arguments
@click.pass_context
def submit(ctx: click.Context, /, **options: Any) -> None:
    """Calibrate exposures in the background: print the batch's name and return at once."""
    from calbatch.cluster.cli.commands import batches

    ctx.exit(batches.submit(parameters=ctx.obj, policy=retry_policy(options), **options))


def batch_command(function: Callable[..., None]) -> click.Command:
    """Register a command whose first argument, after the context, is the name of a batch."""
    argument = click.argument(
        "batch", required=False, metavar="[BATCH]", shell_complete=complete_batch
    )
    return cli.command()(argument(click.pass_context(function)))


@batch_command
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--watch", is_flag=True, help="Repeat until the batch has ended.")
@click.option("--exposures", is_flag=True, help="List all exposures.")
def status(
    ctx: click.Context, batch: str | None, as_json: bool, watch: bool, exposures: bool
) -> None:
    """Show the progress of a batch.

    The exit status is 0 if all exposures are done, 1 if some failed, 3 if the batch is running, and
    130 if it ended early.
    """
    from calbatch.cluster.cli.commands import status as command

    ctx.exit(command.status(batch, as_json=as_json, watch=watch, exposures=exposures))


@batch_command
@click.argument("exposure", required=False, metavar="[EXPOSURE]")
@click.option(
    "--number", type=click.IntRange(0), metavar="N", help="The exposure's number, from 0."
)
@click.option("-f", "--follow", is_flag=True, help="Show new lines until the batch has ended.")
@json_lines_option
def logs(ctx: click.Context, batch: str | None, exposure: str | None, **options: Any) -> None:
    """Show the events of a batch, or of one exposure.

    EXPOSURE is the name of its file, or a part of the name that no other exposure has. Without
    BATCH, it is one of the latest batch.
    """
    from calbatch.cluster.cli.commands import logs as command

    ctx.exit(command.logs(batch, exposure, **options))


@batch_command
@click.option("--now", is_flag=True, help="Abandon running exposures, too.")
def cancel(ctx: click.Context, batch: str | None, now: bool) -> None:
    """Stop a batch: start no further exposures, and finish those that are running.

    Without BATCH, the one that is running in the working folder or, if that has no batches, your
    only running batch.
    """
    from calbatch.cluster.cli.commands import batches

    ctx.exit(batches.cancel(batch, now=now))


@batch_command
@click.option("--detach", is_flag=True, help="Run in the background.")
@click.option("--debug", is_flag=True, help="Show tracebacks of failures.")
def resume(ctx: click.Context, batch: str | None, detach: bool, debug: bool) -> None:
    """Calibrate the exposures of a batch that are waiting, failed or quarantined.

    Without BATCH, the latest one of the working folder or, if that has no batches, your only
    unfinished batch.
    """
    from calbatch.cluster.cli.commands import batches

    ctx.exit(batches.resume(batch, detach=detach, debug=debug))


@batch_command
@click.option("--context", required=True, metavar="PMAP", help="The CRDS context to compare with.")
@click.option("--dry-run", is_flag=True, help="Only list these exposures, with the reasons.")
def recalibrate(ctx: click.Context, batch: str | None, context: str, dry_run: bool) -> None:
    """Calibrate exposures of a batch again if their references differ in another context."""
    from calbatch.cluster.cli.commands import again

    ctx.exit(again.recalibrate(batch, context, dry_run=dry_run))


@cli.command(cls=BatchCommand, epilog=PARAMETERS_HELP)
@click.argument("pipeline", shell_complete=complete_pipeline)
@click.argument("folder", metavar="DIR", shell_complete=complete_folder)
@click.option(
    "--settle",
    type=float,
    default=2.0,
    show_default=True,
    metavar="S",
    help="Seconds without a change after which a file may be complete.",
)
@click.option(
    "--idle", type=float, metavar="S", help="Stop after this many seconds without a new exposure."
)
@click.pass_context
def watch(ctx: click.Context, /, **options: Any) -> None:
    """Calibrate the exposures and associations of a folder as they arrive, until interrupted."""
    from calbatch.cluster.cli.commands import again

    ctx.exit(again.watch(parameters=ctx.obj, policy=retry_policy(options), **options))


@cli.command("list")
@json_lines_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List your batches."""
    from calbatch.cluster.cli.commands import batches

    ctx.exit(batches.show(as_json=as_json))


@cli.command()
@click.argument("names", nargs=-1, metavar="[BATCH]...", shell_complete=complete_batch)
@click.option(
    "--older-than",
    type=float,
    default=30.0,
    show_default=True,
    metavar="DAYS",
    help="Without BATCH, forget batches older than this.",
)
@click.pass_context
def prune(ctx: click.Context, names: Sequence[str], older_than: float) -> None:
    """Forget batches that have ended: their records and logs, never their products."""
    from calbatch.cluster.cli.commands import batches

    ctx.exit(batches.prune(names, older_than=older_than))


@batch_command
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Write a page for the browser: statistics, quick-looks, timings, references, failures.",
    shell_complete=complete_file,
)
@click.option("--json", "form", flag_value="json", help="Print it as a JSON object, for programs.")
@click.option("--csv", "form", flag_value="csv", help="Print a line of numbers for each exposure.")
@click.option("--timings", is_flag=True, help="Show the CPU seconds of each step.")
def report(ctx: click.Context, batch: str | None, **options: Any) -> None:
    """Show the summary of a batch, or write a report of it.

    With -o FILE, --json and --csv write to that file.
    """
    from calbatch.cluster.cli.commands import report_batch

    ctx.exit(report_batch.main(batch, **options))


@cli.command()
@click.argument("output", metavar="OUTPUT", shell_complete=complete_folder)
@click.pass_context
def rebuild(ctx: click.Context, output: str) -> None:
    """Rebuild the damaged ledger of the folder OUTPUT.

    The damaged ledger is set aside. Exposures whose products are intact stay done.
    """
    from calbatch.cluster.cli.commands import rebuild as command

    ctx.exit(command.main(output))


@cli.command(hidden=True)
@click.argument("output")
@click.argument("name")
@click.pass_context
def drive(ctx: click.Context, output: str, name: str) -> None:
    """Drive a batch of an output folder; `submit` starts this command."""
    from calbatch.cluster.cli.commands import batches

    ctx.exit(batches.drive(output, name))


@cli.command()
@click.argument("folder", metavar="DIR", shell_complete=complete_folder)
@click.option("--preset", default="demo", show_default=True, help="Name of the set.")
@click.option(
    "--exposures",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Number of exposures of each kind.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the random numbers; equal seeds give equal pixels.",
)
def simulate(folder: str, preset: str, exposures: int, seed: int) -> None:
    """Simulate realistic raw exposures, with their truth and a complete CRDS cache."""
    from calbatch.cluster.cli.commands import simulate as command

    command.main(folder, preset, exposures, seed)


@cli.command()
@click.option(
    "-o",
    "--output",
    default="calbatch-demo",
    show_default=True,
    metavar="DIR",
    help="Output folder.",
)
@click.option("--picture", metavar="FILE", help="Picture of an exposure; in DIR by default.")
@click.pass_context
def demo(ctx: click.Context, output: str, picture: str | None) -> None:
    """Simulate a few exposures, calibrate them, and compare the results with the truth."""
    from calbatch.cluster.cli.commands import demo as command

    ctx.exit(command.main(output, picture))


for small_command in (*SMALL_COMMANDS, refs):
    cli.add_command(small_command)


def main() -> None:
    """Run the command line, and report expected errors in one line."""
    from calbatch.cluster.exposure.interrupts import handle_interrupts
    from calbatch.cluster.exposure.messages import escape_lines, escape_python_messages

    escape_python_messages()
    handle_interrupts()
    try:
        status = cli.main(standalone_mode=False, prog_name=PROGRAM)
    except (click.exceptions.Abort, KeyboardInterrupt):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
        _say("calbatch: interrupted; the same command continues")
        sys.exit(130)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    except Exception as error:
        from calbatch.cluster.errors import is_expected

        if "--debug" in sys.argv or not is_expected(error):
            raise
        _say(escape_lines(f"calbatch: {error}"))
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _show(error: click.ClickException) -> None:
    """Print a usage error, which may quote a file's name, with control characters escaped."""
    from calbatch.cluster.exposure.messages import escape_lines

    text = io.StringIO()
    error.show(file=text)
    _say(escape_lines(text.getvalue()).rstrip("\n"))


def _say(text: str) -> None:
    """Print a message, if it can be printed: the exit status is the answer for programs."""
    with suppress(OSError):
        click.echo(text, err=True)
