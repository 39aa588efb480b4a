"""Sphinx configuration: ``sphinx-build -W docs docs/_build``."""

from collections.abc import Iterator

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from calbatch import __version__
from calbatch.cluster.cli.app import cli

project = "calbatch"
author = "The calbatch developers"
copyright = "2026, the calbatch developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "calbatch"

myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "py:obj"


def help_texts(
    command: click.Command = cli, word: str = "calbatch", parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the name and the help of each command, as ``--help`` prints it."""
    settings = {**command.context_settings, "terminal_width": 84}
    context = click.Context(command, info_name=word, parent=parent, **settings)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from help_texts(inner, name, context)


class CommandHelp(Directive):
    """A section for each command of calbatch, with its help."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return [
            nodes.section(
                "", nodes.title("", name), nodes.literal_block(text, text, language="text"),
                ids=[nodes.make_id(f"help-{name}")], names=[name],
            )
            for name, text in help_texts()
        ]  # fmt: skip


def setup(app: Sphinx) -> None:
    """Add our directive."""
    app.add_directive("command-help", CommandHelp)
