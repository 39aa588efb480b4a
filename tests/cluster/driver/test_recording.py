"""Recording outcomes in a ledger."""

import json

import pytest
from support.fakes import exposure_path, plan
from support.measured_batches import statistics_of

from calbatch.calibrate.steps.jump import JumpStep
from calbatch.cluster.driver.recording import Attempt, Recorder
from calbatch.cluster.exposure.outcome import MemoryPeak, Outcome
from calbatch.cluster.exposure.policy import FailureHistory, FailureKind, RetryAction
from calbatch.cluster.ledger import Ledger, ProductRow
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planned_exposure import StepSettings
from calbatch.models.fits.writer import Product

PRODUCT = Product("/out/1_rate.fits", 5, 7, "digest")


class Records:
    """A ledger with one batch, and a recorder that writes it."""

    def __init__(self, folder):
        self.ledger = Ledger(folder)
        paths = [str(exposure_path(n)) for n in range(3)]
        self.batch = self.ledger.add_batch(
            "b", "jump", paths, request={}, parameters={}, software={}
        )
        self.sums = ReferenceChecksums(self.ledger.find_checksum, self.ledger.add_reference)
        self.outcomes = []
        self.recorder = self.new_recorder()

    def new_recorder(self):
        return Recorder(self.ledger, self.batch, self.sums, self.outcomes.append)

    def rows(self, table):
        self.ledger.commit()
        return list(self.ledger._rows(f"SELECT * FROM {table} ORDER BY id"))

    def exposure(self, number=1):
        return self.rows("exposures")[number]


@pytest.fixture
def records(tmp_path):
    made = Records(tmp_path / "state")
    yield made
    made.sums.close()
    made.ledger.close()


def outcome(**fields):
    return Outcome(number=1, path=exposure_path(1), **fields)


def test_a_plan_is_recorded_with_header_and_parameters(records):
    planned = plan(1)
    records.recorder.record_plan(planned)
    row = records.exposure()
    assert (row["state"], row["size"], row["mtime_ns"]) == ("running", 10, 20)
    assert row["digest"] == "header 1"
    known = records.ledger.find_headers([(str(exposure_path(1)), 10, 20)])
    assert known[str(exposure_path(1))].header == {"meta.number": 1}
    bodies = [json.loads(body["body"]) for body in records.rows("bodies")]
    assert bodies == [{"meta.number": 1}, {"": {}}]  # the first header, which others resemble
    assert planned.header == {}


def test_parameters_that_exposures_share_are_stored_once(records):
    for number in range(3):
        records.recorder.record_plan(plan(number))
    assert [body["body"] for body in records.rows("bodies")].count('{"": {}}') == 1
    assert len({row["parameters"] for row in records.rows("exposures")}) == 1


def test_a_known_header_is_not_stored_again(records):
    records.recorder.record_plan(plan(1, is_known=True))
    assert records.ledger.find_headers([(str(exposure_path(1)), 10, 20)]) == {}


def test_the_reason_for_a_rerun_is_recorded(records):
    records.recorder.record_plan(plan(1, rerun_reason="its contents have changed"))
    assert records.exposure()["note"] == "its contents have changed"
    (event,) = records.rows("events")
    assert (event["kind"], event["number"]) == ("changed", 1)


def test_an_exposure_without_a_header_is_not_recorded_as_planned(records):
    records.recorder.record_plan(plan(1, source=None))
    assert records.exposure()["state"] == "waiting"


def test_a_success_is_recorded_with_products_and_attempt(records):
    one = Attempt(plan(1), serial=1)
    peaks = (MemoryPeak("vm:7", 100), MemoryPeak("vm:8", 200))
    records.recorder.record_start(one)
    done = outcome(
        written=(PRODUCT,), peaks=peaks, seconds=2.0, cpu=1.0, warnings=("odd",),
        stages={"jump": 1.5}, content="c",
    )  # fmt: skip
    records.recorder.record_outcome(one, done)
    row = records.exposure()
    assert (row["state"], row["attempts"], row["peak"], row["content"]) == ("done", 1, 200, "c")
    assert json.loads(row["warnings"]) == ["odd"]
    assert json.loads(row["stages"]) == {"jump": 1.5}
    (attempt,) = records.rows("attempts")
    assert (attempt["result"], attempt["worker"], attempt["log"]) == ("done", "vm:7", "odd")
    assert [row["path"] for row in records.rows("products")] == ["/out/1_rate.fits"]
    assert records.outcomes == [done]
    assert (records.recorder.done, records.recorder.failed) == (1, 0)
    identity = plan(1).identity(records.sums)
    assert records.ledger.find_products([identity]) == {
        identity: [ProductRow("/out/1_rate.fits", 5, 7, "digest")]
    }


