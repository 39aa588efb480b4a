"""IRS2 exposures go through detector1 as through jwst 3.0.0, after each step and at the end."""

import numpy as np
import pytest
from support.agreement import assert_agreement
from support.simulated import offline, small_exposure

pytestmark = [
    pytest.mark.agreement,
    pytest.mark.slow,  # jwst takes six seconds for each group
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.parametrize(("detector", "readpatt"), [("NRS1", "NRSIRS2RAPID"), ("NRS2", "NRSIRS2")])
def test_a_full_frame(detector, readpatt):
    exposure = small_exposure(detector, subarray="FULL", readpatt=readpatt, ngroups=3, size=None)
    with offline(exposure.set):
        found = assert_agreement(exposure.path, read_noise=5.0)
    assert found["superbias"].fields["data"].shape[-2:] == (3200, 2048)
    rate = found["rate"].fields["data"]
    assert rate.shape == (2048, 2048)
    assert np.isfinite(rate).mean() > 0.8
    assert found["rate"].status["refpix"] == "COMPLETE"
