"""Options and arguments that several commands share."""

from __future__ import annotations

import difflib
from collections.abc import Container, Mapping, Sequence
from dataclasses import fields
from typing import Any

import click

from calbatch.cluster.batch.options import DRIVING, POLICY_OPTIONS, default_of, option_fields
from calbatch.cluster.exposure.policy import RetryPolicy

PARAMETERS_HELP = (
    "Any parameter can be given as --STEP.PARAMETER=VALUE, or --PARAMETER=VALUE for PIPELINE's own;"
    " `calbatch params PIPELINE` lists them."
)


class ParameterCommand(click.Command):
    """A command that accepts the parameters of steps as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, after moving parameters of steps to ``ctx.obj``."""
        names = {name for p in self.get_params(ctx) for name in p.opts + p.secondary_opts}
        rest, ctx.obj = split_parameters(args, names)
        return super().parse_args(ctx, rest)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; if a parameter is unknown, suggest an option of a similar name."""
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
    """Return the arguments for click, and the parameters of steps by section.

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
    """Return whether an argument is a value, such as a negative number, and not an option."""
    return not argument.startswith("-") or argument[1:2].isdigit() or argument[1:2] == "."


INPUT_ARGUMENTS = [
    click.argument("pipeline"),
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
]

OUTPUT_OPTION = click.option(
    "-o",
    "--output",
    "output_dir",
    metavar="DIR",
    help="Output folder; the working folder by default.",
)


def batch_options(command: str) -> list[Any]:
    """Return the decorators for a command's batch options: those of `BatchOptions`, and the output.

    Parameters
    ----------
    command : str
        The command's name.
    """
    options = [
        _click_option(each.name, str(each.type), default_of(each), each.metadata)
        for each in option_fields()
        if command in each.metadata.get("only", (command,))
    ]
    return [OUTPUT_OPTION, *options, *(_policy_options() if command in DRIVING else ())]


def _policy_options() -> list[Any]:
    policy, types = RetryPolicy(), {each.name: str(each.type) for each in fields(RetryPolicy)}
    return [
        _click_option(name, types[name], getattr(policy, name), how)
        for name, how in POLICY_OPTIONS.items()
    ]


def _click_option(name: str, annotation: str, default: Any, details: Mapping[str, Any]) -> Any:
    """Return the decorator for an option, from its field in a dataclass."""
    flag = f"--{details.get('flag') or name.replace('_', '-')}"
    if annotation == "bool":
        names = f"{flag}/--no-{flag[2:]}" if default else flag
        return click.option(names, name, is_flag=True, default=default, help=details["help"])
    kind: Any = str
    if "choices" in details:
        kind = click.Choice(list(details["choices"]))
    elif annotation.startswith("int"):
        kind = click.IntRange(1)
    elif annotation.startswith("float"):
        kind = click.FloatRange(details["minimum"]) if "minimum" in details else float
    return click.option(
        flag,
        name,
        type=kind,
        default=default,
        show_default=details.get("show_default", False),
        metavar=details.get("metavar"),
        help=details["help"],
    )


def add_options(*lists: Sequence[Any]) -> Any:
    """Return a decorator that adds options and arguments to a command."""

    def decorate(function: Any) -> Any:
        for option in reversed([option for part in lists for option in part]):
            function = option(function)
        return function

    return decorate


def retry_policy(options: dict[str, Any]) -> RetryPolicy:
    """Remove the options of the retry policy from a command's options, and return the policy."""
    return RetryPolicy(**{name: options.pop(name) for name in POLICY_OPTIONS})
