"""The results of ``calbatch refs``, as plain data to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from calbatch.crds_client.client import Client
from calbatch.crds_client.reference_table import ReferenceTable
from calbatch.crds_client.rules.mapping import Resolution
from calbatch.crds_client.selection_headers import read_selection_headers
from calbatch.crds_client.upkeep import usage


def all_selection_keywords(client: Client) -> frozenset[str]:
    """Return the keywords by which any instrument of the context selects."""
    keywords: frozenset[str] = frozenset()
    return keywords.union(*(client.selection_keywords(one) for one in client.instruments))


def table_of_files(
    client: Client, paths: Iterable[str], types: Iterable[str] | None = None
) -> ReferenceTable[str]:
    """Select the references of files; unreadable files are listed in the table's faults."""
    headers, faults = read_selection_headers(paths, all_selection_keywords(client))
    table = client.table(headers, types)
    table.faults.update(faults)
    return table


def bestrefs_rows(table: ReferenceTable[str]) -> Iterator[dict[str, Any]]:
    """Yield one JSON object for each exposure.

    ``references`` has each type's file, a list of files, ``"N/A"``, or None if none was found;
    ``why`` has the reasons.
    """
    for exposure in table:
        references = table[exposure]
        yield {
            "file": exposure,
            "context": table.context,
            "references": {kind: plain_resolution(one) for kind, one in sorted(references.items())},
            "why": {
                kind: one.reason
                for kind, one in sorted(references.items())
                if one.status == "not found"
            },
        }
    for exposure, reason in table.faults.items():
        yield {"file": exposure, "context": table.context, "references": {}, "why": {"": reason}}


def plain_resolution(resolution: Resolution) -> str | list[str] | None:
    """Return a resolution as JSON has it: a name, a list of names, ``"N/A"`` or None."""
    if resolution.status == "found":
        return resolution.name or list(resolution.names)
    return "N/A" if resolution.status == "n/a" else None


@dataclass(frozen=True, slots=True)
class Difference:
    """An exposure's reference of one type under two contexts."""

    exposure: str
    type: str
    old: str | list[str] | None
    new: str | list[str] | None


def differences(old: ReferenceTable[str], new: ReferenceTable[str]) -> Iterator[Difference]:
    """Yield the references that two contexts select differently, exposure by exposure.

    A type that exists in only one context counts as N/A in the other.
    """
    absent = Resolution("n/a")
    for exposure in old:
        if exposure not in new:
            continue
        before, after = old[exposure], new[exposure]
        for kind in sorted(before.keys() | after.keys()):
            old_names = plain_resolution(before.get(kind, absent))
            new_names = plain_resolution(after.get(kind, absent))
            if old_names != new_names:
                yield Difference(exposure, kind, old_names, new_names)


def files_of_context(client: Client, instruments: Iterable[str] | None = None) -> set[str]:
    """Return the rules files and references of a context, or of some of its instruments."""
    names = set(client.rules.mappings() if instruments is None else {client.context})
    for instrument in client.rules.instruments if instruments is None else instruments:
        rules = client.rules.instrument(instrument)
        names |= rules.mappings() | rules.references()
    return names


def describe_client(client: Client) -> dict[str, Any]:
    """Return a client's cache, context and its reason, mode, server, and the cache's size."""
    contents = usage(client.cache)
    return {
        "cache": str(client.cache),
        "layout": client.cache.layout,
        "read_only": client.cache.read_only,
        "context": client.context,
        "context_reason": client.context_reason,
        "contexts": client.cache.contexts(),
        "mode": client.mode,
        "server": client.server_url,
        "files": contents.files,
        "bytes": contents.bytes,
    }
