"""Reset anomaly agrees with jwst's step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.detector_steps import (
    PERMUTED,
    assert_same,
    flags,
    jwst_result,
    ramp,
    reference_file,
)
from support.step_contract import StepContract

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.steps.reset import ResetStep, subtract_reset

SHAPE = (6, 8)
MIRI = {"instrument": "MIRI", "detector": "MIRIMAGE"}


@pytest.fixture
def rng():
    return np.random.default_rng(17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resets")


def reset_file(path, rng, ints=2, groups=4, shape=SHAPE, **options):
    anomaly = rng.normal(0, 10, (ints, groups, *shape)).astype("f4")
    anomaly[rng.random(anomaly.shape) < 0.05] = np.nan
    path.unlink(missing_ok=True)
    cards = {"NINTS": ints, "NGROUPS": groups, "INSTRUME": "MIRI", **options}
    return reference_file(path, {"SCI": anomaly, "DQ": flags(rng, shape)}, **cards)


@pytest.mark.agreement
class TestAgreementWithJwst:
    @settings(max_examples=10, deadline=None)  # each runs jwst
    @given(
        seed=st.integers(0, 2**32),
        ints=st.sampled_from([1, 3]),
        groups=st.sampled_from([1, 2, 5, 10]),
        reset_ints=st.integers(1, 4),
        reset_groups=st.integers(1, 7),
        start=st.sampled_from([None, 1, 2, 6]),
    )
    def test_any_reset(self, folder, seed, ints, groups, reset_ints, reset_groups, start):
        from jwst.reset import ResetStep as JwstStep

        rng = np.random.default_rng(seed)
        path = reset_file(folder / "reset.fits", rng, reset_ints, reset_groups, bits=PERMUTED)
        end = None if start is None else start + ints - 1
        facts = {"integration_start": start, "integration_end": end}
        exposure = ramp(rng, ints=ints, groups=groups, shape=SHAPE, exposure=facts, **MIRI)
        ours = ResetStep(override_reset=path).run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), override_reset=path)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.reset == theirs.meta.cal_step.reset == "COMPLETE"


class TestStep:
    def test_header_may_limit_the_anomaly(self, tmp_path, rng):
        from jwst.reset import ResetStep as JwstStep

        path = reset_file(tmp_path / "reset.fits", rng, 3, 6, NINTS=2, NGROUPS=3)
        exposure = ramp(rng, ints=4, groups=5, shape=SHAPE, **MIRI)
        ours = ResetStep(override_reset=path).run(exposure.ours())
        assert_same(ours, jwst_result(JwstStep, exposure.theirs(), override_reset=path))

    @pytest.mark.agreement
    @pytest.mark.parametrize("facts", [{"nints": 5}, {"integration_start": 2, "nints": 9}])
    def test_the_integrations_of_the_file_count(self, tmp_path, rng, facts):
        """jwst 3.0.0 fails: it expects the integrations up to INTEND or, without that, NINTS."""
        from jwst.reset import ResetStep as JwstStep

        path = reset_file(tmp_path / "reset.fits", rng, 2, 4)
        exposure = ramp(rng, ints=3, groups=5, shape=SHAPE, exposure=facts, **MIRI)
        result = ResetStep(override_reset=path).run(exposure.ours())
        whole = ramp(rng, ints=3, groups=5, shape=SHAPE, exposure=facts, **MIRI)
        whole.data, whole.groupdq, whole.pixeldq = exposure.data, exposure.groupdq, exposure.pixeldq
        whole.exposure = {"integration_start": (start := facts.get("integration_start", 1))}
        whole.exposure["integration_end"] = start + 2
        assert_same(result, jwst_result(JwstStep, whole.theirs(), override_reset=path))
        with pytest.raises(IndexError):
            jwst_result(JwstStep, exposure.theirs(), override_reset=path)

    @pytest.mark.parametrize("keyword", ["NINTS", "NGROUPS"])
    def test_negative_numbers_in_the_header_are_rejected(self, tmp_path, rng, keyword):
        path = reset_file(tmp_path / "reset.fits", rng, 3, 6, **{keyword: -2})
        with pytest.raises(ReferenceFileError, match=rf"reset\.fits: {keyword} = -2 is negative"):
            ResetStep(override_reset=path).run(ramp(rng, shape=SHAPE, **MIRI).ours())

    def test_a_negative_first_integration_is_rejected(self, tmp_path, rng):
        path = reset_file(tmp_path / "reset.fits", rng, 3, 6)
        exposure = ramp(rng, shape=SHAPE, exposure={"integration_start": -2}, **MIRI)
        with pytest.raises(StepError, match="INTSTART must be at least 1, is -2"):
            ResetStep(override_reset=path).run(exposure.ours())

    def test_only_miri(self, rng):
        from jwst.reset import ResetStep as JwstStep

        exposure = ramp(rng, shape=SHAPE)
        ours = ResetStep(override_reset="N/A").run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), override_reset="N/A")
        assert_same(ours, theirs)
        assert ours.meta.cal_step.reset == theirs.meta.cal_step.reset == "SKIPPED"

    def test_reference_of_a_larger_frame_is_cut(self, tmp_path, rng):
        # jwst 3.0.0 requires a reference of the exposure's size
        path = reset_file(tmp_path / "reset.fits", rng, shape=(20, 30), origin=(10, 20))
        exposure = ramp(rng, shape=SHAPE, origin=(15, 24), **MIRI)
        result = ResetStep(override_reset=path).run(exposure.ours())
        last = np.asarray(result.data)[0, -1]
        np.testing.assert_array_equal(last, exposure.data[0, -1])  # the fifth group has no anomaly


def test_kernel_does_not_modify_its_inputs(rng):
    exposure, anomaly = ramp(rng, shape=SHAPE), rng.normal(0, 1, (1, 2, *SHAPE)).astype("f4")
    anomaly_dq = flags(rng, SHAPE)
    for array in (exposure.data, exposure.pixeldq, anomaly, anomaly_dq):
        array.flags.writeable = False
    data, pixeldq = subtract_reset(
        exposure.data, exposure.pixeldq, anomaly=anomaly, anomaly_dq=anomaly_dq, integration=(0,)
    )
    assert (data.dtype, pixeldq.dtype) == (np.float32, np.uint32)


class TestContract(StepContract):
    name = "reset"
    detector = "MIRIMAGE"
