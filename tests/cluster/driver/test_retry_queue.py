"""The queue of waiting attempts."""

from hypothesis import given
from hypothesis import strategies as st
from support.fakes import plan

from calbatch.cluster.driver.recording import Attempt
from calbatch.cluster.driver.retry_queue import RetryQueue


def attempt(number, due=0.0, *, alone=False):
    return Attempt(plan(number), due=due, alone=alone)


def take_due(queue, now, *, alone=False):
    """Return the numbers of all attempts that are due, in order."""
    found = []
    while (one := queue.take(now, alone=alone)) is not None:
        found.append(one.planned.number)
    return found


def test_attempts_are_taken_when_they_are_due_the_earliest_first():
    queue = RetryQueue()
    for number, due in enumerate((3.0, 1.0, 2.0, 9.0)):
        queue.add(attempt(number, due))
    assert take_due(queue, 0.5) == []
    assert take_due(queue, 3.0) == [1, 2, 0]
    assert queue.has_exposures(alone=False)
    assert take_due(queue, 9.0) == [3]
    assert not queue.has_exposures(alone=False)


def test_attempts_due_at_the_same_time_keep_their_order():
    queue = RetryQueue()
    for number in range(5):
        queue.add(attempt(number))
    assert take_due(queue, 0.0) == list(range(5))


def test_suspects_are_queued_separately():
    queue = RetryQueue()
    queue.add(attempt(0, alone=True))
    assert queue.peek().planned.number == 0
    queue.add(attempt(1, due=5.0))
    assert queue.peek().planned.number == 1
    assert queue.take(0.0, alone=False) is None
    assert take_due(queue, 0.0, alone=True) == [0]
    assert not queue.has_exposures(alone=True)


def test_peeking_removes_nothing():
    queue = RetryQueue()
    assert queue.peek() is None
    queue.add(attempt(0))
    assert queue.peek() is queue.peek()
    assert take_due(queue, 0.0) == [0]


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans())), st.floats(0, 10))
def test_nothing_is_lost_or_early(attempts, now):
    queue = RetryQueue()
    for number, (due, alone) in enumerate(attempts):
        queue.add(attempt(number, due, alone=alone))
    for alone in (False, True):
        due = {n for n, (at, a) in enumerate(attempts) if a is alone and at <= now}
        assert set(take_due(queue, now, alone=alone)) == due
        assert queue.has_exposures(alone=alone) == any(
            a is alone and at > now for at, a in attempts
        )
