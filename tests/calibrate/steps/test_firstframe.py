"""The first group of MIRI's integrations is excluded as by jwst's step."""

import numpy as np
import pytest
from support.detector_steps import assert_same, jwst_result, ramp
from support.step_contract import StepContract

from calbatch.calibrate.steps.firstframe import FirstFrameStep
from calbatch.models.dq import FLUX_ESTIMATED

MIRI = {"instrument": "MIRI", "detector": "MIRIMAGE"}


@pytest.fixture
def rng():
    return np.random.default_rng(6)


@pytest.mark.agreement
@pytest.mark.filterwarnings("ignore:'FirstFrameStep' has been deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("groups", "described", "status"),
    [(3, MIRI, "SKIPPED"), (4, MIRI, "COMPLETE"), (7, MIRI, "COMPLETE"), (7, {}, "SKIPPED")],
)
@pytest.mark.parametrize("bright", [True, False])
def test_agreement_with_jwst(rng, groups, described, status, bright):
    from jwst.firstframe import FirstFrameStep as JwstStep

    exposure = ramp(rng, ints=2, groups=groups, **described)
    exposure.pixeldq &= ~np.uint32(FLUX_ESTIMATED)
    ours = FirstFrameStep(skip=False, bright_use_group1=bright).run(exposure.ours())
    theirs = jwst_result(JwstStep, exposure.theirs(), bright_use_group1=bright)
    assert_same(ours, theirs)
    assert ours.meta.cal_step.firstframe == theirs.meta.cal_step.firstframe == status
    estimated = np.asarray(ours.pixeldq) & FLUX_ESTIMATED != 0
    assert estimated.any() == (bright and status == "COMPLETE")


def test_it_is_skipped_by_default(rng):
    exposure = ramp(rng, **MIRI)
    result = FirstFrameStep()(exposure.ours())
    assert result.meta.cal_step.firstframe == "SKIPPED"
    np.testing.assert_array_equal(np.asarray(result.groupdq), exposure.groupdq)


class TestContract(StepContract):
    name = "firstframe"
    detector = "MIRIMAGE"
    parameters = {"skip": False}
