"""Results of batches, from the ledger and from their driver."""

import os
from pathlib import Path

import pytest
from support.html_text import read_html
from support.recorded import product, record_batch

from calbatch.cluster.batch import result as module
from calbatch.cluster.batch.liveness import record_driver
from calbatch.cluster.batch.result import Ending, Result, read_result
from calbatch.cluster.exposure.outcome import MemoryPeak, Outcome
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import LedgerError

EXPOSURES = [
    {
        "state": "done", "started": 10.0, "seconds": 2.5, "cpu": 2.0, "content": "c",
        "warnings": '["odd"]', "stages": '{"jump": 1.5}', "log": "",
        "products": [product("/out/e0_rate.fits")],
    },
    {"state": "kept", "products": [product("/out/e1_rate.fits"), product("/out/e1_rateints.fits")]},
    {"state": "failed", "reason": "e2: is empty", "log": "Traceback"},
    {"state": "quarantined", "reason": "e3: killed its workers"},
    {"state": "waiting"},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return record_batch(tmp_path_factory.mktemp("out"), EXPOSURES, "interrupted", "the driver died")


def test_the_ledger_alone_tells_states_and_counts(folder):
    result = Result(folder, 0.0)
    assert (result.state, result.reason, result.exit_status) == (
        "interrupted",
        "the driver died",
        130,
    )
    assert result.counts == {"done": 1, "kept": 1, "failed": 1, "quarantined": 1, "waiting": 1}
    assert (result.name, result.output_dir) == (folder.name, folder.output)


def test_outcomes_are_those_of_the_exposures_that_have_one(folder):
    result = Result(folder, 0.0)
    assert [outcome.number for outcome in result.outcomes] == [0, 1, 2, 3]
    assert [outcome.number for outcome in result.done] == [0, 1]
    assert [outcome.error for outcome in result.failed] == [
        "e2: is empty",
        "e3: killed its workers",
    ]
    names = ["e0_rate.fits", "e1_rate.fits", "e1_rateints.fits"]
    assert result.products == [Path("/out", name) for name in names]


def test_an_outcome_has_all_that_was_recorded(folder):
    done, kept, failed, _ = Result(folder, 0.0).outcomes
    assert done.path == Path("/in/e0_uncal.fits")
    assert (done.began, done.seconds, done.cpu) == (10.0, 2.5, 2.0)
    assert (done.content, done.warnings, done.stages) == ("c", ("odd",), {"jump": 1.5})
    assert done.peaks == (MemoryPeak("host:7", 2**30),)
    assert [(p.path, p.size, p.mtime_ns, p.digest) for p in done.written] == [
        ("/out/e0_rate.fits", 5, 7, "digest")
    ]
    assert (done.kept, kept.kept) == (False, True)
    assert failed.details == "Traceback"
    assert failed.failed


def test_outcomes_of_some_states_can_be_asked_for(folder):
    result = Result(folder, 0.0)
    assert [outcome.number for outcome in result.each("kept", "quarantined")] == [1, 3]
    assert [outcome.number for outcome in result.each("waiting")] == [4]


def test_the_representation_is_short(folder):
    expected = f"<Result {folder.name}: 2 done, 2 failed, in {folder.output}>"
    assert repr(Result(folder, 0.0)) == expected


def test_html_shows_states_and_failures(folder):
    found = read_html(Result(folder, 2.0)._repr_html_())
    assert f"{folder.name} interrupted in 2.0 s" in found.text
    assert "the driver died" in found.text
    assert "\nfailures\nexposure\nreason\ne2_uncal.fits\ne2: is empty\n" in found.text
    assert "\ndone\n1\n" in found.text


def test_html_of_a_result_without_a_ledger_says_so(tmp_path):
    gone = BatchFolder(tmp_path, "20240131-120000-abcd")
    assert f"&lt;Result {gone.name}: its ledger cannot be read" in Result(gone, 0.0)._repr_html_()


def test_many_failures_are_cut_short(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHOWN", 2)
    bad = {"state": "failed", "reason": "<b>no"}
    found = read_html(Result(record_batch(tmp_path, [bad] * 3, "failed"), 0.0)._repr_html_())
    assert "the first 2 failures" in found.text
    assert found.text.count("<b>no") == 2


def test_unrecorded_outcomes_replace_those_of_the_ledger(folder):
    lost = (
        Outcome(number=4, path=Path("/in/e4_uncal.fits")),
        Outcome(number=0, path=Path("/in/e0_uncal.fits"), error="e0: is gone"),
    )
    result = Result(
        folder,
        1.0,
        Ending(state="failed", reason="no room", total=5, done=2, failed=3, unrecorded=lost),
    )
    assert (result.state, result.reason, result.exit_status) == ("failed", "no room", 1)
    assert result.counts == {"done": 1, "kept": 1, "failed": 2, "quarantined": 1}
    assert [outcome.number for outcome in result.done] == [1, 4]
    assert [outcome.number for outcome in result.each("failed")] == [0, 2]


@pytest.mark.parametrize(
    ("state", "status"), [("done", 0), ("failed", 1), ("cancelled", 130), ("interrupted", 130)]
)
def test_the_exit_status_follows_from_the_state(folder, state, status):
    assert Result(folder, 0.0, Ending(state=state)).exit_status == status


def test_a_result_can_be_read_without_its_driver(folder):
    result = read_result(folder)
    assert result.seconds == pytest.approx(result.batch.ended - result.batch.started)
    assert result.ending is None
    assert result.state == "interrupted"


def test_the_time_of_a_running_batch_grows(tmp_path):
    folder = record_batch(tmp_path, [{}], state="running")
    record_driver(folder, os.getpid())
    first = read_result(folder).seconds
    assert 0 <= first < read_result(folder).seconds


def test_a_batch_that_the_ledger_does_not_have_is_an_error(folder):
    stranger = type(folder)(folder.output, "20240131-120000-abcd")
    with pytest.raises(LedgerError, match="has no batch 20240131-120000-abcd"):
        _ = Result(stranger, 0.0).state
