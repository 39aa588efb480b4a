"""Options and arguments that commands share."""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence
from typing import Any

import click

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


INPUT_ARGUMENTS = [
    click.argument("pipeline"),
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
]

RUN_OPTIONS = [
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
    click.option(
        "--site",
        metavar="NAME",
        help="Where to run, by a name of `calbatch sites`; --site.OPTION=VALUE changes an option.",
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
        help="Tell by checksums, not size and time, if inputs are the same, products intact.",
    ),
    click.option("--recursive", is_flag=True, help="A folder stands for all folders in it, too."),
    click.option("--only-failed", is_flag=True, help="Do nothing but what failed before."),
]

DRIVE_OPTIONS = [
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
    click.option(
        "--silence",
        type=click.FloatRange(1.0),
        default=60.0,
        show_default=True,
        metavar="S",
        help="Seconds after which a worker that is stopped, or cut off, is taken for dead.",
    ),
]


def shared(*lists: Sequence[Any]) -> Any:
    """Return what adds options to a command."""

    def added(function: Any) -> Any:
        for option in reversed([option for part in lists for option in part]):
            function = option(function)
        return function

    return added


def policy_of(options: dict[str, Any]) -> Any:
    """Take out of a command's options what says how patient to be."""
    from calbatch.cluster.exposure.policy import RetryPolicy

    names = ("deadline", "fail_fast", "patience", "silence")
    return RetryPolicy(**{name: options.pop(name) for name in names})
