"""What is done about failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.cluster.exposure.policy import DEATHS, Action, History, Kind, Policy

POLICY = Policy()
FINAL = (Action.FAIL, Action.QUARANTINE)


def decisions(*kinds, alone=False, policy=POLICY):
    history = History()
    return [policy.after(kind, history, alone=alone).action for kind in kinds]


def test_a_fault_of_the_exposure_is_final():
    assert decisions(Kind.FAULT) == [Action.FAIL]
    assert decisions(Kind.DEADLINE) == [Action.FAIL]


def test_a_disk_is_given_time():
    history = History()
    found = [POLICY.after(Kind.STORAGE, history, alone=False) for _ in range(5)]
    assert [d.action for d in found] == [Action.AGAIN] * 4 + [Action.FAIL]
    assert [d.delay for d in found[:4]] == [0.5, 1.0, 2.0, 4.0]


def test_a_full_disk_is_given_as_long_as_the_batch_is_patient():
    history, waited = History(), 0.0
    while (found := POLICY.after(Kind.FULL, history, alone=False)).action is Action.AGAIN:
        waited += found.delay
    assert POLICY.patience - POLICY.longest_delay < waited <= POLICY.patience
    assert decisions(Kind.FULL, policy=Policy(patience=0.0)) == [Action.FAIL]


def test_an_input_that_changes_is_planned_again_once():
    assert decisions(Kind.CHANGED, Kind.CHANGED) == [Action.AGAIN, Action.FAIL]


def test_deaths_in_company_make_a_suspect_and_deaths_alone_a_quarantine():
    history = History()
    found = [POLICY.after(Kind.CRASH, history, alone=n >= 2).action for n in range(5)]
    assert found == [Action.AGAIN, Action.ALONE, Action.ALONE, Action.ALONE, Action.QUARANTINE]


def test_deaths_that_nothing_explains_count_half():
    assert decisions(*[Kind.DEATH] * 6, alone=True) == [Action.ALONE] * 5 + [Action.QUARANTINE]
    mixed = [Kind.DEATH, Kind.CRASH, Kind.DEATH, Kind.MEMORY]
    assert decisions(*mixed, alone=True) == [Action.ALONE] * 3 + [Action.QUARANTINE]


def test_deaths_alone_are_given_time():
    history = History()
    found = [POLICY.after(Kind.DEATH, history, alone=True).delay for _ in range(5)]
    assert found == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_lack_of_memory_makes_a_suspect_at_once():
    assert decisions(Kind.MEMORY) == [Action.ALONE]


def test_deaths_in_company_alone_never_quarantine():
    assert set(decisions(*[Kind.DEATH] * 20)) == {Action.AGAIN, Action.ALONE}


def test_a_lost_scheduler_is_not_the_exposures_fault():
    assert set(decisions(*[Kind.LOST] * 20)) == {Action.AGAIN}


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.booleans()), min_size=1, max_size=80))
def test_whatever_happens_it_ends_and_never_quarantines_without_deaths_alone(events):
    history, blame = History(), 0.0
    for kind, alone in events:
        decision = POLICY.after(kind, history, alone=alone)
        blame += (0.5 if kind is Kind.DEATH else 1.0) * (alone and kind in DEATHS)
        assert 0 <= decision.delay <= POLICY.longest_delay
        assert (decision.action is Action.QUARANTINE) == (
            kind in DEATHS and blame >= POLICY.deaths_alone
        )
        if decision.action in FINAL:
            return


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_ends(kind):
    history = History()
    for _ in range(200):
        if POLICY.after(kind, history, alone=True).action in FINAL:
            return
    pytest.fail(f"{kind} never ends")
