"""The table of detectors is complete and consistent."""

import pytest

from calbatch.calibrate.simulate.instruments import (
    DETECTORS,
    READPATTS,
    SUBARRAYS,
    find_detector,
)


@pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
def test_each_detector_has_patterns_subarrays_and_two_axes(detector):
    assert find_detector(detector.name) is detector
    assert {abs(detector.fastaxis), abs(detector.slowaxis)} == {1, 2}
    assert detector.family.readpatt in READPATTS[detector.instrument]
    assert SUBARRAYS[detector.instrument]
    assert detector.family.gain > 0


def test_detectors_have_distinct_numbers():
    assert len({detector.sca for detector in DETECTORS.values()}) == len(DETECTORS)


def test_an_unknown_detector_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no detector 'NRCA9': choose one of NRCA1, .*MIRIMAGE"):
        find_detector("NRCA9")
