"""Gain scale agrees with jwst's step."""

import numpy as np
import pytest
from astropy.io import fits
from support.detector_steps import jwst_result, reference_file
from support.step_contract import StepContract

from calbatch.calibrate.steps.gain_scale import GainScaleStep
from calbatch.models import datamodels

VARIANCES = ("var_poisson", "var_rnoise")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def rates(rng, modules, cls, factor=None, variances=VARIANCES):
    """Return a model of random rates; equal generator states yield equal models."""
    shape = (6, 9) if cls == "ImageModel" else (3, 6, 9)
    fields = {name: rng.normal(50, 20, shape).astype("f4") for name in ("data", "err", *VARIANCES)}
    fields["data"][..., 2, 3] = np.nan
    model = getattr(modules, cls)(fields.pop("data"), err=fields.pop("err"))
    for name in variances:
        setattr(model, name, fields[name])
    model.meta.instrument.name = "NIRSPEC"
    if factor is not None:
        model.meta.exposure.gain_factor = factor
    return model


def gain_file(folder, factor):
    path = reference_file(folder / "gain.fits", {"SCI": np.ones((6, 9), "f4")})
    if factor is not None:
        fits.setval(path, "GAINFACT", value=factor)
    return path


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("cls", ["ImageModel", "CubeModel"])
    @pytest.mark.parametrize(
        ("own", "reference"), [(2.0, 5.0), (1.234, None), (None, 0.3), (None, None)]
    )
    @pytest.mark.parametrize("variances", [VARIANCES, VARIANCES[:1], ()], ids=len)
    def test_factor(self, tmp_path, cls, own, reference, variances):
        from jwst.gain_scale import GainScaleStep as JwstStep
        from stdatamodels.jwst import datamodels as jwst_models

        gain = gain_file(tmp_path, reference)
        theirs, ours = (
            rates(np.random.default_rng(1), m, cls, own, variances)
            for m in (jwst_models, datamodels)
        )
        wanted = jwst_result(JwstStep, theirs, override_gain=gain)
        found = GainScaleStep(override_gain=gain).run(ours)
        for name in ("data", "err", *variances):
            array = np.asarray(getattr(found, name))
            np.testing.assert_array_equal(array, getattr(wanted, name), err_msg=name)
            assert array.dtype == np.float32
        assert not any(found.has(name) for name in set(VARIANCES) - set(variances))
        for path in ("cal_step.gain_scale", "exposure.gain_factor"):
            assert found[f"meta.{path}"] == wanted[f"meta.{path}"]


class TestContract(StepContract):
    name = "gain_scale"
    input_kind = "rates"


def test_no_reference_skips(rng):
    model = rates(rng, datamodels, "ImageModel")
    result = GainScaleStep(override_gain="N/A").run(model)
    assert result.meta.cal_step.gain_scale == "SKIPPED"
    np.testing.assert_array_equal(np.asarray(result.data), np.asarray(model.data))


def test_reference_is_not_needed_if_the_exposure_has_a_factor(rng):
    model = rates(rng, datamodels, "ImageModel", 2.0)
    result = GainScaleStep(override_gain="N/A").run(model)
    np.testing.assert_array_equal(np.asarray(result.data), 2 * np.asarray(model.data))
