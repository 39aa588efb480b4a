"""Pipeline guider: the order of its steps, its product, and the exposures that it rejects."""

import numpy as np
import pytest
from support.guide_stars import guide_star, guide_star_references

from calbatch.calibrate.pipelines.guider import GuiderPipeline
from calbatch.calibrate.step import StepError
from calbatch.models import datamodels


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def path(tmp_path, rng):
    return guide_star(tmp_path / "a_uncal.fits", rng, "FGS_ACQ1")


@pytest.fixture
def references(tmp_path, rng, path):
    return guide_star_references(tmp_path, rng)


def calibrate(path, references, *skipped):
    pipeline = GuiderPipeline()
    pipeline.configure(references, "test")
    pipeline.configure({alias: {"skip": True} for alias in skipped}, "test")
    return pipeline.run(path)


def test_the_order_is_that_of_the_observatory():
    from jwst.pipeline import GuiderPipeline as JwstGuider

    assert list(GuiderPipeline.step_defs) == list(JwstGuider.step_defs)


def test_the_product_has_the_suffix_cal(tmp_path, path, references):
    GuiderPipeline.call(path, steps=references, save_results=True)
    assert type(datamodels.open(tmp_path / "a_cal.fits")) is datamodels.GuiderCalModel


def test_rates_can_be_divided_by_the_flat_later(tmp_path, path, references):
    at_once = calibrate(path, references)
    rates = tmp_path / "a_guider_cds.fits"
    calibrate(path, references, "flat_field").save(rates)
    later = calibrate(rates, references, "dq_init", "guider_cds")
    for name in ("data", "err", "dq"):
        found, wanted = (np.asarray(getattr(model, name)) for model in (later, at_once))
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_without_rates_there_is_nothing_to_divide(path, references):
    with pytest.raises(StepError, match=r"a_uncal\.fits: guider_cds was skipped, .* skip it"):
        calibrate(path, references, "guider_cds")


def test_flags_alone(path, references):
    result = calibrate(path, references, "guider_cds", "flat_field")
    assert type(result) is datamodels.GuiderRawModel
    assert result.meta.cal_step.flat_field == "SKIPPED"
    assert np.asarray(result.dq).any()


@pytest.mark.parametrize("skipped", [(), ("dq_init", "guider_cds")])
def test_other_exposures_are_rejected(tmp_path, rng, skipped):
    path = guide_star(tmp_path / "b.fits", rng, "FGS_IMAGE", counts=(1, 2))
    with pytest.raises(StepError, match=r"EXP_TYPE is FGS_IMAGE.* detector1"):
        calibrate(path, {}, *skipped)


def test_raw_reads_are_not_rates(path):
    with pytest.raises(StepError, match="must hold the rates of a guide-star exposure"):
        calibrate(path, {}, "dq_init", "guider_cds")


def test_rates_are_not_raw_reads(tmp_path, path, references):
    calibrate(path, references).save(tmp_path / "a_cal.fits")
    with pytest.raises(StepError, match="must be a raw guide-star exposure"):
        calibrate(tmp_path / "a_cal.fits", references)
