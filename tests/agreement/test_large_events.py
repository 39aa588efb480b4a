"""Snowballs and showers of simulated exposures: agreement with jwst, and with the truth."""

import pytest
from support.agreement import assert_agreement
from support.simulated import offline, small_exposure

from calbatch.calibrate.simulate import Noise, score_bursts

# Deprecation warnings of jwst and its dependencies are not under test here.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("detector", "noise", "ngroups", "parameters", "completeness"),
    [
        ("NRCA1", {"snowballs": 300.0}, 7, {"expand_large_events": True, "edge_size": 5}, 0.7),
        ("NIS", {"showers": 100.0}, 14, {"find_showers": True}, 0.5),
    ],
)
def test_bursts_are_found_as_by_jwst(detector, noise, ngroups, parameters, completeness):
    """Flags equal jwst's after every step, and so do completeness and false positives.

    The limits show that bursts were injected and found. That of showers is lower, since many of
    their pixels receive less than the noise.
    """
    quiet = Noise(correlated=False, **noise)
    exposure = small_exposure(detector, shape=(96, 96), ngroups=ngroups, noise=quiet)
    with offline(exposure.set):
        found = assert_agreement(exposure.path, read_noise=5.0, jump=parameters)
    score = score_bursts(exposure.truth, found["jump"].fields["groupdq"])
    assert score.bursts >= 2
    assert score.found > completeness
    assert score.false < 0.01
