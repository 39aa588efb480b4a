"""Tasks whose results come back as messages, on a scheduler and a worker in this process."""

from pathlib import Path

import pytest
from distributed import Client
from support.fakes import succeed
from support.placed import jobs

from calbatch.cluster.sites.task_results import pack_task, run_task, send_result, unpack_result

KEY = ("superbias-b", 0, 1)
TOPIC = "results"


@pytest.fixture(scope="module")
def client():
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with Client(processes=False, set_as_default=False, **settings) as client:
        yield client


@pytest.fixture
def received(client):
    """Return the messages that have arrived."""
    messages = []
    client.subscribe_topic(TOPIC, lambda event: messages.append(event[1]))
    yield messages
    client.unsubscribe_topic(TOPIC)


@pytest.fixture
def job(tmp_path):
    (job,) = jobs([Path("/in/e0_uncal.fits")], tmp_path / "out")
    return job


def test_the_outcome_of_a_job_has_arrived_when_its_task_ends(client, received, job):
    future = client.submit(run_task, pack_task(succeed, job, TOPIC, KEY), key=KEY)
    assert future.result(60) is None
    ((key, packed),) = received
    assert (key, unpack_result(packed)) == (KEY, succeed(job))


def test_the_result_of_another_task_is_sent_like_an_outcome(client, received):
    saved = client.submit(sum, [1, 2])
    client.submit(send_result, saved, TOPIC, KEY, key=("superbias-b", 0, 2)).result(60)
    ((key, packed),) = received
    assert (key, unpack_result(packed)) == (KEY, 3)


def test_a_task_that_fails_sends_nothing(client, received, job):
    future = client.submit(run_task, pack_task(refuse, job, TOPIC, KEY), key=("superbias-b", 0, 3))
    assert str(future.exception(60)) == "no such device"
    assert received == []


def refuse(job):
    """Fail like a worker that cannot calibrate."""
    raise OSError("no such device")
