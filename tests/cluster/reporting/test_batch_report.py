"""The contents of a report: counts, outliers, timings, references, failures, and how to repeat."""

import json
import shlex

from support.batches import DATE, calbatch
from support.measured_batches import SCRIPT, record_measured, record_outlying, statistics_of
from support.recorded import change_batch

from calbatch.cluster.folder import find_batch
from calbatch.cluster.ledger import View
from calbatch.cluster.reporting.batch_report import read_report


def contents(folder):
    found = read_report(folder).describe()
    json.dumps(found, allow_nan=False)
    return found


def test_the_summary_adds_up_the_exposures(tmp_path):
    exposures = {1: {"state": "failed", "reason": "/in/e1_uncal.fits: broken"}}
    found = contents(record_measured(tmp_path, {0: [statistics_of(0)], 1: []}, exposures=exposures))
    assert found["counts"] == {"done": 1, "failed": 1}
    summary = found["summary"]
    assert (summary["cpu"], summary["products"], summary["measured"]) == (4.0, 1, 1)
    assert summary["memory"] == 2**29
    assert found["steps"] == [
        {"step": "jump", "cpu": 3.0, "exposures": 2},
        {"step": "ramp_fit", "cpu": 1.0, "exposures": 2},
    ]
    assert found["exposures"][1]["reason"] == "broken"


def test_outliers_are_listed_first_with_their_reasons(tmp_path):
    outliers = contents(record_outlying(tmp_path))["outliers"]
    assert outliers[0]["number"] == 3
    assert outliers[0]["exposure"] == "e3_uncal.fits"
    assert outliers[0]["reasons"][0].startswith("noise 1 is far above")


def test_failures_have_their_logs(tmp_path):
    exposures = {0: {"state": "failed", "reason": f"{SCRIPT}\x1b[31m"}}
    folder = record_measured(tmp_path, {0: [], 1: []}, exposures=exposures)

    def add(ledger, batch):
        ledger.add_attempt(batch, 0, number=1, result="failed", log=f"line\n{SCRIPT}\x1b")

    change_batch(folder, add)
    (failure,) = contents(folder)["failures"]
    assert failure["reason"] == f"{SCRIPT}\\x1b[31m"
    assert failure["tries"][0]["log"] == f"line\n{SCRIPT}\\x1b"


def test_warnings_of_several_exposures_are_counted(tmp_path):
    exposures = {n: {"warnings": json.dumps([f"/in/e{n}_uncal.fits: odd"])} for n in range(3)}
    found = contents(record_measured(tmp_path, dict.fromkeys(range(3), ()), exposures=exposures))
    assert found["warnings"] == [{"warning": "…: odd", "exposures": 3}]


def test_a_batch_is_measured_while_it_is_calibrated(simulated, tmp_path):
    done = calbatch(
        "run", "detector1", str(simulated.exposures[0].parent), "-o", str(tmp_path / "out"),
        "--date", DATE, "--scheduler", "sync", "--jump.rejection_threshold=5",
    )  # fmt: skip
    assert done.status == 0
    folder = find_batch(str(tmp_path / "out"))
    found = contents(folder)
    for each in found["exposures"]:
        assert {"level", "noise", "error", "jumps", "jump_rate"} <= each["metrics"].keys()
        assert [p["path"].rpartition("_")[2] for p in each["products"]] == [
            "rate.fits", "rateints.fits",
        ]  # fmt: skip
    assert {each["type"] for each in found["references"]} >= {"gain", "readnoise"}
    used = [each for each in found["references"] if each["file"] != "N/A"]
    assert all(len(each["sha1"]) == 40 and each["exposures"] == 3 for each in used)
    assert "statistics" in {each["step"] for each in found["steps"]}
    words = shlex.split(found["repeat"]["command"])
    assert words[:2] == ["calbatch", "run"]
    assert "rejection_threshold = 5" in found["repeat"]["configuration"]
    again = calbatch(*words[1:], "--scheduler", "sync")
    assert again.status == 0
    with View(folder.state) as view:
        assert set(view.states(view.batches()[-1].id)) == {"kept"}  # the identity is the same
    kept = contents(find_batch(str(tmp_path / "out")))
    assert [e["products"] for e in kept["exposures"]] == [e["products"] for e in found["exposures"]]
