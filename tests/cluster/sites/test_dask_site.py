"""The site that is a dask scheduler, with a fake client that keeps tasks until a test ends them."""

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import KilledWorker
from distributed.comm import CommClosedError
from distributed.protocol.pickle import dumps
from support.fake_dask import FakeClient
from support.fakes import succeed
from support.placed import jobs

from calbatch.cluster.errors import SiteLostError
from calbatch.cluster.exposure.outcome import MemoryPeak, Outcome
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.cluster.sites import dask_site
from calbatch.cluster.sites.dask_site import WINDOW_PER_THREAD, DaskSite
from calbatch.cluster.sites.silence import Condition, SilentWorker


@pytest.fixture
def client():
    return FakeClient()


@pytest.fixture
def site(client):
    return DaskSite(client, "exposure", "on two workers")


@pytest.fixture(autouse=True)
def look_always(monkeypatch):
    """Look for failed tasks in each call."""
    monkeypatch.setattr(dask_site, "LOOK_EVERY", -1.0)


@pytest.fixture
def three(tmp_path):
    return jobs([Path(f"/in/e{n}_uncal.fits") for n in range(3)], tmp_path / "out")


def submit_all(site, submitted):
    """Submit jobs, and send them."""
    for job in submitted:
        assert site.submit(job) is None
    return site.collect(0)


def collect(site, count):
    """Return so many outcomes by their numbers."""
    found = {}
    while len(found) < count:
        found |= {job.number: outcome for job, outcome in site.collect(0.01)}
    return found


def test_room_is_in_proportion_to_the_threads(site, client, monkeypatch):
    assert site.room() == WINDOW_PER_THREAD * 3
    client.threads = {"a": 9}
    assert site.room() == WINDOW_PER_THREAD * 3  # counted now and then
    monkeypatch.setattr(dask_site, "COUNT_EVERY", -1.0)
    assert site.room() == WINDOW_PER_THREAD * 9
    client.threads = {}
    assert site.room() == WINDOW_PER_THREAD


@pytest.mark.parametrize("error", [TimeoutError, CommClosedError])
def test_a_scheduler_that_does_not_answer_leaves_the_room_as_it_was(site, client, error):
    def silent():
        raise error

    client.scheduler.ncores = silent
    assert site.room() == WINDOW_PER_THREAD


def test_exposures_are_sent_together_oldest_first(site, client, three):
    submit_all(site, three[1:])
    assert client.graphs == [[1, 2]]
    assert client.priorities == {1: -1, 2: -1}
    keys = [future.key for future in client.futures.values()]
    assert [key[:2] for key in keys] == [(f"{three[0].step.name}-b", n) for n in (1, 2)]
    assert len(set(keys)) == 2


def test_outcomes_arrive_as_workers_return_them(site, client, three):
    assert submit_all(site, three) == []
    outcome = succeed(three[1])
    client.end(1, outcome)
    assert collect(site, 1) == {1: outcome}
    assert client.futures[1].released
    client.end(0, succeed(three[0]))
    client.end(2, succeed(three[2]))
    assert sorted(collect(site, 2)) == [0, 2]


def test_a_task_that_has_answered_is_released_when_it_has_ended(site, client, three):
    """dask would cancel it, and forget the times of its steps."""
    submit_all(site, three)
    client.end(0, succeed(three[0]))
    client.futures[0].status = "pending"  # the message is ahead of the end
    assert list(collect(site, 1)) == [0]
    assert not client.futures[0].released
    client.futures[0].status = "finished"
    client.end(1, succeed(three[1]))
    assert list(collect(site, 1)) == [1]
    assert client.futures[0].released


def test_results_that_arrive_together_are_collected_together(site, client, three):
    submit_all(site, three)
    for number in range(3):
        client.end(number, succeed(three[number]))
    assert [job.number for job, _ in site.collect(0)] == [0, 1, 2]


def test_other_messages_of_the_topic_are_ignored(site, client, three):
    submit_all(site, three)
    client.send({"action": "update-graph"})
    assert site.collect(0) == []


