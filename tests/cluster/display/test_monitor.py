"""Snapshots of a running batch: states, counts, failures, and texts that are safe to show."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.cluster.display import monitor as monitor_module
from calbatch.cluster.display.monitor import (
    LONGEST_TEXT,
    MOST_FAILURES,
    STATE_LETTERS,
    BatchMonitor,
    describe_failed,
    encode_runs,
    shorten,
)
from calbatch.cluster.exposure.outcome import Outcome

HOSTILE = "/data/<script>alert(1)</script>\x1b[31m\u202e\n" + "x" * 10_000


def make_monitor(states=("waiting",) * 3, **options):
    names = {"batch": "b", "pipeline": "detector1", "output": "/secret/out"}
    return BatchMonitor(**names, states=states, left=len(states), **options)


def outcome(number, error="", **fields):
    return Outcome(number=number, path=Path(f"/secret/{number}_uncal.fits"), error=error, **fields)


def decode(runs):
    return re.sub(r"([a-z])(\d+)", lambda run: run[1] * int(run[2]), runs)


@given(st.text("".join(STATE_LETTERS.values()), max_size=300))
def test_runs_stand_for_the_states_in_order(letters):
    assert decode(encode_runs(letters)) == letters


def test_runs_of_a_large_batch_are_short():
    assert encode_runs("d" * 99_999 + "r") == "d99999r"


def test_a_snapshot_has_the_state_of_each_exposure():
    monitor = make_monitor(["kept", "waiting", "waiting", "waiting"])
    for number, state in ((1, "running"), (2, "running"), (2, "retrying"), (1, "done")):
        monitor.set_state(number, state)
    snapshot = monitor.take_snapshot()
    assert decode(snapshot.grid) == "kdtw"
    assert snapshot.counts == {"kept": 1, "done": 1, "retrying": 1, "waiting": 1}
    assert (snapshot.total, snapshot.state) == (4, "running")


def test_a_batch_without_a_site_has_ended_or_stopped():
    monitor = make_monitor(["done", "waiting"])
    assert monitor.take_snapshot(running=False).state == "stopped"
    monitor.set_state(1, "quarantined")
    assert monitor.take_snapshot(running=False).state == "ended"


def test_seconds_of_steps_add_up():
    monitor = make_monitor()
    monitor.add(outcome(0, stages={"jump": 1.5, "ramp_fit": 1.0}))
    monitor.add(outcome(1, stages={"jump": 2.0}))
    assert monitor.take_snapshot().steps == {"jump": 3.5, "ramp_fit": 1.0}


def test_hits_of_the_reference_caches_add_up():
    monitor = make_monitor()
    for number, hits in ((0, 0), (1, 3)):
        monitor.add(outcome(number, cache_requests=4, cache_hits=hits))
    snapshot = monitor.take_snapshot()
    assert (snapshot.cache_hits, snapshot.cache_requests) == (3, 8)


def test_the_latest_failures_are_kept():
    count = MOST_FAILURES + 5
    monitor = make_monitor(["waiting"] * count)
    for number in range(count):
        monitor.set_state(number, "failed")
        monitor.add(outcome(number, f"/secret/{number}_uncal.fits: too dark"))
    failures = monitor.take_snapshot().failures
    assert [failure.number for failure in failures] == list(range(5, count))
    assert failures[-1].path == f"/secret/{count - 1}_uncal.fits"
    assert {failure.reason for failure in failures} == {"too dark"}


def test_an_exposure_that_is_tried_again_is_no_failure():
    earlier = describe_failed(1, "/secret/1_uncal.fits", "/secret/1_uncal.fits: too dark")
    monitor = make_monitor(["done", "failed", "done"], failures=[earlier])
    assert monitor.take_snapshot().failures == (earlier,)
    monitor.set_state(1, "running")
    assert monitor.take_snapshot().failures == ()


def test_the_public_part_has_states_and_numbers_only():
    monitor = make_monitor()
    monitor.site = "the scheduler at secret.example"
    monitor.set_state(0, "failed")
    monitor.add(outcome(0, "/secret/0_uncal.fits: the reason is secret"))
    snapshot = monitor.take_snapshot()
    public, private = (json.dumps(p) for p in (snapshot.public_part(), snapshot.private_part()))
    assert "secret" not in public
    assert Counter(re.findall(r"secret", private))["secret"] == 4


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE[::-1], "\x00" * 3000, "\n"])
def test_hostile_text_is_one_short_line_without_control_characters(text):
    found = shorten(text)
    assert found.isprintable()
    assert len(found) <= LONGEST_TEXT


def test_hostile_names_and_reasons_are_shortened():
    failed = describe_failed(7, HOSTILE, f"{HOSTILE}: {HOSTILE}")
    assert failed.path.startswith("/data/<script>alert(1)</script>\\x1b[31m\\u202e\\n")
    assert failed.path.isprintable()
    assert failed.reason.isprintable()
    assert max(len(failed.path), len(failed.reason)) == LONGEST_TEXT


def test_the_disk_is_measured_now_and_then(monkeypatch):
    sizes = iter([100, 90, 80])
    monitor = make_monitor(measure_free=lambda: next(sizes))
    monitor.add(outcome(0))
    assert monitor.take_snapshot().free == 100
    monkeypatch.setattr(monitor_module, "DISK_EVERY", 0.0)
    monitor.add(outcome(1))
    assert monitor.take_snapshot().free == 90


def test_a_snapshot_can_be_sent_as_json():
    monitor = make_monitor()
    monitor.add(outcome(0))
    snapshot = monitor.take_snapshot()
    sent = json.dumps([snapshot.public_part(), snapshot.private_part()], allow_nan=False)
    assert json.loads(sent)[0]["batch"] == "b"
