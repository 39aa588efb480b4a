"""The summary of a batch, as it is printed."""

from pathlib import Path

import pytest
from support.batches import quiet_console
from support.recorded import product, record_batch

from calbatch.cluster.batch.report import SHOWN, describe_unrecorded, print_summary
from calbatch.cluster.batch.result import Ending, Result
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.ledger import DamagedLedgerError
from calbatch.cluster.ledger.store import NAME


def summary(result, **options):
    """Return the summary's lines, with runs of blanks and frames as single blanks."""
    console = quiet_console()
    print_summary(result, console, **options)
    text = console.file.getvalue().translate(dict.fromkeys(map(ord, "│┃|"), " "))
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_table_counts_exposures_and_products(tmp_path):
    folder = record_batch(
        tmp_path,
        [
            {"state": "done", "products": [product("a"), product("b")]},
            {"state": "kept", "products": [product("c")]},
            {"state": "failed", "reason": "e2: is empty"},
            {"state": "waiting"},
        ],
        "failed",
    )
    lines = summary(Result(folder, 75.0))
    heading = next(n for n, line in enumerate(lines) if line.startswith("exposures done"))
    assert lines[heading].startswith("exposures done earlier failed products wall time")
    assert lines[heading + 2].startswith("4 2 1 1 3 0:01:15 ")
    assert "failed: e2_uncal.fits" in lines
    assert f"products are in {tmp_path}" in lines
    assert lines[-1] == f"`calbatch resume {folder.name}` calibrates the remaining exposures"


def test_nothing_more_is_said_of_a_batch_without_products_that_is_done(tmp_path):
    lines = summary(Result(record_batch(tmp_path, []), 1.0))
    heading = next(n for n, line in enumerate(lines) if line.startswith("exposures done"))
    assert lines[heading].startswith("exposures done failed products")
    assert lines[heading + 2].startswith("0 0 0 0 1.0 s ")
    assert not [line for line in lines if "resume" in line or "products are in" in line]


def test_the_reason_is_printed_with_the_state(tmp_path):
    folder = record_batch(tmp_path, [{}], "cancelled", "cancelled (drain)")
    assert "cancelled: cancelled (drain)" in summary(Result(folder, 1.0))


def test_a_warning_of_several_exposures_is_printed_once_with_their_number(tmp_path):
    exposures = [
        {"state": "done", "warnings": f'["/in/e{n}_uncal.fits: odd", "strange"]'} for n in range(3)
    ]
    exposures.append({"state": "done", "warnings": '["strange"]'})
    found = [
        line
        for line in summary(Result(record_batch(tmp_path, exposures), 1.0))
        if line.startswith("warning: ")
    ]
    assert found == [
        "warning: /in/e0_uncal.fits: strange (and in 3 more exposures)",
        "warning: /in/e0_uncal.fits: odd (and in 2 more exposures)",
    ]


def test_long_lists_of_names_and_warnings_are_cut(tmp_path):
    exposures = [
        {"state": "failed", "reason": "bad", "warnings": f'["kind {n}"]'} for n in range(SHOWN + 2)
    ]
    lines = summary(Result(record_batch(tmp_path, exposures, "failed"), 1.0))
    assert sum(line.startswith("warning: ") for line in lines) == SHOWN
    assert "... and 2 more kinds of warnings" in lines
    [failed] = [line for line in lines if line.startswith("failed: ")]
    assert failed.count("_uncal.fits") == SHOWN
    assert failed.endswith(" and 2 more")


def test_control_characters_are_escaped(tmp_path):
    folder = record_batch(
        tmp_path, [{"state": "done", "warnings": r'["\u001b[2J"]', "path": "/in/a\nb.fits"}]
    )
    assert r"warning: /in/a\nb.fits: \x1b[2J" in summary(Result(folder, 1.0))


def test_timings_are_means_over_the_exposures_calibrated_now(tmp_path):
    stages = '{"jump": 1.0, "ramp_fit": 3.0}'
    folder = record_batch(
        tmp_path,
        [
            {"state": "done", "stages": stages},
            {"state": "done", "stages": stages},
            {"state": "kept"},
        ],
    )
    lines = summary(Result(folder, 1.0), timings=True)
    assert {"jump 1.000", "ramp_fit 3.000", "all 4.000"} <= set(lines)
    assert "jump 1.000" not in summary(Result(folder, 1.0))


def test_the_driver_knows_the_counts_of_a_damaged_ledger(tmp_path):
    folder = record_batch(tmp_path, [{"state": "done"}] * 3)
    (folder.state / NAME).write_bytes(b"no database")
    with pytest.raises(DamagedLedgerError, match="damaged"):
        summary(Result(folder, 1.0))
    lost = (Outcome(number=2, path=Path("/in/e2_uncal.fits")),)
    lines = summary(
        Result(
            folder,
            1.0,
            Ending(
                state="interrupted", reason="damaged", total=3, done=2, failed=1, unrecorded=lost
            ),
        )
    )
    assert any(line.startswith("3 2 1 0 1.0 s ") for line in lines)
    assert "interrupted: damaged" in lines
    assert not [line for line in lines if "resume" in line]


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (1, "1 outcome could not be recorded; these exposures would be repeated: e0.fits"),
        (
            2,
            "2 outcomes could not be recorded; these exposures would be repeated: e0.fits, e1.fits",
        ),
    ],
)
def test_unrecorded_outcomes_are_named(count, line):
    assert describe_unrecorded(some_outcomes(count)) == line


def test_many_unrecorded_outcomes_are_counted():
    line = describe_unrecorded(some_outcomes(SHOWN + 3))
    assert line.startswith(f"{SHOWN + 3} outcomes ")
    assert line.endswith(f"e{SHOWN - 1}.fits and 3 more")


def some_outcomes(count):
    return [Outcome(number=n, path=Path(f"/in/e{n}.fits")) for n in range(count)]
