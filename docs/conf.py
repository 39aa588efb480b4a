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


def help_texts(command: click.Command = cli, name: str = "calbatch") -> Iterator[tuple[str, str]]:
    """Yield the name and the help of each command, as ``--help`` prints it."""
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            inner = command.get_command(context, word)
            if inner is not None:
                yield from help_texts(inner, f"{name} {word}")


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
