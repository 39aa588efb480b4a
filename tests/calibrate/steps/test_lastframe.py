"""The last group of MIRI's integrations is excluded as by jwst's step."""

import numpy as np
import pytest
from support.detector_steps import assert_same, jwst_result, ramp
from support.step_contract import StepContract

from calbatch.calibrate.steps.lastframe import LastFrameStep
from calbatch.models.dq import DO_NOT_USE

MIRI = {"instrument": "MIRI", "detector": "MIRIMAGE"}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.agreement
@pytest.mark.parametrize(
    ("groups", "described", "status"),
    [(2, MIRI, "SKIPPED"), (3, MIRI, "COMPLETE"), (7, MIRI, "COMPLETE"), (7, {}, "SKIPPED")],
)
def test_agreement_with_jwst(rng, groups, described, status):
    from jwst.lastframe import LastFrameStep as JwstStep

    exposure = ramp(rng, ints=2, groups=groups, **described)
    ours = LastFrameStep().run(exposure.ours())
    theirs = jwst_result(JwstStep, exposure.theirs())
    assert_same(ours, theirs)
    assert ours.meta.cal_step.lastframe == theirs.meta.cal_step.lastframe == status
    excluded = np.asarray(ours.groupdq)[:, -1] & DO_NOT_USE != 0
    assert excluded.all() == (status == "COMPLETE")


class TestContract(StepContract):
    name = "lastframe"
    detector = "MIRIMAGE"
