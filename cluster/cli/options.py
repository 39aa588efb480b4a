"""Options and arguments that several commands share."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from calbatch.cluster.cli.completion import (
    Completer,
    complete_file,
    complete_folder,
    complete_parameter,
    complete_pipeline,
    complete_saved_step,
    complete_scheduler,
    complete_site,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from calbatch.cluster.exposure.policy import RetryPolicy

PARAMETERS_HELP = (
    "Any parameter can be given as --STEP.PARAMETER=VALUE, or --PARAMETER=VALUE for PIPELINE's own;"
    " `calbatch params PIPELINE` lists them."
)

_COMPLETERS: Mapping[str, Completer] = {
    "config": complete_file,
    "save_steps": complete_saved_step,
    "scheduler": complete_scheduler,
    "site": complete_site,
}
"""Completers of batch options."""

json_lines_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line."
)
"""The option of commands that list something."""


class ParameterCommand(click.Command):
    """A command that accepts the parameters of steps as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, after moving parameters of steps to ``ctx.obj``."""
        names = {name for p in self.get_params(ctx) for name in p.opts + p.secondary_opts}
        rest, ctx.obj = split_parameters(args, names)
        if ctx.resilient_parsing and rest and rest[-1] in names:  # its value is being completed
            rest.pop()
        return super().parse_args(ctx, rest)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the options, and the parameters of steps, that begin with a text."""
        return super().shell_complete(ctx, incomplete) + complete_parameter(ctx, incomplete)

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


class BatchCommand(ParameterCommand):
    """A command with the batch options of its name.

    They are declared when they are first needed, since `calbatch --help` shows none of them.
    """

    @property
    def params(self) -> list[click.Parameter]:
        """The arguments, the batch options, and the command's own options."""
        return self._params

    @params.setter
    def params(self, declared: list[click.Parameter]) -> None:
        self._declared = declared

    @cached_property
    def _params(self) -> list[click.Parameter]:
        arguments = [param for param in self._declared if isinstance(param, click.Argument)]
        own = [param for param in self._declared if not isinstance(param, click.Argument)]
        return [*arguments, *batch_options(str(self.name)), *own]


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


def add_input_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments PIPELINE and INPUT to a command."""
    inputs = click.argument(
        "inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=complete_file
    )
    return click.argument("pipeline", shell_complete=complete_pipeline)(inputs(function))


def batch_options(command: str) -> list[click.Option]:
    """Return the output folder, the fields of `BatchOptions` and the retry policy as options.

    Parameters
    ----------
    command : str
        The command's name.
    """
    from calbatch.cluster.batch.options import DRIVING, default_of, option_fields

    output = click.Option(
        ["-o", "--output", "output_dir"],
        metavar="DIR",
        help="Output folder; the working folder by default.",
        shell_complete=complete_folder,
    )
    options = [
        _click_option(each.name, str(each.type), default_of(each), each.metadata)
        for each in option_fields()
        if command in each.metadata.get("only", (command,))
    ]
    return [output, *options, *(_policy_options() if command in DRIVING else ())]


def _policy_options() -> list[click.Option]:
    from dataclasses import fields

    from calbatch.cluster.batch.options import POLICY_OPTIONS
    from calbatch.cluster.exposure.policy import RetryPolicy

    policy, types = RetryPolicy(), {each.name: str(each.type) for each in fields(RetryPolicy)}
    return [
        _click_option(name, types[name], getattr(policy, name), how)
        for name, how in POLICY_OPTIONS.items()
    ]


def _click_option(
    name: str, annotation: str, default: Any, details: Mapping[str, Any]
) -> click.Option:
    """Return the option for a field of a dataclass."""
    flag = f"--{details.get('flag') or name.replace('_', '-')}"
    if annotation == "bool":
        names = f"{flag}/--no-{flag[2:]}" if default else flag
        return click.Option([names, name], is_flag=True, default=default, help=details["help"])
    kind: Any = str
    if "choices" in details:
        kind = click.Choice(list(details["choices"]))
    elif annotation.startswith("int"):
        kind = click.IntRange(1)
    elif annotation.startswith("float"):
        kind = click.FloatRange(details["minimum"]) if "minimum" in details else float
    return click.Option(
        [flag, name],
        type=kind,
        default=default,
        show_default=details.get("show_default", False),
        metavar=details.get("metavar"),
        help=details["help"],
        shell_complete=_COMPLETERS.get(name),
    )


def retry_policy(options: dict[str, Any]) -> RetryPolicy:
    """Remove the options of the retry policy from a command's options, and return the policy."""
    from calbatch.cluster.batch.options import POLICY_OPTIONS
    from calbatch.cluster.errors import RequestError
    from calbatch.cluster.exposure.policy import RetryPolicy

    try:
        return RetryPolicy(**{name: options.pop(name) for name in POLICY_OPTIONS})
    except ValueError as error:
        raise RequestError(f"--{error}") from error
