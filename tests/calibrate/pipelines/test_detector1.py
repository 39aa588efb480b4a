"""Pipeline detector1: the order of its steps, its products, and what it does not calibrate."""

import pytest

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.step import Step
from calbatch.models.datamodels import RampModel

NEAR_INFRARED = [
    "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
    "dark_current", "charge_migration", "jump", "picture_frame", "clean_flicker_noise",
    "persistence", "ramp_fit", "gain_scale",
]  # fmt: skip
"""The order in jwst 3.0.0's ``calwebb_detector1`` for near-infrared detectors."""


@pytest.fixture
def recording():
    """Return the pipeline with steps that only record their calls, and the record."""
    calls = []

    class Recorder(Step):
        """Record the call; as ramp_fit, return two models."""

        def process(self, model):
            calls.append(self.name)
            return (model, model.copy()) if self.name == "ramp_fit" else model

    class Recording(Detector1Pipeline):
        """The pipeline with recorders for steps."""

        step_defs = dict.fromkeys(Detector1Pipeline.step_defs, Recorder)

    return Recording(), calls


def ramp(instrument="NIRCAM"):
    model = RampModel((1, 2, 3, 4))
    model.meta.instrument.name = instrument
    return model


def written(pipeline, folder, **parameters):
    """Run a pipeline that writes its products to a folder; return their names."""
    pipeline.configure(
        {"": {"output_dir": str(folder), "output_file": "e.fits"} | parameters}, "test"
    )
    pipeline(ramp())
    return sorted(path.name for path in folder.iterdir())


def test_the_order_is_that_of_the_observatory(recording):
    pipeline, calls = recording
    rate, rateints = pipeline.run(ramp())
    assert calls == [*NEAR_INFRARED, "gain_scale"]  # once for each product
    assert rate is not rateints
    assert list(Detector1Pipeline.step_defs) == NEAR_INFRARED


def test_each_alias_is_the_module_of_its_step():
    assert {
        alias: step.__module__.rpartition(".")[2]
        for alias, step in Detector1Pipeline.step_defs.items()
    } == {alias: alias for alias in NEAR_INFRARED}


def test_the_products_are_rates(recording, tmp_path):
    names = written(recording[0], tmp_path, save_results=True)
    assert names == ["e_rate.fits", "e_rateints.fits"]


def test_the_calibrated_ramp_is_written_as_well_if_requested(recording, tmp_path):
    names = written(recording[0], tmp_path, save_results=True, save_calibrated_ramp=True)
    assert names == ["e_ramp.fits", "e_rate.fits", "e_rateints.fits"]


@pytest.mark.parametrize(("suffix", "name"), [(None, "e_ramp.fits"), ("mine", "e_mine.fits")])
def test_without_a_fit_the_product_is_the_ramp(recording, tmp_path, suffix, name):
    pipeline, calls = recording
    pipeline.ramp_fit.skip = True
    assert written(pipeline, tmp_path, save_results=True, suffix=suffix) == [name]
    assert calls == NEAR_INFRARED[:-2]


def test_skipped_steps_are_not_called(recording):
    pipeline, calls = recording
    pipeline.configure({alias: {"skip": True} for alias in ("jump", "refpix")}, "test")
    pipeline.run(ramp())
    assert not {"jump", "refpix"} & set(calls)


def test_miri_is_not_calibrated_yet(recording):
    pipeline, calls = recording
    with pytest.raises(StepError, match="detector1 does not support MIRI yet"):
        pipeline.run(ramp("MIRI"))
    assert calls == []
