"""The retry policy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.cluster.exposure.policy import (
    DEATHS,
    FailureHistory,
    FailureKind,
    RetryAction,
    RetryPolicy,
)

POLICY = RetryPolicy()
FINAL = (RetryAction.FAIL, RetryAction.QUARANTINE)


def decisions(*kinds, alone=False, policy=POLICY):
    history = FailureHistory()
    return [policy.decide(kind, history, alone=alone).action for kind in kinds]


def test_faults_and_deadlines_are_final():
    assert decisions(FailureKind.FAULT) == [RetryAction.FAIL]
    assert decisions(FailureKind.DEADLINE) == [RetryAction.FAIL]


def test_storage_failures_are_retried_with_growing_delays():
    history = FailureHistory()
    found = [POLICY.decide(FailureKind.STORAGE, history, alone=False) for _ in range(5)]
    assert [d.action for d in found] == [RetryAction.AGAIN] * 4 + [RetryAction.FAIL]
    assert [d.delay for d in found[:4]] == [0.5, 1.0, 2.0, 4.0]


def test_a_full_disk_is_retried_while_patience_lasts():
    history, waited = FailureHistory(), 0.0
    while (
        found := POLICY.decide(FailureKind.FULL, history, alone=False)
    ).action is RetryAction.AGAIN:
        waited += found.delay
    assert POLICY.patience - POLICY.longest_delay < waited <= POLICY.patience
    assert decisions(FailureKind.FULL, policy=RetryPolicy(patience=0.0)) == [RetryAction.FAIL]


def test_a_changed_input_is_retried_once():
    assert decisions(FailureKind.CHANGED, FailureKind.CHANGED) == [
        RetryAction.AGAIN,
        RetryAction.FAIL,
    ]


def test_shared_deaths_make_a_suspect_and_deaths_alone_quarantine():
    history = FailureHistory()
    found = [POLICY.decide(FailureKind.CRASH, history, alone=n >= 2).action for n in range(5)]
    assert found == [
        RetryAction.AGAIN,
        RetryAction.ALONE,
        RetryAction.ALONE,
        RetryAction.ALONE,
        RetryAction.QUARANTINE,
    ]


def test_unexplained_deaths_count_half():
    assert decisions(*[FailureKind.DEATH] * 6, alone=True) == [RetryAction.ALONE] * 5 + [
        RetryAction.QUARANTINE
    ]
    mixed = [FailureKind.DEATH, FailureKind.CRASH, FailureKind.DEATH, FailureKind.MEMORY]
    assert decisions(*mixed, alone=True) == [RetryAction.ALONE] * 3 + [RetryAction.QUARANTINE]


@pytest.mark.parametrize(
    ("deaths", "kinds", "action", "deaths_alone"),
    [
        (0, [], RetryAction.AGAIN, 0),
        (2, [], RetryAction.AGAIN, 0),
        (3, [], RetryAction.ALONE, 2),  # was quarantined
        (0, [FailureKind.DEATH], RetryAction.ALONE, 1),
        (0, [FailureKind.DEATH] * 6, RetryAction.QUARANTINE, 6),
        (0, [FailureKind.CRASH] * 3, RetryAction.QUARANTINE, 3),
        (3, [FailureKind.DEATH], RetryAction.ALONE, 3),
        (3, [FailureKind.CRASH], RetryAction.QUARANTINE, 3),
        (4, [FailureKind.CRASH] * 4, RetryAction.QUARANTINE, 4),  # those before it are included
    ],
)
def test_deaths_under_earlier_drivers_count(deaths, kinds, action, deaths_alone):
    history = FailureHistory()
    assert POLICY.recall(history, deaths, kinds) is action
    assert history.deaths_alone == deaths_alone


@pytest.mark.parametrize("limit", [0, 1])
def test_low_limits_refuse_only_exposures_that_have_died_since(limit):
    policy = RetryPolicy(deaths_alone=limit)
    assert policy.recall(FailureHistory(), 0, []) is RetryAction.AGAIN
    assert policy.recall(FailureHistory(), 0, [FailureKind.CRASH]) is RetryAction.QUARANTINE
    if limit:
        assert policy.recall(FailureHistory(), 1, []) is RetryAction.ALONE


def test_deaths_alone_are_retried_with_growing_delays():
    history = FailureHistory()
    found = [POLICY.decide(FailureKind.DEATH, history, alone=True).delay for _ in range(5)]
    assert found == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_running_out_of_memory_makes_a_suspect_at_once():
    assert decisions(FailureKind.MEMORY) == [RetryAction.ALONE]


def test_shared_deaths_never_quarantine():
    assert set(decisions(*[FailureKind.DEATH] * 20)) == {RetryAction.AGAIN, RetryAction.ALONE}


def test_a_lost_scheduler_is_not_blamed_on_the_exposure():
    assert set(decisions(*[FailureKind.LOST] * 20)) == {RetryAction.AGAIN}


@given(
    st.lists(st.tuples(st.sampled_from(list(FailureKind)), st.booleans()), min_size=1, max_size=80)
)
def test_only_deaths_alone_quarantine(events):
    history, blame = FailureHistory(), 0.0
    for kind, alone in events:
        decision = POLICY.decide(kind, history, alone=alone)
        blame += (0.5 if kind is FailureKind.DEATH else 1.0) * (alone and kind in DEATHS)
        assert 0 <= decision.delay <= POLICY.longest_delay
        assert (decision.action is RetryAction.QUARANTINE) == (
            kind in DEATHS and blame >= POLICY.deaths_alone
        )
        if decision.action in FINAL:
            return


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_ends(kind):
    history = FailureHistory()
    for _ in range(200):
        if POLICY.decide(kind, history, alone=True).action in FINAL:
            return
    pytest.fail(f"{kind} never ends")


@pytest.mark.parametrize(
    "limits",
    [{"deadline": -3.0}, {"deadline": 0.0}, {"patience": -1.0}, {"patience": math.nan},
     {"silence": math.nan}, {"retries": -1}],
)  # fmt: skip
def test_impossible_limits_are_refused_by_name(limits):
    [name] = limits
    with pytest.raises(ValueError, match=rf"^{name} = .* must be"):
        RetryPolicy(**limits)
