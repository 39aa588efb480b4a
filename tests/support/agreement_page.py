"""Render the page of the agreement table, and store its rows.

``benchmarks/agreement.py`` writes both files.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from support.agreement_kinds import FURTHER, GUIDE_STAR, LARGE, Kind, all_kinds
from support.agreement_rows import (
    AGREES,
    ALONE,
    DIFFERS,
    FAILS,
    NEITHER,
    NOT_RUN,
    NOT_SIMULATED,
    REFUSED,
    Row,
    StepResult,
)

ROOT = Path(__file__).parents[2]
STORED = ROOT / "tests" / "agreement" / "table.json"
PAGE = ROOT / "docs" / "agreement.md"


def read_rows(path: Path = STORED) -> dict[str, Row]:
    """Return the stored results by the names of their kinds."""
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text())["rows"]
    return {
        name: Row(
            **{**row, "steps": {step: _as_result(values) for step, values in row["steps"].items()}}
        )
        for name, row in stored.items()
    }


def _as_result(values: Sequence) -> StepResult:
    count, flags, worst, skipped = values
    return StepResult(count, flags, math.inf if worst is None else worst, skipped)


def write_rows(rows: Mapping[str, Row], path: Path = STORED) -> None:
    """Store results; those of kinds that no longer exist are left out."""
    names = [kind.name for kind in all_kinds()]
    lines = [f"{json.dumps(name)}: {json.dumps(_as_json(rows[name]))}"
             for name in names if name in rows]  # fmt: skip
    about = json.dumps({"jwst": version("jwst"), "stcal": version("stcal")})
    path.write_text(f'{{"about": {about},\n"rows": {{\n' + ",\n".join(lines) + "\n}}\n")


def _as_json(row: Row) -> dict:
    steps = {
        name: [r.values, r.flags, _round(r.worst), r.is_skipped] for name, r in row.steps.items()
    }
    return asdict(row) | {"steps": steps}


def _round(worst: float) -> float | None:
    return float(f"{worst:.2g}") if math.isfinite(worst) else None


INTRODUCTION = """\
# Agreement with jwst

<!-- Written by benchmarks/agreement.py: do not edit. -->

Each row is one kind of exposure. It is simulated together with its references, and calibrated step
by step with calbatch and with jwst {jwst} (stcal {stcal}). All arrays are compared after each step.
Every exposure type and every readout pattern of jwst's core schema has a row: each type with the
usual pattern of its instrument, and each pattern and each family of subarrays with the usual type.
Exposures are small wherever the mode allows. They have dead, hot and saturated pixels and
cosmic-ray hits, and some of the references' pixels are unusable. Steps have their default
parameters, except for the kinds with further steps, which have snowballs or showers, too, and run
the steps that are off by default, with the parameters that the table of these kinds states.

`python benchmarks/agreement.py` writes this page; `--full` also compares full frames. The tests
compare a few rows, drawn at random under a fixed seed.

The column "values" counts the compared values, and "DQ" the flags that differ, over all steps.
Differences are given as fractions of the tolerance, which is the larger of 1e-5 of the value and,
for ramps, 1e-3 of the read noise; for rates, 1e-3 of the error; for variances, 1e-3 of the error
squared. NaN must be in the same places, and flags must be equal.

| cell | meaning |
|---|---|
| `=` | all values and flags are equal |
| a number | the largest difference, as a fraction of the tolerance; 1 or less agrees |
| *n* flags | *n* flags differ |
| - | jwst skips the step |

| outcome | kinds | meaning |
|---|---|---|
"""

MEANINGS = {
    AGREES: "after every step",
    DIFFERS: "beyond the tolerance, in a flag, in a status or in the names of arrays",
    REFUSED: "calbatch rejects the kind with an error (see below); jwst may calibrate it",
    NOT_SIMULATED: "the simulator does not make the kind, so it is not compared",
    NEITHER: "both raise an error",
    ALONE: "jwst raises an error, and calbatch calibrates the kind",
    FAILS: "calbatch fails with an unexpected error",
    NOT_RUN: "not compared yet",
}


def render_page(rows: Mapping[str, Row]) -> str:
    """Return the page of the table."""
    kinds = all_kinds()
    outcomes = [rows.get(kind.name, Row(NOT_RUN)).outcome for kind in kinds]
    parts = [INTRODUCTION.format(jwst=version("jwst"), stcal=version("stcal"))]
    parts += [f"| {name} | {outcomes.count(name)} | {meaning} |\n"
              for name, meaning in MEANINGS.items() if name in outcomes]  # fmt: skip
    for instrument in LARGE:
        of_instrument = [kind for kind in kinds if kind.instrument == instrument]
        others = [kind for kind in of_instrument if kind.family not in (GUIDE_STAR, FURTHER)]
        parts.append(f"\n## {instrument}\n")
        parts.append(_render_table(others, rows))
        for family in (GUIDE_STAR, FURTHER):
            group = [kind for kind in of_instrument if kind.family == family]
            parts += (
                [_render_table(group, rows), *map(_describe_parameters, group)] if group else []
            )
    reasons = [(kind, rows[kind.name].why) for kind in kinds if kind.name in rows]
    lines = [f"- {kind.name.replace(' |', ',')}: {_escape(why)}\n" for kind, why in reasons if why]
    parts += ["\n## Reasons\n\n", *lines] if lines else []
    return "".join(parts)


def _escape(text: str) -> str:
    """Return a message that Markdown shows as it is."""
    return "`" + text.replace("`", "'") + "`"


def _describe_parameters(kind: Kind) -> str:
    """Return a line with the parameters of a kind, or nothing if it has the defaults."""
    named = [f"`{step}.{name} = {value}`" for step, values in kind.parameters.items()
             for name, value in values.items()]  # fmt: skip
    return f"\n{kind.exposure_type}: {', '.join(named)}.\n" if named else ""


def _render_table(kinds: Sequence[Kind], rows: Mapping[str, Row]) -> str:
    known = [rows[kind.name] for kind in kinds if kind.name in rows]
    steps = list(dict.fromkeys(name for row in known for name in row.steps))
    heads = ["exposure type", "readout", "subarray", "outcome", "pixels", "values", "DQ", *steps]
    lines = ["", _line(heads), "|---" * len(heads) + "|"]
    for kind in kinds:
        row = rows.get(kind.name, Row(NOT_RUN))
        cells = [kind.exposure_type, kind.pattern, kind.family, row.outcome, *_totals(row)]
        cells += [_cell(row.steps.get(step)) for step in steps]
        lines.append(_line(cells))
    return "\n".join([*lines, ""])


def _totals(row: Row) -> list[str]:
    """Return the pixels, the compared values, and the flags that differ, over all steps."""
    if not row.steps:
        return ["", "", ""]
    values, flags = (
        sum(getattr(result, name) for result in row.steps.values()) for name in ("values", "flags")
    )
    return [f"{count:,}" for count in (row.pixels, values, flags)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  ", "| ")


def _cell(result: StepResult | None) -> str:
    if result is None:
        return ""
    if result.flags:
        return f"**{result.flags} flags**"
    if result.worst > 0:
        text = f"{result.worst:.1g}" if math.isfinite(result.worst) else "NaN"
        return f"**{text}**" if result.worst > 1 else text
    return "-" if result.is_skipped else "="
