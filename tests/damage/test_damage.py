"""Damage to everything that a batch reads gives a clear error or data, and nothing else.

The default suite runs a seeded sample. For a long run::

    CALBATCH_DAMAGE_CASES=5000 pytest -n 0 -m slow tests/damage -rP

A case is determined by the name of its subject and its number: ``CALBATCH_DAMAGE_ONLY=uncal:17``
repeats one case.
"""

import itertools
import os
import sys
from collections import Counter

import pytest
from support.damage_subjects import OF_MIRI, make_miri_world, make_world
from support.damaged import CLASSES, NONE_OF

SAMPLE = 60
LONG = int(os.environ.get("CALBATCH_DAMAGE_CASES", "3000"))
START = int(os.environ.get("CALBATCH_DAMAGE_START", "1000"))
ONLY = os.environ.get("CALBATCH_DAMAGE_ONLY", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with make_world(tmp_path_factory.mktemp("damage")) as made:
        yield made


@pytest.fixture(scope="module")
def miri(tmp_path_factory):
    with make_miri_world(tmp_path_factory.mktemp("miri")) as made:
        yield made


def number_cases(world, count, start=0):
    """Yield a number of cases, with the subjects in turn."""
    for number, name in zip(range(count), itertools.cycle(world.subjects), strict=False):
        yield name, start + number // len(world.subjects)


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def outcomes(world, cases):
    """Run cases, print the count of each class, and return the forbidden outcomes."""
    counted, bad = Counter(), []
    for name, number in cases:
        case = world.case(name, number)
        counted[case.subject, case.outcome] += 1
        if case.outcome in NONE_OF or os.environ.get("CALBATCH_DAMAGE_VERBOSE"):
            bad.append(case)
            say(str(case))
    for name in dict.fromkeys(name for name, _ in counted):
        row = ", ".join(f"{counted[name, c]} {c}" for c in CLASSES if counted[name, c])
        say(f"{name:48} {row}")
    return [str(case) for case in bad if case.outcome in NONE_OF]


@pytest.mark.timeout(1200)  # on busy machines
def test_a_sample_of_damage(world):
    assert outcomes(world, number_cases(world, SAMPLE)) == []


@pytest.mark.ci
@pytest.mark.timeout(1200)
def test_a_sample_of_damage_to_references_of_miri(miri):
    assert miri.subjects.keys() == {*OF_MIRI, "ipc"}
    assert outcomes(miri, number_cases(miri, SAMPLE // 2)) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("made", ["world", "miri"])
def test_thousands_of_damages(made, request):
    world = request.getfixturevalue(made)
    cases = number_cases(world, LONG if made == "world" else LONG // 10, START)
    if ONLY:
        name, _, number = ONLY.rpartition(":")
        cases = [(name, int(number))] if name in world.subjects else []
    assert outcomes(world, cases) == []