def test_an_outcome_is_that_of_a_task_rather_than_an_exposure(site, client, three):
    submit_all(site, three)
    site.withdraw([1])
    submit_all(site, [three[1]])
    key = client.futures[1].key
    client.send(((*key[:2], key[2] - 1), dumps(succeed(three[1]))))  # of the first attempt
    assert site.collect(0) == []
    client.end(1, succeed(three[1]))
    assert list(collect(site, 1)) == [1]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (KilledWorker("t", SimpleNamespace(address="tcp://w:1"), 1), FailureKind.DEATH,
         "its worker died (the last was tcp://w:1)"),
        (OSError("no such device"), FailureKind.FAULT, "no such device"),
    ],
)  # fmt: skip
def test_a_failed_task_is_a_failed_exposure(site, client, three, error, kind, words):
    submit_all(site, three)
    client.end(1, error)
    outcome = collect(site, 1)[1]
    assert (outcome.kind, outcome.failed) == (kind, True)
    assert outcome.error == f"/in/e1_uncal.fits: {words}"


def test_a_task_that_the_scheduler_cancels_is_lost(site, client, three):
    submit_all(site, three)
    client.futures[2].status = "cancelled"
    outcome = collect(site, 1)[2]
    assert outcome.kind is FailureKind.LOST
    assert outcome.error == "/in/e2_uncal.fits: the scheduler lost it"


def test_a_result_that_arrived_before_its_worker_died_counts(site, client, three):
    submit_all(site, three)
    client.end(0, succeed(three[0]))
    client.end(0, KilledWorker("t", SimpleNamespace(address="tcp://w:1"), 1))
    assert not collect(site, 1)[0].failed
    assert site.collect(0) == []


def test_a_result_that_cannot_be_read_fails_its_exposure_alone(site, client, three):
    submit_all(site, three)
    client.send((client.futures[1].key, b"damaged"))
    client.end(2, succeed(three[2]))
    found = collect(site, 2)
    assert [found[n].failed for n in (1, 2)] == [True, False]


def test_an_exposure_that_cannot_be_pickled_fails_alone(site, client, three):
    bad = replace(three[1], association=threading.Lock())
    [(job, outcome)] = submit_all(site, [three[0], bad, three[2]])
    assert (job.number, outcome.failed) == (1, True)
    assert sorted(client.futures) == [0, 2]


def test_nothing_is_submitted_to_a_lost_scheduler(site, client, three):
    client.status = "closed"
    with pytest.raises(SiteLostError, match="the connection to the scheduler was lost"):
        site.submit(three[0])
    with pytest.raises(SiteLostError):
        site.collect(0)


def test_outcomes_that_have_arrived_are_collected_before_a_loss_is_reported(site, client, three):
    submit_all(site, three)
    client.end(0, succeed(three[0]))
    client.status = "closed"
    assert [job.number for job, _ in site.collect(0)] == [0]
    with pytest.raises(SiteLostError):
        site.collect(0)


def test_a_client_that_has_connected_again_has_lost_its_exposures(site, client, three):
    submit_all(site, three)
    client.reconnect()
    with pytest.raises(SiteLostError, match="the connection to the scheduler was lost"):
        site.collect(0)
    with pytest.raises(SiteLostError):  # no exposure has failed, or counts a try
        site.collect(0)
    with pytest.raises(SiteLostError):
        site.submit(three[0])


# -- giving up ---------------------------------------------------------------------------------


def test_exposures_that_were_not_sent_are_forgotten(site, client, three):
    for job in three:
        site.submit(job)
    site.withdraw([0, 2])
    assert site.collect(0) == []
    assert sorted(client.futures) == [1]


@pytest.mark.parametrize(("numbers", "gone"), [(None, {0, 1, 2}), ([1], {1}), ([], set())])
def test_withdrawn_tasks_are_cancelled(site, client, three, numbers, gone):
    submit_all(site, three)
    site.withdraw(numbers)
    assert client.cancelled == [client.futures[n] for n in sorted(gone)]
    for number in range(3):
        client.end(number, succeed(three[number]))
    assert set(collect(site, 3 - len(gone))) == {0, 1, 2} - gone
    assert client.restarted == []


