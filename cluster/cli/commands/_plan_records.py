"""The plan of a batch as values for JSON."""

from __future__ import annotations

from typing import Any

from calbatch.cluster.planning.experience import Estimate
from calbatch.cluster.planning.forecast import Forecast


def describe_needs(needs: Forecast) -> dict[str, Any]:
    """Return the exposures, references and failures of a plan by name; sizes are in bytes."""
    return {
        "done": needs.kept,
        "unknown": needs.unknown,
        "kinds": [
            {
                "kind": group.title,
                "exposures": group.members,
                "tiles": group.budget.tiles,
                "rows": group.budget.rows,
                "tile": group.budget.bytes,
                "products": group.output_bytes * group.members,
            }
            for group in needs.groups
        ],
        "products": needs.output_bytes,
        "references": [
            {
                "type": kind,
                "reference": None if path is None else path.name,
                "bytes": None if path is None else path.stat().st_size,
                "exposures": count,
            }
            for (kind, path), count in sorted(needs.references.items(), key=lambda item: item[0][0])
        ],
        "failures": _describe_reasons(needs.errors),
        "changed": _describe_reasons(needs.changed),
    }


def describe_estimate(expected: Estimate | None, workers: int) -> dict[str, Any]:
    """Return the time and memory of a plan by name; None where they are unknown.

    Parameters
    ----------
    expected : Estimate, optional
        The estimate.
    workers : int
        Number of workers; 0 if the site decides, and ``seconds`` are those of one.
    """
    return {
        "workers": workers or None,
        "seconds": None if expected is None else expected.work / max(workers, 1),
        "measured": 0 if expected is None else expected.measured,
        "memory": None if expected is None else expected.peak,
    }


def _describe_reasons(reasons: Any) -> list[dict[str, str]]:
    return [{"exposure": str(path), "reason": reason} for path, reason in reasons.items()]
