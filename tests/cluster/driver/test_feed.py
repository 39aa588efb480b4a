"""Planning ahead, with a fake planner."""

import threading

import pytest
from support.fakes import FakePlanner, exposure_path, inputs, plan
from support.waiting import GENEROUS, eventually

from calbatch.cluster.driver.feed import Feed, number_inputs
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.models.errors import FileError, StorageError
from calbatch.models.threads import pause

QUICK = RetryPolicy(first_delay=0.0, retries=2)


def failed_plan(number, error=StorageError):
    return plan(number, error=error(exposure_path(number), "no"), source=None)


def drain(feed):
    """Return all exposures of a feed, in order."""
    found = []

    def is_exhausted():
        while (planned := feed.next()) is not None:
            found.append(planned)
        return feed.exhausted

    eventually(is_exhausted)
    return found


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_exposures_are_fed_in_order(ahead, count):
    with Feed(FakePlanner(), inputs(count), ahead=ahead) as feed:
        assert [planned.number for planned in drain(feed)] == list(range(count))
        assert feed.next() is None


def test_the_first_block_is_planned_on_entry():
    planner = FakePlanner()
    with Feed(planner, inputs(9), ahead=False):
        assert planner.calls == [[0, 1]]


def test_only_a_few_blocks_are_planned_ahead():
    planner = FakePlanner()
    with Feed(planner, inputs(100)) as feed:
        eventually(lambda: len(planner.calls) >= 3)
        assert len(planner.calls) <= 5
        drain(feed)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_temporary_failure_is_planned_again_after_the_others(ahead):
    planner = FakePlanner({0: [failed_plan(0), failed_plan(0), plan(0)]})
    with Feed(planner, inputs(4), QUICK, ahead=ahead) as feed:
        found = drain(feed)
    assert sorted(planned.number for planned in found) == [0, 1, 2, 3]
    assert found[0].number == 1
    assert all(planned.error is None for planned in found)


@pytest.mark.parametrize("ahead", [True, False])
def test_the_feed_is_not_exhausted_before_a_retry_is_due(ahead):
    planner = FakePlanner({0: [failed_plan(0), plan(0)]})
    policy = RetryPolicy(first_delay=0.05, retries=2)
    with Feed(planner, inputs(3), policy, ahead=ahead) as feed:
        assert sorted(planned.number for planned in drain(feed)) == [0, 1, 2]
    assert sorted(planner.calls) == [[0], [0, 1], [2]]


def test_a_failure_that_persists_is_fed_with_its_error():
    planner = FakePlanner({0: [failed_plan(0)]})
    with Feed(planner, inputs(1), QUICK) as feed:
        (found,) = drain(feed)
    assert isinstance(found.error, StorageError)
    assert planner.calls == [[0]] * 3


def test_a_final_failure_is_fed_at_once():
    planner = FakePlanner({0: [failed_plan(0, FileError)]})
    with Feed(planner, inputs(2), QUICK, ahead=False) as feed:
        assert isinstance(feed.next().error, FileError)
    assert planner.calls == [[0, 1]]


def test_an_exposure_is_planned_again_on_request():
    planner = FakePlanner({1: [plan(1), plan(1, content="new")]})
    with Feed(planner, inputs(2)) as feed:
        drain(feed)
        assert feed.replan(1, exposure_path(1)).content == "new"


class Failing(FakePlanner):
    """Cannot choose references any more after some blocks."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def plan_block(self, exposures):
        if len(self.calls) >= self.after:
            raise RequestError("no rules")
        return super().plan_block(exposures)


@pytest.mark.parametrize("ahead", [True, False])
def test_an_error_in_the_first_block_is_raised_on_entry(ahead):
    with pytest.raises(RequestError, match="no rules"), Feed(Failing(0), inputs(3), ahead=ahead):
        pytest.fail("it was entered")


@pytest.mark.parametrize("ahead", [True, False])
def test_a_later_error_is_raised_where_exposures_are_taken(ahead):
    with Feed(Failing(1), inputs(9), ahead=ahead) as feed:
        with pytest.raises(RequestError, match="no rules"):
            drain(feed)
        assert feed.next() is None
        assert feed.exhausted


def test_leaving_ends_the_thread():
    with Feed(FakePlanner(), inputs(100)):
        assert "calbatch-feed" in [thread.name for thread in threading.enumerate()]
    assert "calbatch-feed" not in [thread.name for thread in threading.enumerate()]


def test_inputs_are_numbered_from_0():
    paths = [exposure_path(n) for n in range(3)]
    assert number_inputs(paths) == list(enumerate(paths))


def test_waits_of_the_thread_end_with_the_feed():
    ended = []

    class Waiting(FakePlanner):
        """A planner that waits from the second block on."""

        def plan_block(self, exposures):
            found = super().plan_block(exposures)
            if len(self.calls) > 1:
                try:
                    pause(100 * GENEROUS)
                finally:
                    ended.append(len(self.calls))
            return found

    planner = Waiting()
    with Feed(planner, inputs(9)):
        eventually(lambda: len(planner.calls) > 1)
    assert ended == [2]
