"""Snowballs and showers of simulated exposures: agreement with jwst, and with the truth."""

import pytest
from support.agreement import compare_steps
from support.cases import long
from support.simulated import offline, small_exposure

from calbatch.calibrate.simulate import Noise, score_bursts

# Deprecation warnings of jwst and its dependencies are not under test here.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

SNOWBALLS = {"expand_large_events": True, "edge_size": 5}
SHOWERS = {"find_showers": True}


@pytest.mark.parametrize(
    ("detector", "noise", "fields", "parameters", "completeness"),
    [
        ("NRCA1", {"snowballs": 300.0}, {"ngroups": 7}, SNOWBALLS, 0.7),
        ("NIS", {"showers": 100.0}, {"ngroups": 14}, SHOWERS, 0.5),
        long(
            "NRS1",
            {"snowballs": 200.0},
            {"ngroups": 6, "nints": 3},
            SNOWBALLS | {"mask_snowball_core_next_int": True},
            0.7,
        ),
        long("MIRIMAGE", {"showers": 50.0}, {"ngroups": 16, "nints": 2}, SHOWERS, 0.1),
        *(long("NRCB4", {"snowballs": 300.0}, {"ngroups": 7, "seed": n}, SNOWBALLS, 0.6)
          for n in range(1, 5)),
        *(long("GUIDER1", {"showers": 100.0}, {"ngroups": 14, "seed": n}, SHOWERS, 0.1)
          for n in range(1, 5)),
    ],
)  # fmt: skip
def test_bursts_are_found_as_by_jwst(detector, noise, fields, parameters, completeness):
    """Flags equal jwst's after every step. The scores are compared for themselves, too.

    ``completeness`` shows that bursts were injected and found. That of showers is lower, since many
    of their pixels receive less than the noise, and jwst finds only those that are large enough.
    """
    quiet = Noise(correlated=False, **noise)
    exposure = small_exposure(detector, shape=(96, 96), noise=quiet, **fields)
    with offline(exposure.set):
        pairs = {found.step: (found, wanted) for found, wanted in compare_steps(
            exposure.path, read_noise=5.0, jump=parameters
        )}  # fmt: skip
    found, wanted = (
        score_bursts(exposure.truth, arrays.fields["groupdq"]) for arrays in pairs["jump"]
    )
    assert found.bursts >= 2
    assert found.found > completeness
    assert found.found >= wanted.found - 0.01
    assert found.false <= wanted.false < 0.01
