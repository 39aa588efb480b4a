"""Exceptions of a batch."""

import pytest

from calbatch.calibrate.errors import StepError
from calbatch.cluster.errors import (
    DeathError,
    FencedError,
    LostError,
    RequestError,
    SiteLostError,
    is_expected,
)
from calbatch.cluster.exposure.outcome import classify_failure
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.crds_client.errors import CrdsError
from calbatch.models.errors import FileError


@pytest.mark.parametrize(
    "error",
    [
        RequestError("no exposures"),
        StepError("jump: no"),
        CrdsError("no rules"),
        FileError("/a.fits", "is empty"),
        OSError("disk"),
        FencedError("gone"),
        SiteLostError("gone"),
    ],
)
def test_errors_that_concern_the_request_are_expected(error):
    assert is_expected(error)


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), ValueError("x"), TypeError()])
def test_other_exceptions_are_defects(error):
    assert not is_expected(error)


def test_lost_exposures_and_dead_workers_are_different_kinds_of_failures():
    assert classify_failure(LostError("lost")) is FailureKind.LOST
    assert classify_failure(DeathError("died")) is FailureKind.DEATH
