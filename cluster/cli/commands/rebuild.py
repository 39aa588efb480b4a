"""`calbatch rebuild`: a new ledger in a damaged one's place."""

from __future__ import annotations

from calbatch.cluster.batch.rebuilding import rebuild_ledger
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.planning.inputs import parse_place


def main(output: str) -> int:
    """Make a new ledger of what is left of a damaged one, and say what it knows."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    aside, batches = rebuild_ledger(parse_place(output))
    if aside is None:
        console.print(f"{escape_text(output)}: the ledger is intact; nothing was changed")
        return 0
    for batch in batches:
        if batch.total:
            console.print(f"{batch.name}: {batch.done} of {batch.total} exposures are done")
        else:
            console.print(
                f"{batch.name}: nothing tells what it was; the same command does it again"
            )
    console.print(escape_text(f"the damaged ledger is {aside}"))
    return 0
