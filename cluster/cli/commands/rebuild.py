"""`calbatch rebuild`: rebuilding a damaged ledger."""

from __future__ import annotations

from calbatch.cluster.batch.rebuilding import rebuild_ledger
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.planning.inputs import parse_place
from calbatch.models.errors import format_count


def main(output: str) -> int:
    """Rebuild a damaged ledger, and print the batches of the new one."""
    console = Console(soft_wrap=True)
    aside, batches = rebuild_ledger(parse_place(output))
    if aside is None:
        console.print(f"{escape_text(output)}: the ledger is intact; nothing was changed")
        return 0
    for batch in batches:
        if batch.total:
            total = format_count(batch.total, "exposure")
            console.print(f"{batch.name}: {batch.done} of {total} done")
        else:
            console.print(
                f"{batch.name}: nothing is known about it; run its command again to repeat it"
            )
    console.print(escape_text(f"the damaged ledger is {aside}"))
    return 0
