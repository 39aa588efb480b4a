"""The table of agreement: rows drawn from it agree, and its page shows the results.

``CALBATCH_AGREEMENT_ROWS`` is the number of rows that are drawn. ``-m slow`` compares all rows
without full frames; ``benchmarks/agreement.py`` also those with, and writes the page.
"""

import os
import random
from importlib.resources import files

import numpy as np
import pytest
import yaml
from support.agreement import measure_difference
from support.agreement_kinds import all_kinds
from support.agreement_page import PAGE, read_rows, render_page, write_rows
from support.agreement_rows import AGREES, DIFFERS, NEITHER, Row, compare_kind

# Deprecation warnings of jwst and its dependencies are not under test here.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

ROWS = int(os.environ.get("CALBATCH_AGREEMENT_ROWS", "6"))
SEED = 15
CHEAP = [kind for kind in all_kinds() if not kind.is_costly]
EXPLAINED = AGREES, NEITHER
"""Outcomes of kinds in which there is no fault: jwst calibrates none that calbatch refuses."""

UNSUPPORTED = 2
"""Number of kinds that neither calibrates; lower it when a mode is added."""


def check(kind):
    """Compare a kind with jwst; the outcome must be as the page states it."""
    row, stored = compare_kind(kind), read_rows().get(kind.name)
    assert row.outcome in EXPLAINED, f"{kind.name}: {row.outcome}, {row.why}"
    assert row.outcome in (AGREES, stored and stored.outcome), f"{kind.name}: {row.why}"
    return row


@pytest.mark.parametrize(
    "kind", random.Random(SEED).sample(CHEAP, min(ROWS, len(CHEAP))), ids=lambda kind: kind.name
)
def test_drawn_rows(kind):
    row = check(kind)
    if row.outcome == AGREES:
        assert sum(step.values for step in row.steps.values()) > 1000
        assert "dq_init" in row.steps


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHEAP, ids=lambda kind: kind.name)
def test_every_row_without_full_frames(kind):
    check(kind)


def test_every_type_and_pattern_of_the_schema_has_a_row():
    core = yaml.safe_load(
        (files("stdatamodels.jwst.datamodels") / "schemas" / "core.schema.yaml").read_text()
    )
    exposure = core["properties"]["meta"]["properties"]["exposure"]["properties"]
    kinds = all_kinds()
    assert {kind.exposure_type for kind in kinds} == set(exposure["type"]["enum"])
    assert {kind.pattern for kind in kinds} == set(exposure["readpatt"]["enum"])


def test_the_page_shows_the_stored_rows():
    assert PAGE.read_text() == render_page(read_rows())


def test_no_stored_row_shows_a_fault():
    faults = {name: row.why for name, row in read_rows().items() if row.outcome not in EXPLAINED}
    assert not faults
    unexplained = [
        name for name, row in read_rows().items() if row.outcome != AGREES and not row.why
    ]
    assert not unexplained


def test_only_kinds_without_a_simulation_raise_errors():
    stand_ins = {kind.name for kind in all_kinds() if not kind.is_simulated}
    neither = {name for name, row in read_rows().items() if row.outcome == NEITHER}
    assert neither <= stand_ins
    assert len(stand_ins) <= UNSUPPORTED


def test_rows_survive_storage(tmp_path):
    rows = read_rows()
    name = CHEAP[0].name
    rows[name] = Row(DIFFERS, "because", 5)
    write_rows(rows, tmp_path / "rows.json")
    again = read_rows(tmp_path / "rows.json")
    assert again.keys() == rows.keys()
    assert again[name] == rows[name]
    assert f"{DIFFERS} | 1 |" in render_page(again)


@pytest.mark.parametrize(
    ("found", "worst", "agrees"),
    [
        ([1.0, np.nan, 1000.0], 0.0, True),
        ([1.0, np.nan, 1000.005], 0.5, True),
        ([1.0, np.nan, 1000.02], 2.0, False),
        ([1.004, np.nan, 1000.0], 0.8, True),
        ([1.01, np.nan, 1000.0], 2.0, False),
        ([1.0, 1.0, 1000.0], np.inf, False),
        ([np.nan, np.nan, 1000.0], np.inf, False),
        ([np.inf, np.nan, 1000.0], np.inf, False),
        ([1.0, np.nan], np.inf, False),
    ],
)
def test_differences_are_fractions_of_the_tolerance(found, worst, agrees):
    """The noise is 5: a value of 1 may be off by 0.005, and one of 1000 by 0.01."""
    wanted = np.array([1.0, np.nan, 1000.0])
    difference = measure_difference(np.array(found), wanted, 5.0)
    assert difference.worst == pytest.approx(worst)
    assert difference.agrees == agrees


def test_any_difference_of_flags_counts():
    wanted = np.array([[0, 4], [2, 1]], "u1")
    difference = measure_difference(wanted ^ np.array([[0, 1], [0, 0]], "u1"), wanted, 5.0)
    assert (difference.flags, difference.agrees) == (1, False)
    assert "(0, 1): 5 for jwst's 4" in str(difference)
    assert measure_difference(wanted, wanted, 5.0).agrees
