"""`calbatch doctor`: problems of the installation and its surroundings, with their remedies."""

from __future__ import annotations

from dataclasses import asdict

from rich.text import Text

from calbatch.cluster.cli.commands._checks import OK, WARNING, WRONG, Finding, find_problems
from calbatch.cluster.display.plain_lines import print_json_lines
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console
from calbatch.models.errors import format_count

_STYLES = {OK: "green", WARNING: "yellow", WRONG: "red"}


def main(output: str, *, as_json: bool) -> int:
    """Check everything that batches need; return 1 if something is wrong.

    Parameters
    ----------
    output : str
        The output folder of the batches to come.
    as_json : bool
        Print a JSON object for each finding.
    """
    if as_json:
        findings = list(find_problems(output))
        print_json_lines(map(asdict, findings))
        return 1 if any(finding.state == WRONG for finding in findings) else 0
    console = Console(soft_wrap=True)
    states = []
    for finding in find_problems(output):
        states.append(finding.state)
        console.print(_describe(finding))
    wrong, warnings = states.count(WRONG), states.count(WARNING)
    found = f"{format_count(wrong, 'problem')}, {format_count(warnings, 'warning')}"
    console.print("all is well" if wrong == warnings == 0 else found)
    return 1 if wrong else 0


def _describe(finding: Finding) -> Text:
    """Return a finding as a line, and its remedy as another one below."""
    text = Text(f"{finding.state:<8}", style=_STYLES[finding.state])
    text.append(f"{finding.check:<13} {escape_text(finding.text)}", style="default")
    if finding.advice:
        text.append(f"\n{'':<8}{'->':>13} {escape_text(finding.advice)}", style="default")
    return text
