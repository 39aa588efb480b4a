"""Snowballs and showers of simulated exposures: agreement with jwst, and with the truth."""

import numpy as np
import pytest
from support.agreement import assert_agreement
from support.simulated import offline, small_exposure

from calbatch.calibrate.simulate import Noise, score_bursts
from calbatch.models.dq import JUMP_DET, SATURATED

# Deprecation warnings of jwst and its dependencies are not under test here.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("detector", "noise", "ngroups", "parameters"),
    [
        ("NRCA1", {"snowballs": 6.0}, 7, {"expand_large_events": True, "edge_size": 5}),
        ("NIS", {"showers": 6.0}, 14, {"find_showers": True}),
    ],
)
def test_bursts_are_found_as_by_jwst(detector, noise, ngroups, parameters):
    quiet = Noise(correlated=False, **noise)
    exposure = small_exposure(detector, shape=(96, 96), nints=1, ngroups=ngroups, noise=quiet)
    with offline(
        exposure.set
    ):  # after every step, all flags are equal to jwst's, and so are scores
        found = assert_agreement(exposure.path, read_noise=5.0, jump=parameters)
        without = assert_agreement(exposure.path, read_noise=5.0)
    groupdq = found["jump"].fields["groupdq"]
    score = score_bursts(exposure.truth, groupdq)
    assert score.bursts >= 2
    assert score.found > score_bursts(exposure.truth, without["jump"].fields["groupdq"]).found
    assert np.any(groupdq & JUMP_DET)
    assert "snowballs" not in noise or np.any(groupdq & SATURATED)
