"""Ratios of later measurements compared with stored ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOLERANCE = 0.2
"""Part of a stored ratio that a measured one may lack: virtual machines scatter by as much."""

Ratios = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Ratios by section, row and column."""


def collect_ratios(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the ratios of the results of run.py, of which more is better."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for section, tables in results.items():
        for table in tables if isinstance(tables, list) else ():
            places = [(name, table["columns"].index(name)) for name in table.get("gains", ())]
            for row in table["rows"] if places else ():
                values = {name: round(row[at], 2) for name, at in places if row[at] is not None}
                found.setdefault(section, {})[row[0]] = values
    return found


def find_losses(
    measured: Ratios, stored: Ratios, tolerance: float = TOLERANCE
) -> tuple[list[str], int]:
    """Return lines about ratios that are worse than the stored ones, and how many were compared.

    All stored rows of the sections that were measured are compared; one that is missing counts as a
    loss.
    """
    losses, compared = [], 0
    for section, rows in measured.items():
        for row, values in stored.get(section, {}).items():
            for column, before in values.items():
                now = rows.get(row, {}).get(column)
                compared += 1
                if now is None:
                    losses.append(f"{section}, {row}, {column}: not measured, stored {before:.3g}")
                elif now < before * (1 - tolerance):
                    losses.append(f"{section}, {row}, {column}: {now:.3g}, stored {before:.3g}")
    return losses, compared


def check_ratios(results: Mapping[str, Any], stored: Ratios, tolerance: float = TOLERANCE) -> str:
    """Compare the ratios of results with stored ones; return a line about them.

    Raises
    ------
    SystemExit
        If a ratio is worse by more than the tolerance, or none could be compared.
    """
    losses, compared = find_losses(collect_ratios(results), stored, tolerance)
    if losses:
        title = (
            f"{len(losses)} of {compared} ratios are worse than the stored by over {tolerance:.0%}:"
        )
        raise SystemExit("\n  ".join([title, *losses]))
    if not compared:
        raise SystemExit("none of the measured ratios is stored")
    return f"{compared} ratios are at most {tolerance:.0%} worse than the stored"


def store_ratios(results: Mapping[str, Any], path: Path) -> None:
    """Store the ratios of results in a file, whose other sections stay."""
    kept = load_ratios(path) if path.is_file() else {}
    path.write_text(json.dumps({**kept, **collect_ratios(results)}, indent=1) + "\n", "utf-8")


def load_ratios(path: Path) -> Ratios:
    """Return the ratios of a file.

    Raises
    ------
    SystemExit
        If the file cannot be read.
    """
    try:
        ratios: Ratios = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: cannot be read: {error}") from error
    return ratios
