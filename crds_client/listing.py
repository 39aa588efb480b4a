"""What ``calbatch refs`` tells: plain data, for a command to print."""

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
    """List what any instrument of the context selects by."""
    keywords: frozenset[str] = frozenset()
    return keywords.union(*(client.selection_keywords(one) for one in client.instruments))


def table_of_files(
    client: Client, paths: Iterable[str], types: Iterable[str] | None = None
) -> ReferenceTable[str]:
    """Choose the references of files; those that cannot be read are in the table's faults."""
    headers, faults = read_selection_headers(paths, all_selection_keywords(client))
    table = client.table(headers, types)
    table.faults.update(faults)
    return table


def bestrefs_rows(table: ReferenceTable[str]) -> Iterator[dict[str, Any]]:
    """Give one object for each exposure, for JSON.

    ``references`` has each type's file, ``"N/A"``, or None if there is none; ``why`` says why not.
    Rules that choose several files give a list.
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
    """Give a resolution as people and JSON see it."""
    if resolution.status == "found":
        return resolution.name or list(resolution.names)
    return "N/A" if resolution.status == "n/a" else None


@dataclass(frozen=True, slots=True)
class Difference:
    """One exposure's reference of one type by two contexts."""

    exposure: str
    type: str
    old: str | list[str] | None
    new: str | list[str] | None


def differences(old: ReferenceTable[str], new: ReferenceTable[str]) -> Iterator[Difference]:
    """Give what two contexts choose differently, exposure by exposure.

    A type that only one of them has is N/A in the other.
    """
    absent = Resolution("n/a")
    for exposure in old:
        if exposure not in new:
            continue
        before, after = old[exposure], new[exposure]
        for kind in sorted(before.keys() | after.keys()):
            pair = (
                plain_resolution(before.get(kind, absent)),
                plain_resolution(after.get(kind, absent)),
            )
            if pair[0] != pair[1]:
                yield Difference(exposure, kind, *pair)


def files_of_context(client: Client, instruments: Iterable[str] | None = None) -> set[str]:
    """List every rules file and reference of a context, or of some of its instruments."""
    names = set(client.rules.mappings() if instruments is None else {client.context})
    for instrument in client.rules.instruments if instruments is None else instruments:
        rules = client.rules.instrument(instrument)
        names |= rules.mappings() | rules.references()
    return names


def describe_client(client: Client) -> dict[str, Any]:
    """Describe a client: cache, context and why, mode, server, what the cache holds."""
    held = usage(client.cache)
    return {
        "cache": str(client.cache),
        "layout": client.cache.layout,
        "read_only": client.cache.read_only,
        "context": client.context,
        "context_reason": client.context_reason,
        "contexts": client.cache.contexts(),
        "mode": client.mode,
        "server": client.server_url,
        "files": held.files,
        "bytes": held.bytes,
    }
