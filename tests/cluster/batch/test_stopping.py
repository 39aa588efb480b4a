"""Stopping drivers."""

import os

import pytest
from support.recorded import record_batch

from calbatch.cluster.batch import liveness
from calbatch.cluster.batch import stopping as module
from calbatch.cluster.batch.liveness import record_driver, record_job
from calbatch.cluster.batch.stopping import stop_driver
from calbatch.cluster.driver.control import StopRequest, read_stop_request
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import View


def read_state(folder):
    with View(folder.state) as view:
        return view.batch(folder.name).state


@pytest.mark.parametrize(("now", "wanted"), [(True, StopRequest.NOW), (False, StopRequest.DRAIN)])
def test_a_driver_is_asked_to_stop(tmp_path, now, wanted):
    folder = record_batch(tmp_path, [{}], state="running")
    record_driver(folder, os.getpid())
    stop_driver(folder, now=now)
    assert read_stop_request(folder.control) is wanted
    assert read_state(folder) == "running"


def test_a_batch_whose_job_is_queued_is_cancelled_at_once(tmp_path, monkeypatch):
    cancelled = []
    monkeypatch.setattr(module, "cancel_job", cancelled.append)
    monkeypatch.setattr(liveness, "is_job_alive", lambda job: True)
    folder = record_batch(tmp_path, [{}], state=None)
    record_job(folder, "4711")
    stop_driver(folder)
    assert cancelled == ["4711"]
    assert read_state(folder) == "cancelled"


@pytest.mark.parametrize("state", ["done", "interrupted"])
def test_a_batch_that_has_ended_is_left_alone(tmp_path, state):
    folder = record_batch(tmp_path, [{}], state)
    with pytest.raises(RequestError, match=rf"is not running \({state}\)"):
        stop_driver(folder)
    assert not folder.control.exists()
