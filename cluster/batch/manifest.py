"""The manifest: a machine-readable record of a batch, written when its driver ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from calbatch.cluster.exposure.unit import Unit
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import View

VERSION = 1


def write_manifest(folder: BatchFolder, state: str) -> None:
    """Write a batch's manifest, with a line for each exposure.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.
    state : str
        Final state of the batch, which is recorded in the ledger after the manifest is written.
    """
    part = folder.manifest.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file, View(folder.state) as view:
        batch = view.batch(folder.name)
        head = {
            "manifest": VERSION,
            "batch": batch.name,
            "state": state,
            "pipeline": batch.pipeline,
            "configuration": folder.config.name,
            "output": str(folder.output),
            "context": batch.context,
            "context_reason": batch.context_reason,
            "request": batch.request,
            "parameters": batch.parameters,
            "software": batch.software,
            "created": batch.created,
            "started": batch.started,
            "ended": time.time(),
            "exposures": [],
        }
        opening = json.dumps(head, indent=1).removesuffix("[]\n}")
        file.write(opening + "[")
        for count, entry in enumerate(_exposures(view, batch.id)):
            file.write(("," if count else "") + "\n  " + json.dumps(entry))
        file.write("\n ]\n}\n")
    part.replace(folder.manifest)


def _exposures(view: View, batch: int) -> Iterator[dict[str, Any]]:
    units = view.units(batch)
    unit = next(units, None)
    for row, references, products in view.exposures_in_full(batch):
        more = {}
        if unit is not None and unit.number == row.number:
            more, unit = _describe_members(unit), next(units, None)
        yield {
            "input": row.path,
            "size": row.size,
            "mtime_ns": row.mtime_ns,
            "header_sha256": row.digest,
            "content": row.content,
            "identity": row.identity,
            "state": row.state,
            "reason": row.reason,
            "note": row.note,
            "references": references,
            "products": [
                {"path": p.path, "size": p.size, "mtime_ns": p.mtime_ns, "sha256_headers": p.digest}
                for p in products
            ],
            **more,
        }


def _describe_members(unit: Unit) -> dict[str, Any]:
    """Return the entries of a unit that is more than one file; makers are identified by number."""
    return {
        "pipeline": unit.pipeline,
        "product": unit.product,
        "members": [
            {"role": m.role, "path": m.path, "maker": m.maker, "optional": m.optional}
            for m in unit.members
        ],
    }
