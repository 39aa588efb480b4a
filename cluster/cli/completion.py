"""Completion of the command line in a shell; `calbatch completion` prints the shell's script.

click calls a completer with the context, the parameter and the text so far. Completers print
nothing, and ignore errors: the command itself reports them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM = "calbatch"
"""The program's name, which the scripts and the variable that they set contain."""

SHELLS = ("bash", "zsh", "fish")

SCHEDULERS = ("auto", "local", "threads", "sync", "tcp://", "tls://")

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def make_script(shell: str) -> str:
    """Return the script that a shell evaluates in order to complete the command line."""
    from click.shell_completion import get_completion_class

    from calbatch.cluster.cli.app import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell}: no completion; choose one of {', '.join(SHELLS)}")
    return kind(cli, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source()


def completer(function: Callable[[click.Context, str], Iterable[tuple[str, str]]]) -> Completer:
    """Return the completer for a function that yields candidates, each with a help text.

    Candidates that do not begin with the text so far are left out.
    """

    @wraps(function)
    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        logging.disable()
        try:
            with warnings.catch_warnings(action="ignore"):
                candidates = [c for c in function(ctx, incomplete) if c[0].startswith(incomplete)]
        except Exception:  # such as a bad configuration, which the command itself reports
            return []
        finally:
            logging.disable(logging.NOTSET)
        return [CompletionItem(value, help=text or None) for value, text in candidates]

    return complete


@completer
def _find_pipelines(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the pipelines and steps; after a comma, those that could continue the chain."""
    from calbatch.calibrate import registry

    before, comma, _ = incomplete.rpartition(",")
    for name in (*registry.pipelines(), *registry.steps()):
        yield f"{before}{comma}{name}", ""


@completer
def _find_batches(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the user's batches with their output folders, the latest first."""
    from calbatch.cluster.folder import find_registered
    from calbatch.models.errors import escape_text

    for folder in reversed(list(find_registered())):
        yield folder.name, escape_text(str(folder.output))


@completer
def complete_site(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the sites of dask's configuration with their kinds."""
    from calbatch.cluster.sites.named_sites import sites_by_name

    return ((site.name, site.kind) for site in sites_by_name().values())


@completer
def complete_scheduler(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the names of schedulers, and how an address begins."""
    return ((name, "") for name in SCHEDULERS)


@completer
def complete_saved_step(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the steps of the pipeline, after those that are already in a list."""
    from calbatch.calibrate import registry

    before, comma, _ = incomplete.rpartition(",")
    for alias in registry.find(ctx.params["pipeline"])().steps():
        yield f"{before}{comma}{alias}", ""


@completer
def _find_parameters(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of the pipeline and of its steps, as options."""
    from calbatch.calibrate import registry

    pipeline = registry.find(ctx.params["pipeline"])()
    for prefix, step in [("", pipeline), *((f"{a}.", s) for a, s in pipeline.steps().items())]:
        for name, parameter in step.parameters().items():
            yield f"--{prefix}{name}", parameter.help


def complete_pipeline(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the pipelines and steps that match, or else let the shell complete a .cfg file."""
    return _find_pipelines(ctx, param, incomplete) or complete_file(ctx, param, incomplete)


def complete_batch(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the batches that match, or else let the shell complete an output folder."""
    return _find_batches(ctx, param, incomplete) or complete_folder(ctx, param, incomplete)


def complete_parameter(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the parameters that match; none before the pipeline has been typed."""
    if not incomplete.startswith("--") or not ctx.params.get("pipeline"):
        return []
    return _find_parameters(ctx, ctx.command.params[0], incomplete)


def complete_file(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return a request to the shell to complete the name of a file."""
    return _leave_to_shell(incomplete, "file")


def complete_folder(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return a request to the shell to complete the name of a folder."""
    return _leave_to_shell(incomplete, "dir")


def _leave_to_shell(incomplete: str, kind: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type=kind)]
