"""DQ initialization agrees with jwst's step."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from jwst.dq_init import DQInitStep as JwstDQInitStep
from support.detector_steps import (
    FIELDS,
    PERMUTED,
    assert_same,
    assert_tiling_is_invisible,
    flags,
    jwst_result,
    ramp,
    reference_file,
)
from support.simulated import small_exposure
from support.step_contract import StepContract

from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps.dq_init import DQInitStep, apply_mask
from calbatch.models import datamodels
from calbatch.models.dq import DO_NOT_USE, HOT
from calbatch.models.errors import FileError

SHAPE = (12, 20)


@pytest.fixture
def rng():
    return np.random.default_rng(13)


def mask_file(path, rng, shape=SHAPE, **options):
    return reference_file(path, {"DQ": flags(rng, shape, chance=0.3)}, **options)


def user_file(path, array):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(array)]).writeto(path)
    return path


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("ints", [1, 3])
    @pytest.mark.parametrize("bits", [None, PERMUTED], ids=["standard", "permuted"])
    def test_full_mask(self, tmp_path, rng, ints, bits):
        from jwst.dq_init import DQInitStep as JwstStep

        mask = mask_file(tmp_path / "mask.fits", rng, bits=bits)
        exposure = ramp(rng, ints=ints, shape=SHAPE)
        ours = DQInitStep(override_mask=mask).run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), override_mask=mask)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.dq_init == theirs.meta.cal_step.dq_init == "COMPLETE"

    @pytest.mark.parametrize("dtype", ["u1", "i4", "u4"])
    @pytest.mark.parametrize("where", ["primary", "extension"])
    def test_user_flags_on_a_subarray(self, tmp_path, rng, dtype, where):
        from jwst.dq_init import DQInitStep as JwstStep

        mask = mask_file(tmp_path / "mask.fits", rng, (40, 50), origin=(11, 21), bits=PERMUTED)
        more = (flags(rng, SHAPE) & 0x7F).astype(dtype)
        user = tmp_path / "user.fits"
        fits.PrimaryHDU(more).writeto(user) if where == "primary" else user_file(user, more)
        exposure = ramp(rng, shape=SHAPE, origin=(15, 30))
        parameters = {"override_mask": mask, "user_supplied_dq": user}
        ours = DQInitStep(**parameters).run(exposure.ours())
        assert_same(ours, jwst_result(JwstStep, exposure.theirs(), **parameters))


class TestStep:
    def test_raw_exposure_gets_its_flags(self, tmp_path, rng):
        mask = reference_file(tmp_path / "mask.fits", {"DQ": np.full(SHAPE, HOT, "u4")})
        raw = datamodels.Level1bModel(np.full((1, 2, *SHAPE), 7, "u2"))
        raw.update(ramp(rng, shape=SHAPE).ours(), only=["meta.subarray", "meta.instrument"])
        result = DQInitStep(override_mask=mask).run(raw)
        assert isinstance(result, datamodels.RampModel)
        assert (np.asarray(result.pixeldq) == HOT).all()
        assert (np.asarray(result.groupdq) == 0).all()
        assert np.asarray(result.data).dtype == np.float32

    def test_unusable_pixels_have_unusable_groups(self):
        mask = np.array([[0, DO_NOT_USE, HOT, HOT | DO_NOT_USE]], "u4")
        before = np.full((1, 2, 1, 4), 4, "u1")
        _, groupdq = apply_mask(np.zeros((1, 4), "u4"), before, mask=mask, user_dq=None)
        assert groupdq[0].tolist() == [[[4, 5, 4, 5]]] * 2

    def test_results_do_not_depend_on_tiles(self, tmp_path, rng):
        user = user_file(tmp_path / "user.fits", flags(rng, SHAPE))
        mask = mask_file(tmp_path / "mask.fits", rng)
        step = DQInitStep(override_mask=mask, user_supplied_dq=user)
        assert_tiling_is_invisible(step, ramp(rng, shape=SHAPE).ours())

    def test_no_mask_skips(self, rng):
        result = DQInitStep(override_mask="N/A").run(ramp(rng).ours())
        assert result.meta.cal_step.dq_init == "SKIPPED"

    def test_user_flags_of_another_size(self, tmp_path, rng):
        user = user_file(tmp_path / "user.fits", flags(rng, (3, 4)))
        step = DQInitStep(
            override_mask=mask_file(tmp_path / "mask.fits", rng), user_supplied_dq=user
        )
        wanted = r"user\.fits: .* 12 rows and 20 columns, but is \(3, 4\)"
        with pytest.raises(StepError, match=wanted):
            step.run(ramp(rng, shape=SHAPE).ours())

    def test_missing_user_file(self, tmp_path, rng):
        mask = mask_file(tmp_path / "mask.fits", rng)
        step = DQInitStep(override_mask=mask, user_supplied_dq=tmp_path / "none.fits")
        with pytest.raises(FileError, match=r"none\.fits"):
            step.run(ramp(rng, shape=SHAPE).ours())

    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            ({"readpatt": "NRSIRS2"}, r"IRS2 readout .* should have 3200 rows"),
        ],
    )
    def test_unsupported_readouts(self, rng, facts, message):
        with pytest.raises(StepError, match=message):
            DQInitStep(override_mask="N/A").run(ramp(rng, exposure=facts).ours())


@pytest.mark.parametrize("opened", [datamodels.open, datamodels.Level1bModel, str])
def test_flags_of_a_raw_file_are_kept_as_in_jwst(tmp_path, rng, opened):
    exposure = small_exposure("NIS", shape=(24, 24), ngroups=3, nints=2)
    path = shutil.copy(exposure.path, tmp_path / "own_uncal.fits")
    own = {"PIXELDQ": flags(rng, (24, 24)), "GROUPDQ": rng.integers(0, 8, (2, 3, 24, 24), "u1")}
    with fits.open(path, mode="append") as hdus:
        hdus.extend(fits.ImageHDU(array, name=name) for name, array in own.items())
    mask = exposure.reference("mask")
    theirs = jwst_result(JwstDQInitStep, str(path), override_mask=mask)
    DQInitStep(override_mask=mask).run(opened(path)).save(tmp_path / "ours.fits", fsync=False)
    with fits.open(tmp_path / "ours.fits") as found:
        names = [hdu.name for hdu in found]
        assert len(names) == len(set(names))
        assert (found["PIXELDQ"].data & own["PIXELDQ"] == own["PIXELDQ"]).all()
        for name, hdu in zip(FIELDS, ("SCI", "GROUPDQ", "PIXELDQ"), strict=True):
            np.testing.assert_array_equal(found[hdu].data, getattr(theirs, name), err_msg=name)


def test_kernel_does_not_modify_its_inputs(rng):
    exposure, mask = ramp(rng, shape=SHAPE), flags(rng, SHAPE)
    for array in (exposure.pixeldq, exposure.groupdq, mask):
        array.flags.writeable = False
    pixeldq, groupdq = apply_mask(exposure.pixeldq, exposure.groupdq, mask=mask, user_dq=mask)
    assert (pixeldq.dtype, groupdq.dtype) == (np.uint32, np.uint8)


def test_real_product(real_data):
    folder = real_data / "nirspec_sub512"
    step = DQInitStep(override_mask=folder / "mask_syn.fits")
    result = step.run(datamodels.open(folder / "nrs1_sub512_syn_uncal.fits"))
    with fits.open(folder / "nrs1_sub512_syn_dq_init.fits") as wanted:
        for name, hdu in zip(FIELDS, ("SCI", "GROUPDQ", "PIXELDQ"), strict=True):
            np.testing.assert_array_equal(np.asarray(getattr(result, name)), wanted[hdu].data)


class TestContract(StepContract):
    name = "dq_init"