def test_workers_that_would_never_end_are_restarted(site, client, three):
    submit_all(site, three)
    client.processing = {
        "w1": [client.futures[0].key],
        "w2": [client.futures[1].key, client.futures[2].key],
    }
    assert site.running_numbers() == {0, 1, 2}
    site.withdraw([1], kill=True)
    assert client.restarted == ["w2"]


def test_a_scheduler_that_does_not_answer_runs_nothing_that_is_known(site, client, three):
    def silent():
        raise TimeoutError

    submit_all(site, three)
    client.scheduler.processing = silent
    assert site.running_numbers() == set()


def test_messages_are_received_until_all_exposures_are_withdrawn(site, client, three):
    submit_all(site, three)
    site.withdraw([0])
    assert list(client.topics) == [client.id]
    site.withdraw()
    assert client.topics == {}


# -- silent workers ----------------------------------------------------------------------------


def test_silent_workers_are_shown_with_their_exposures(site, client, three):
    submit_all(site, three)
    client.processing = {"w1": [client.futures[2].key, "another's"], "w2": []}
    site._watch = SimpleNamespace(look=lambda limit: [SilentWorker("w1", limit, Condition.BUSY)])
    assert site.find_silent(9.0) == [SilentWorker("w1", 9.0, Condition.BUSY, frozenset({2}))]
    for found in (None, []):
        site._watch = SimpleNamespace(look=lambda limit, found=found: found)
        assert site.find_silent(9.0) == found


@pytest.mark.parametrize(
    ("condition", "killed"), [(Condition.STOPPED, ["w1"]), (Condition.UNREACHABLE, [])]
)
def test_a_discarded_worker_is_removed_and_killed_if_it_is_stopped(
    site, client, monkeypatch, condition, killed
):
    gone, kills = [], []
    client.scheduler.unregister = lambda address, stimulus_id: gone.append(address)
    monkeypatch.setattr(dask_site, "kill_worker", lambda client, worker: kills.append(worker))
    site.discard_worker(SilentWorker("w1", 99.0, condition))
    assert (gone, kills) == (["w1"], killed)


# -- tiles -------------------------------------------------------------------------------------


class FakeWriter:
    """A writer of unfinished files in this process."""

    aborted = False

    def abort(self):
        self.aborted = True


@pytest.fixture
def tiles(client, monkeypatch):
    """Return a site whose tasks are tiles, and the writer of its exposures."""
    writer = FakeWriter()
    monkeypatch.setattr(dask_site, "prepare_job", lambda job: ("graph", [writer]))
    return DaskSite(client, "tile", "on two workers"), writer


def test_an_exposure_in_tiles_is_submitted_at_once(tiles, client, three, monkeypatch):
    site, writer = tiles
    monkeypatch.setattr(dask_site, "save_result", lambda result: result)
    monkeypatch.setattr(
        dask_site, "success",
        lambda job, saved, clock, remarks, peaks: Outcome(
            number=job.number, path=job.path, content=saved, peaks=tuple(peaks)
        ),
    )  # fmt: skip
    assert site.submit(three[1]) is None
    client.end(1, "saved")
    outcome = collect(site, 1)[1]
    assert outcome.content == "saved"
    assert outcome.peaks[0] == MemoryPeak("a:1", 7)
    assert len(outcome.peaks) == 2  # this process's, too
    assert writer.aborted


def test_an_exposure_that_cannot_be_prepared_fails_at_once(tiles, three, monkeypatch):
    def refuse(job):
        raise OSError("is empty")

    site, _ = tiles
    monkeypatch.setattr(dask_site, "prepare_job", refuse)
    assert site.submit(three[1]).error == "/in/e1_uncal.fits: is empty"


def test_unfinished_files_of_an_exposure_that_is_not_sent_are_removed(tiles, client, three):
    def refuse(graph, priority):
        raise TypeError("cannot pickle it")

    site, writer = tiles
    client.compute = refuse
    assert "cannot pickle it" in site.submit(three[0]).error
    assert writer.aborted


def test_unfinished_files_of_a_withdrawn_exposure_are_removed(tiles, client, three):
    site, writer = tiles
    site.submit(three[0])
    site.withdraw()
    assert writer.aborted
    assert client.cancelled == [client.futures[0]]