def test_statistics_are_recorded_with_their_product(records):
    found = statistics_of(1)
    done = outcome(written=(PRODUCT,), statistics={PRODUCT.path: found, "/out/other": found})
    records.recorder.record_outcome(Attempt(plan(1), serial=1), done)
    records.ledger.commit()
    (measured,) = records.ledger.measured_products(records.recorder.batch)
    assert measured.statistics == found
    assert len(list(records.rows("statistics"))) == 1


@pytest.mark.parametrize(
    ("action", "state"),
    [(RetryAction.FAIL, "failed"), (RetryAction.QUARANTINE, "quarantined")],
)
def test_a_final_failure_is_recorded(records, action, state):
    one = Attempt(plan(1), serial=2, alone=True, history=FailureHistory(deaths_alone=3))
    lost = outcome(error="it died", kind=FailureKind.DEATH)
    records.recorder.record_outcome(one, lost, "began now in vm:9\nmore", action)
    row = records.exposure()
    assert (row["state"], row["reason"], row["deaths"]) == (state, "it died", 3)
    (attempt,) = records.rows("attempts")
    assert (attempt["number"], attempt["alone"], attempt["worker"]) == (2, 1, "vm:9")
    assert records.recorder.failed == 1


def test_a_failure_in_planning_has_no_attempt(records):
    records.recorder.record_outcome(Attempt(plan(1, source=None)), outcome(error="is empty"))
    assert records.exposure()["state"] == "failed"
    assert records.rows("attempts") == []


def test_a_retry_is_recorded_with_an_event(records):
    one = Attempt(plan(1), serial=1)
    records.recorder.record_retry(one, fail_of(FailureKind.STORAGE), "a log", 1.5, alone=True)
    assert records.exposure()["state"] == "retrying"
    (event,) = records.rows("events")
    assert event["text"].endswith("; retrying in 1.5 s, alone")
    (attempt,) = records.rows("attempts")
    assert (attempt["result"], attempt["log"]) == ("storage", "a log")
    assert records.outcomes == []


def fail_of(kind):
    return outcome(error=f"{exposure_path(1)}: no", kind=kind)


def test_kept_products_are_recorded(records):
    row = ProductRow("/out/1_rate.fits", 5, 7, "digest")
    planned = plan(1, earlier_products=[row], content="c")
    records.recorder.record_kept(planned, outcome(written=(PRODUCT,), kept=True))
    found = records.exposure()
    assert (found["state"], found["content"]) == ("kept", "c")
    assert found["identity"] == planned.identity(records.sums)
    assert len(records.rows("products")) == 1
    assert records.recorder.done == 1


def test_references_are_recorded_with_their_checksums(records, tmp_path):
    file = tmp_path / "gain.fits"
    file.write_bytes(b"abc")
    step = JumpStep(override_gain=str(file))
    planned = plan(1, settings=StepSettings(step=step, digest="d", body={}))
    records.recorder.record_outcome(Attempt(planned, serial=1), outcome(written=(PRODUCT,)))
    bodies = [json.loads(body["body"]) for body in records.rows("bodies")]
    sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert {"jump.override_gain": [str(file), sha1]} in bodies


def test_outcomes_are_uncommitted_until_the_ledger_commits(records):
    done = outcome(written=(PRODUCT,))
    records.recorder.record_outcome(Attempt(plan(1), serial=1), done)
    assert records.recorder.find_uncommitted() == [done]
    records.ledger.commit()
    assert records.recorder.find_uncommitted() == []


def test_attempts_are_counted_on_from_earlier_drivers(records):
    one = Attempt(plan(1), serial=1)
    assert records.recorder.next_attempt(Attempt(plan(1))) == 1
    records.recorder.record_start(one)
    records.ledger.commit()
    later = records.new_recorder()
    assert later.next_attempt(Attempt(plan(1))) == 2
    assert later.next_attempt(Attempt(plan(1), serial=4)) == 5
    assert later.next_attempt(Attempt(plan(2))) == 1


def test_attempts_of_a_lost_site_are_recorded_as_lost(records):
    for number in range(2):
        records.recorder.record_start(Attempt(plan(number), serial=1))
    records.recorder.record_outcome(
        Attempt(plan(0), serial=1), Outcome(number=0, path=exposure_path(0))
    )
    records.recorder.record_lost_site("the site was lost")
    found = [(row["exposure"] - 1, row["result"]) for row in records.rows("attempts")]
    assert found == [(0, "done"), (1, "lost")]
