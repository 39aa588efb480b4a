"""`calbatch refs`: reference files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from calbatch.calibrate import pars
from calbatch.cluster.display.fetch_progress import print_missing, show_fetch_progress
from calbatch.cluster.display.plain_lines import print_json_lines
from calbatch.cluster.display.quantities import megabytes
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.terminal import Console, print_text
from calbatch.cluster.planning.inputs import find_exposures
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.crds_client import Client, listing
from calbatch.crds_client.cache.layout import check_name
from calbatch.crds_client.cache_client import CacheClient
from calbatch.crds_client.reference_table import ReferenceTable
from calbatch.crds_client.upkeep import Fault, usage
from calbatch.models.errors import format_count


def bestrefs(inputs: Sequence[str], context: str | None, *, as_json: bool) -> int:
    """Print the references of exposures; return 1 if some exposures have none at all."""
    client = Client(context=context)
    paths = _paths(inputs)
    table = listing.table_of_files(client, paths)
    rows = {row["file"]: row for row in listing.bestrefs_rows(table)}
    records = [rows[path] for path in paths]
    if as_json:
        print_json_lines(records)
    else:
        _say(f"context {client.context}: {client.context_reason}")
        _print_table(("file", "type", "reference"), _bestrefs_cells(records))
    return 1 if table.faults else 0


def _bestrefs_cells(records: Iterable[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for record in records:
        name = Path(record["file"]).name
        reasons = record["why"]
        if "" in reasons:
            yield name, "", reasons[""]
        for kind, reference in record["references"].items():
            yield (
                name,
                kind,
                f"not found: {reasons[kind]}" if reference is None else _text(reference),
            )


def diff(old: str, new: str, inputs: Sequence[str], *, as_json: bool) -> int:
    """Print references that differ between contexts; return 1 if exposures cannot be compared."""
    paths = _paths(inputs)
    clients = [Client(context=name) for name in (old, new)]
    before, after = (listing.table_of_files(client, paths) for client in clients)
    differences = list(listing.differences(before, after))
    faults = before.faults | after.faults
    if as_json:
        keys = ("file", "type", before.context, after.context)
        print_json_lines(
            dict(zip(keys, (d.exposure, d.type, d.old, d.new), strict=True)) for d in differences
        )
    else:
        cells = ((Path(d.exposure).name, d.type, _text(d.old), _text(d.new)) for d in differences)
        if differences:
            _print_table(("file", "type", before.context, after.context), cells)
        changed = len({d.exposure for d in differences})
        exposures = format_count(len(paths) - len(faults), "exposure")
        _say(f"{changed} of {exposures} with other references in {after.context}")
    for reason in faults.values():
        print_text(Console(stderr=True), reason)
    return 1 if faults else 0


def info(context: str | None, *, as_json: bool) -> int:
    """Print the source of references, the context, and the contents of the cache."""
    details = listing.describe_client(Client(context=context))
    if as_json:
        print_json_lines([details])
        return 0
    details["bytes"] = megabytes(details["bytes"])
    details["contexts"] = ", ".join(details["contexts"])
    details["server"] = details["server"] or "none: CRDS_SERVER_URL is not set"
    for key, value in details.items():
        _say(f"{key.replace('_', ' ') + ':':<16} {value}")
    return 0


def sync(
    items: Sequence[str],
    context: str | None,
    *,
    files: bool,
    pipeline: str | None,
    instruments: Sequence[str],
) -> int:
    """Fetch missing files; return 1 if some cannot be fetched.

    Parameters
    ----------
    items : sequence of str
        Exposures, or names of files with ``files``; empty for all files of a context.
    context : str, optional
        The context; the environment's by default.
    files : bool
        True if ``items`` are names of files.
    pipeline : str, optional
        Pipeline or step whose reference types are fetched; all types by default.
    instruments : sequence of str
        Instruments whose files of the context are fetched; all by default.
    """
    if files and not items:
        raise RequestError("refs sync --files: name the files")
    if not items and not (context or instruments):
        raise RequestError(
            "refs sync: name exposures, or files with --files; or give --context or --instrument "
            "for all files of a context, which may be very many"
        )
    _make_cache()
    if files:
        return _ensure_cached(CacheClient(), [check_name(name) for name in items])
    client = Client(context=context)
    _say(f"context {client.context}: {client.context_reason}")
    if not items:
        return _ensure_cached(client, listing.files_of_context(client, instruments or None))
    table = listing.table_of_files(client, _paths(items), _types(pipeline))
    for reason in table.faults.values():
        print_text(Console(stderr=True), reason)
    if pipeline is not None:
        _print_unresolved(table)
    return _ensure_cached(client, table.names()) or (1 if table.faults else 0)


def _types(pipeline: str | None) -> set[str] | None:
    """Return the types of references and parameter references that a pipeline uses."""
    if pipeline is None:
        return None
    step = configure_step(pipeline)
    return step.wanted_references() | (set() if pars.are_disabled() else pars.parameter_types(step))


def _print_unresolved(table: ReferenceTable[str]) -> None:
    """Print the references that a pipeline uses and the rules do not have."""
    for exposure in table:
        for kind, reference in sorted(table[exposure].items()):
            if reference.status == "not found" and not kind.startswith("pars-"):
                _say(f"{exposure}: no {kind} reference: {reference.reason}")


def _make_cache() -> None:
    """Create the folder of a cache that is about to be filled for the first time."""
    folder = os.environ.get("CRDS_PATH")
    if folder and os.environ.get("CRDS_SERVER_URL"):
        Path(folder).expanduser().mkdir(parents=True, exist_ok=True)


def _ensure_cached(client: CacheClient, names: Collection[str]) -> int:
    """Fetch files that are missing from the cache, and print the number of its files."""
    missing = client.list_missing(names)
    if missing and client.source is None:
        print_missing(missing, str(client.cache), _console())
        return 1
    failed = {}
    if missing:
        with show_fetch_progress(len(missing), _console()) as show:
            failed = client.fetch(missing, show).failed
    for name, reason in sorted(failed.items()):
        _say(f"{name}: {reason}")
    total = len(set(names))
    _say(f"{total - len(failed)} of {format_count(total, 'file')} in {client.cache}")
    return 1 if failed else 0


def verify(names: Sequence[str], *, repair: bool) -> int:
    """Verify the cache's files; return 1 if some are damaged and have not been repaired."""
    client = CacheClient()
    faults, unknown = client.verify(names)
    for fault in faults:
        _say(f"{fault.path}: {fault.problem}")
    if unknown:
        count = format_count(len(unknown), "file")
        _say(f"{count} cannot be verified: known to neither a server nor the cache")
    checked = (len(names) or usage(client.cache).files) - len(unknown)
    if repair and faults:
        return _repair(client, faults)
    advice = "; --repair fetches them anew" if faults else ""
    _say(f"{format_count(checked, 'file')} verified, {len(faults)} wrong{advice}")
    return 1 if faults else 0


def _repair(client: CacheClient, faults: Sequence[Fault]) -> int:
    names = [fault.name for fault in faults]
    if client.source is None:
        _say("nothing can be repaired without a server (CRDS_SERVER_URL, CRDS_MODE)")
        return 1
    with show_fetch_progress(len(names), _console()) as show:
        report = client.fetch(names, show, anew=True)
    for name, reason in sorted(report.failed.items()):
        _say(f"{name}: {reason}")
    _say(f"{len(report.fetched)} of {format_count(len(names), 'file')} repaired")
    return 1 if report.failed else 0


def _paths(inputs: Sequence[str]) -> list[str]:
    return [str(path) for path in find_exposures(inputs, "*.fits")]


def _text(reference: str | list[str] | None) -> str:
    if reference is None:
        return "not found"
    return reference if isinstance(reference, str) else ", ".join(reference)


def _console() -> Console:
    return Console(stderr=True)


def _say(text: str) -> None:
    print_text(Console(), text)


def _print_table(names: Sequence[str], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(*names)
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    Console().print(table)
