"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import difflib
import signal
import sys
from collections.abc import Container, Sequence
from typing import Any, NoReturn

import click

from calbatch import __version__

PARAMETERS_HELP = (
    "Any parameter can be given as --STEP.PARAMETER=VALUE, or --PARAMETER=VALUE for PIPELINE's own;"
    " `calbatch params PIPELINE` lists them."
)


class ParameterCommand(click.Command):
    """A command that takes parameters of steps as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take out of the arguments what is a step's parameter."""
        known = {name for p in self.get_params(ctx) for name in p.opts + p.secondary_opts}
        rest, ctx.obj = split_parameters(args, known)
        return super().parse_args(ctx, rest)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where a parameter is wrong, say which option is near to it."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            options = [name for p in self.get_params(ctx) for name in p.opts if name[:2] == "--"]
            for name in (ctx.obj or {}).get("", {}):
                near = difflib.get_close_matches(f"--{name}", options, 1, cutoff=0.7)
                if near and f"has no parameter {name!r}" in str(error):
                    raise click.UsageError(f"{error}; or the option {near[0]}?") from error
            raise


def split_parameters(
    args: Sequence[str], known: Container[str]
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the arguments that are click's, and the parameters by section.

    A parameter is ``--name=value`` or ``--name value``; ``--name`` alone stands for True.
    """
    rest: list[str] = []
    parameters: dict[str, dict[str, str]] = {}
    pending = list(args)
    while pending:
        argument = pending.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--":
            return [*rest, "--", *pending], parameters
        if not argument.startswith("--") or name in known:
            rest.append(argument)
            continue
        if not equals:
            value = pending.pop(0) if pending and _is_value(pending[0]) else "True"
        section, _, parameter = name[2:].removeprefix("steps.").rpartition(".")
        parameters.setdefault(section, {})[parameter] = value
    return rest, parameters


def _is_value(argument: str) -> bool:
    """Tell a value, negative numbers included, from the next option."""
    return not argument.startswith("-") or argument[1:2].isdigit() or argument[1:2] == "."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="calbatch")
def cli() -> None:
    """Calibrate large sets of telescope exposures."""


_RUN_OPTIONS = [
    click.argument("pipeline"),
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    click.option("--cfg", "config", metavar="FILE", help="Parameters from a .cfg file."),
    click.option("--context", metavar="PMAP", help="CRDS context; by default CRDS_CONTEXT."),
    click.option(
        "--pars/--no-pars",
        default=True,
        help="Read parameters that CRDS has for an exposure (pars-STEP); the default.",
    ),
    click.option("--save-steps", default="", metavar="A,B", help="Keep these steps' results too."),
    click.option(
        "--scheduler",
        default="auto",
        show_default=True,
        help="auto, local, threads, sync, or a scheduler's address.",
    ),
    click.option("--workers", type=click.IntRange(1), help="Workers; by default one a core."),
    click.option(
        "--grain",
        type=click.Choice(["auto", "exposure", "tile"]),
        default="auto",
        show_default=True,
        help="What a task is: a whole exposure, or one of its tiles.",
    ),
    click.option("--tile-rows", type=click.IntRange(1), help="Rows a tile; by default by memory."),
    click.option(
        "-o", "--output", "output_dir", metavar="DIR", help="For products; by default this folder."
    ),
    click.option(
        "--date", metavar="ISO", help="What DATE says in products, to repeat them exactly."
    ),
    click.option("--force", is_flag=True, help="Do again what was done before."),
    click.option(
        "--verify",
        is_flag=True,
        help="Tell by checksums, not size and time, whether products are intact.",
    ),
]

_DRIVE_OPTIONS = [
    click.option("--verify-inputs", is_flag=True, help="Verify CHECKSUM and DATASUM first."),
    click.option(
        "--fsync/--no-fsync",
        default=True,
        help="Wait for the disk after each product; the default.",
    ),
    click.option("--insecure", is_flag=True, help="Allow an unencrypted scheduler elsewhere."),
    click.option("--deadline", type=float, metavar="S", help="Seconds an exposure may take."),
    click.option("--fail-fast", is_flag=True, help="End the batch with the first failure."),
    click.option(
        "--patience",
        type=float,
        default=600.0,
        show_default=True,
        metavar="S",
        help="Seconds to wait for room on a full disk, or for a lost scheduler.",
    ),
]


def _options(*lists: Sequence[Any]) -> Any:
    """Return what adds options to a command."""

    def added(function: Any) -> Any:
        for option in reversed([option for part in lists for option in part]):
            function = option(function)
        return function

    return added


@cli.command(cls=ParameterCommand, epilog=PARAMETERS_HELP)
@_options(_RUN_OPTIONS, _DRIVE_OPTIONS)
@click.option("--timings", is_flag=True, help="Show the CPU seconds of each step.")
@click.option("--debug", is_flag=True, help="Show tracebacks of failures.")
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Calibrate exposures. INPUT is files, folders and globs.

    PIPELINE is a name, a step, a class path or a .cfg.
    """
    from calbatch.cluster.commands import run as command

    ctx.exit(command.main(parameters=ctx.obj, **options))


@cli.command(cls=ParameterCommand, epilog=PARAMETERS_HELP)
@_options(_RUN_OPTIONS)
@click.pass_context
def plan(ctx: click.Context, /, **options: Any) -> None:
    """Show what `run` would do: exposures, references, tiles and memory."""
    from calbatch.cluster.commands import plan as command

    ctx.exit(command.main(parameters=ctx.obj, **options))


@cli.command()
def steps() -> None:
    """List the steps."""
    from calbatch.cluster.commands import tell

    tell.steps()


@cli.command()
def pipelines() -> None:
    """List the pipelines."""
    from calbatch.cluster.commands import tell

    tell.pipelines()


@cli.command(cls=ParameterCommand)
@click.argument("pipeline")
@click.option("--cfg", "config", metavar="FILE", help="Parameters from a .cfg file.")
@click.option("--as-cfg", is_flag=True, help="Write them as a .cfg file to standard output.")
@click.option(
    "--for", "exposure", metavar="FILE", help="As for this exposure: with what CRDS has for it."
)
@click.option("--context", metavar="PMAP", help="CRDS context; by default CRDS_CONTEXT.")
@click.pass_context
def params(ctx: click.Context, /, pipeline: str, **options: Any) -> None:
    """Show every parameter of PIPELINE: its value, where that comes from, and what it means."""
    from calbatch.cluster.commands import tell

    tell.params(pipeline, ctx.obj, **options)


@cli.command()
@click.argument("path", metavar="FILE")
@click.option("--meta", is_flag=True, help="All metadata that is set.")
def inspect(path: str, meta: bool) -> None:
    """Show what a file is: its model, arrays and metadata. No pixel is read."""
    from calbatch.cluster.commands import tell

    tell.inspect(path, meta=meta)


@cli.command()
@click.argument("folder", metavar="DIR")
@click.option("--preset", default="demo", show_default=True, help="Which set to make.")
@click.option(
    "--exposures", type=click.IntRange(1), default=4, show_default=True, help="How many of a kind."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The same seed gives the same pixels.",
)
def simulate(folder: str, preset: str, exposures: int, seed: int) -> None:
    """Make a set of realistic raw exposures, their truth, and a complete CRDS cache for them."""
    from calbatch.cluster.commands import simulate as command

    command.main(folder, preset, exposures, seed)


@cli.command()
@click.option(
    "-o",
    "--output",
    default="calbatch-demo",
    show_default=True,
    metavar="DIR",
    help="For all that is made.",
)
@click.option("--picture", metavar="FILE", help="Draw an exposure as a PNG; needs matplotlib.")
@click.pass_context
def demo(ctx: click.Context, output: str, picture: str | None) -> None:
    """Simulate a small set of exposures, calibrate it, and compare it with the truth."""
    from calbatch.cluster.commands import demo as command

    ctx.exit(command.main(output, picture))


@cli.group()
def refs() -> None:
    """Choose, fetch and verify reference files."""


@refs.command()
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option("--context", metavar="PMAP", help="CRDS context; by default CRDS_CONTEXT.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def bestrefs(ctx: click.Context, inputs: Sequence[str], context: str | None, as_json: bool) -> None:
    """Show which references the rules choose for exposures."""
    from calbatch.cluster.commands import refs as command

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
    from calbatch.cluster.commands import refs as command

    ctx.exit(command.sync(items, **options))


@refs.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--repair", is_flag=True, help="Fetch what is wrong anew.")
@click.pass_context
def verify(ctx: click.Context, names: Sequence[str], repair: bool) -> None:
    """Read the cache's files again and compare them with their sizes and sums."""
    from calbatch.cluster.commands import refs as command

    ctx.exit(command.verify(names, repair=repair))


@refs.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, inputs: Sequence[str], as_json: bool) -> None:
    """Show which references of exposures differ between two contexts."""
    from calbatch.cluster.commands import refs as command

    ctx.exit(command.diff(old, new, inputs, as_json=as_json))


@refs.command()
@click.option("--context", metavar="PMAP", help="CRDS context; by default CRDS_CONTEXT.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.pass_context
def info(ctx: click.Context, context: str | None, as_json: bool) -> None:
    """Show the cache, the context and why that one, the mode and the server."""
    from calbatch.cluster.commands import refs as command

    ctx.exit(command.info(context, as_json=as_json))


def main() -> None:
    """Run the command line, telling faults of a request in one line."""
    for interrupt in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(interrupt, _interrupt)
    try:
        status = cli.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("calbatch: interrupted; the same command does it again", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        from calbatch.cluster import faults

        if "--debug" in sys.argv or not faults.is_expected(error):
            raise
        click.echo(f"calbatch: {error}", err=True)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _interrupt(number: int, frame: object) -> NoReturn:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt
