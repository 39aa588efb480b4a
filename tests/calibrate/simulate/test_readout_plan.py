"""Plans of readouts: frames, times, and the order of pixels."""

import numpy as np
import pytest

from calbatch.calibrate.simulate import SimulationSpec
from calbatch.calibrate.simulate.instruments import DETECTORS, SUBARRAYS
from calbatch.calibrate.simulate.readout_plan import (
    fast_index,
    plan_readout,
    reference_pixels,
    slow_index,
)

NEAR_INFRARED = [name for name in DETECTORS if name != "MIRIMAGE"]


@pytest.mark.parametrize("name", NEAR_INFRARED)
def test_readout_axes_agree_with_jwst(name):
    from jwst.lib.reffile_utils import detector_science_frame_transform

    readout = plan_readout(SimulationSpec(name, "GENERIC", shape=(20, 30), corner=(101, 301)))
    detector = readout.detector
    slow, fast = np.mgrid[:2048, :2048]
    part = readout.frame.within(readout.full_frame)
    fast, slow = (
        detector_science_frame_transform(index, detector.fastaxis, detector.slowaxis)[part]
        for index in (fast, slow)
    )
    if abs(detector.fastaxis) == 2:
        fast, slow = fast.T, slow.T
    assert (fast == fast_index(detector, readout.frame)).all()
    assert (slow == slow_index(detector, readout.frame)[:, np.newaxis]).all()


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        (SimulationSpec("NRCA1"), 10.73676),
        (SimulationSpec("NRS1", "SUB512"), 0.22572),
        (SimulationSpec("MIRIMAGE"), 2.77504),
    ],
)
def test_frame_times_agree_with_the_observatory(spec, seconds):
    assert plan_readout(spec).frame_time == pytest.approx(seconds, abs=1e-5)


def test_groups_average_and_drop_frames():
    readout = plan_readout(SimulationSpec(readpatt="SHALLOW4", ngroups=3))
    assert (readout.nframes, readout.groupgap, readout.total_frames) == (4, 1, 14)
    groups = readout.group_of(np.arange(14))
    assert groups.tolist() == [0] * 4 + [1] * 5 + [2] * 5
    assert readout.group_time == pytest.approx(5 * readout.frame_time)


def test_given_frames_select_their_pattern():
    assert plan_readout(SimulationSpec(nframes=4, groupgap=1)).readpatt == "SHALLOW4"
    assert plan_readout(SimulationSpec(nframes=3)).readpatt == "RAPID"
    assert plan_readout(SimulationSpec(nframes=3)).nframes == 3


@pytest.mark.parametrize(
    ("name", "instrument"),
    [("NRCA1", "NIRCAM"), ("NIS", "NIRISS"), ("NRS2", "NIRSPEC"), ("GUIDER1", "FGS")],
)
def test_every_named_subarray_fits(name, instrument):
    for subarray in SUBARRAYS[instrument]:
        readout = plan_readout(SimulationSpec(name, subarray))
        assert readout.subarray == subarray
        assert not readout.is_full


def test_reference_pixels_surround_the_detector():
    full = plan_readout(SimulationSpec("NIS"))
    assert (~reference_pixels(full.detector, full.frame)).sum() == 2040**2
    miri = plan_readout(SimulationSpec("MIRIMAGE"))
    assert (~reference_pixels(miri.detector, miri.frame)).sum() == 1024 * 1024


def test_a_frame_beyond_the_detector_is_refused():
    spec = SimulationSpec("NRCA1", "GENERIC", shape=(64, 64), corner=(1986, 1))
    with pytest.raises(ValueError, match="64 rows x 64 columns from row 1986, column 1 do not fit"):
        plan_readout(spec)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detector": "NRCA6"}, "no detector 'NRCA6': choose one of NRCA1"),
        ({"ngroups": 0}, "ngroups=0"),
        ({"readpatt": "NISRAPID"}, "no readout pattern 'NISRAPID': choose one of RAPID"),
        ({"subarray": "SUB1"}, "subarray 'SUB1' has no known size"),
    ],
)
def test_impossible_specs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SimulationSpec(**arguments)
