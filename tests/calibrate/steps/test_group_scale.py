"""Group scale agrees with jwst's step."""

import numpy as np
import pytest
from support.detector_steps import assert_same, jwst_result, ramp
from support.step_contract import StepContract

from calbatch.calibrate.steps.group_scale import GroupScaleStep, scale_groups


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.mark.agreement
@pytest.mark.parametrize(
    ("nframes", "divisor"),
    [(5, 4), (5, 8), (3, 2), (4, 4), (1, 1), (4, None), (5, None), (None, 4), (None, None)],
)
def test_agrees_with_jwst(rng, nframes, divisor):
    from jwst.group_scale import GroupScaleStep as JwstStep

    facts = {"nframes": nframes, "frame_divisor": divisor}
    exposure = ramp(rng, ints=2, groups=3, exposure=facts)
    ours, theirs = GroupScaleStep().run(exposure.ours()), jwst_result(JwstStep, exposure.theirs())
    assert_same(ours, theirs)
    assert ours.meta.cal_step.group_scale == theirs.meta.cal_step.group_scale
    scaled = not np.array_equal(np.asarray(ours.data), exposure.data, equal_nan=True)
    assert scaled == (ours.meta.cal_step.group_scale == "COMPLETE")


def test_kernel_does_not_modify_its_inputs(rng):
    data = ramp(rng).data
    data.flags.writeable = False
    assert scale_groups(data, factor=0.8).dtype == np.float32


class TestContract(StepContract):
    name = "group_scale"
