"""`calbatch refs`: reference files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from calbatch.cluster.inputs import exposures
from calbatch.crds_client import Client
from calbatch.models import datamodels


def bestrefs(inputs: Sequence[str], context: str | None, *, as_json: bool) -> int:
    """Print the references of exposures; return 1 when some are not found."""
    client = Client(context=context)
    paths = exposures(inputs, "*.fits")
    headers = {
        str(path): {k.upper(): v for k, v in datamodels.open(path).to_flat_dict().items()}
        for path in paths
    }
    table = client.table(headers)
    records = [_record(name, client.context, table) for name in headers]
    if as_json:
        for record in records:
            print(json.dumps(record))  # noqa: T201 - for programs
    else:
        _show(records)
    return 1 if any(r["why"] for r in records) else 0


def _record(name: str, context: str, table: Any) -> dict[str, Any]:
    if name in table.faults:
        return {"file": name, "context": context, "references": {}, "why": {"": table.faults[name]}}
    references: dict[str, str | None] = {}
    why = {}
    for kind, resolution in sorted(table[name].items()):
        found = {"found": resolution.name, "n/a": "N/A"}.get(resolution.status)
        references[kind] = found
        if found is None:
            why[kind] = str(resolution.reason)
    return {"file": name, "context": context, "references": references, "why": why}


def _show(records: Sequence[dict[str, Any]]) -> None:
    table = Table("file", "type", "reference")
    for record in records:
        for kind, name in record["references"].items():
            table.add_row(record["file"], kind, name or f"not found: {record['why'][kind]}")
        for reason in [record["why"][""]] if "" in record["why"] else []:
            table.add_row(record["file"], "", reason)
    Console().print(table)
