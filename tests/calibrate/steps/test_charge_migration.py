"""Charge migration: agreement with jwst's step, and individual rules."""

import numpy as np
import pytest
from support.detector_steps import (
    assert_same,
    assert_tiling_is_invisible,
    jwst_result,
    ramp,
)
from support.step_contract import StepContract

from calbatch.calibrate.steps.charge_migration import ChargeMigrationStep, flag_charge_loss
from calbatch.models.dq import CHARGELOSS, DO_NOT_USE, JUMP_DET, SATURATED

LOST = CHARGELOSS | DO_NOT_USE


@pytest.fixture
def rng():
    return np.random.default_rng(9)


def on(**parameters):
    return ChargeMigrationStep(skip=False, **parameters)


def flag_pixels(data, groupdq=0, threshold=100.0):
    """Return the flags of one integration, (groups, rows, columns)."""
    data = np.asarray(data, "f4")[None]
    before = np.broadcast_to(np.asarray(groupdq, "u1"), data.shape)
    return flag_charge_loss(data, before, threshold=threshold)[0]


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("ints", [1, 3])
    @pytest.mark.parametrize("groups", [2, 3, 8])
    @pytest.mark.parametrize("parameters", [{}, {"signal_threshold": 45000.5}], ids=str)
    def test_step(self, rng, ints, groups, parameters):
        from jwst.charge_migration import ChargeMigrationStep as JwstStep

        exposure = ramp(rng, ints=ints, groups=groups, shape=(18, 21))
        exposure.groupdq[rng.random(exposure.groupdq.shape) < 0.3] |= np.uint8(DO_NOT_USE)
        ours = on(**parameters).run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), **parameters)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.charge_migration == theirs.meta.cal_step.charge_migration
        found = np.asarray(ours.groupdq)
        assert np.any(found & CHARGELOSS) == (groups > 2)


class TestRules:
    def test_a_pixel_and_its_four_neighbours_are_flagged_from_then_on(self):
        data = np.zeros((3, 4, 5))
        data[1, 0, 2] = 101
        found = flag_pixels(data)
        cross = np.zeros((4, 5), "u1")
        cross[0, 1:4] = cross[1, 2] = LOST
        np.testing.assert_array_equal(found, [np.zeros_like(cross), cross, cross])

    @pytest.mark.parametrize("value", [100.0, np.nan])
    def test_the_threshold_itself_and_nan_do_not_count(self, value):
        assert not flag_pixels(np.full((3, 2, 2), value)).any()

    @pytest.mark.parametrize(
        ("flag", "counts"), [(DO_NOT_USE, False), (DO_NOT_USE | SATURATED, True), (JUMP_DET, True)]
    )
    def test_only_groups_flagged_do_not_use_alone_are_left_out(self, flag, counts):
        found = flag_pixels(np.full((3, 1, 1), 101.0), flag)
        assert (found == (flag | LOST if counts else flag)).all()


class TestStep:
    def test_it_is_skipped_by_default(self, rng):
        exposure = ramp(rng)
        result = ChargeMigrationStep().run(exposure.ours())
        assert result.meta.cal_step.charge_migration == "SKIPPED"
        np.testing.assert_array_equal(np.asarray(result.groupdq), exposure.groupdq)

    def test_results_do_not_depend_on_tiles(self, rng):
        exposure = ramp(rng, ints=2, groups=6, shape=(17, 9))
        assert_tiling_is_invisible(on(), exposure.ours())


class TestContract(StepContract):
    name = "charge_migration"
    parameters = {"skip": False, "signal_threshold": 300.0}

    def test_the_contract_is_tested_on_flagged_samples(self):
        flags = [np.asarray(model.groupdq) for model in self.results()]
        assert any(np.any(array & CHARGELOSS) for array in flags)
