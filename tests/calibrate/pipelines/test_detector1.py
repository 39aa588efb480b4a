"""Pipeline detector1: the order of its steps, and its products."""

import pytest

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.step import Step
from calbatch.models.datamodels import RampModel

NEAR_INFRARED = [
    "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
    "dark_current", "charge_migration", "jump", "picture_frame", "clean_flicker_noise",
    "persistence", "ramp_fit", "gain_scale",
]  # fmt: skip
"""The order in jwst 3.0.0's ``calwebb_detector1`` for near-infrared detectors."""
MIRI = [
    "group_scale", "dq_init", "emicorr", "saturation", "ipc", "firstframe", "lastframe", "reset",
    "linearity", "rscd", "dark_current", "refpix", "charge_migration", "jump", "picture_frame",
    "clean_flicker_noise", "persistence", "ramp_fit", "gain_scale",
]  # fmt: skip
"""The same for MIRI."""


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


def write_products(pipeline, folder, **parameters):
    """Run a pipeline that writes its products to a folder; return their names."""
    pipeline.configure(
        {"": {"output_dir": str(folder), "output_file": "e.fits"} | parameters}, "test"
    )
    pipeline(ramp())
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("instrument", "order"),
    [("MIRI", MIRI), *((name, NEAR_INFRARED) for name in ("NIRCAM", "NIRISS", "NIRSPEC", "FGS"))],
)
def test_the_order_is_that_of_the_observatory(recording, instrument, order):
    pipeline, calls = recording
    rate, rateints = pipeline.run(ramp(instrument))
    assert calls == [*order, "gain_scale"]  # once for each product
    assert rate is not rateints
    assert [step.name for step in pipeline.steps_for(instrument)] == order
    assert set(pipeline.steps()) == {*MIRI, *NEAR_INFRARED}


def test_only_references_of_the_instrument_are_wanted():
    pipeline = Detector1Pipeline()
    miri, others = (pipeline.wanted_references(name) for name in ("MIRI", "NIRCAM"))
    assert miri - others == {"reset", "rscd"}
    assert others <= miri  # the superbias is wanted for saturation, too
    assert pipeline.wanted_references() == miri


def test_steps_of_a_subclass_keep_their_places(recording):
    class Added(type(recording[0])):
        """A pipeline with two more steps and one fewer, which also records its steps."""

        step_defs = {
            alias: Detector1Pipeline.step_defs["jump"]
            for alias in ("first", *Detector1Pipeline.step_defs, "last")
            if alias != "ipc"
        }

    order = [step.name for step in Added().steps_for("MIRI")]
    assert order == ["first", *(alias for alias in MIRI if alias != "ipc"), "last"]


def test_each_alias_is_the_module_of_its_step():
    assert {
        alias: step.__module__.rpartition(".")[2]
        for alias, step in Detector1Pipeline.step_defs.items()
    } == {alias: alias for alias in Detector1Pipeline.step_defs}


def test_the_products_are_rates(recording, tmp_path):
    names = write_products(recording[0], tmp_path, save_results=True)
    assert names == ["e_rate.fits", "e_rateints.fits"]


def test_the_calibrated_ramp_is_written_as_well_if_requested(recording, tmp_path):
    names = write_products(recording[0], tmp_path, save_results=True, save_calibrated_ramp=True)
    assert names == ["e_ramp.fits", "e_rate.fits", "e_rateints.fits"]


@pytest.mark.parametrize(("suffix", "name"), [(None, "e_ramp.fits"), ("mine", "e_mine.fits")])
def test_without_a_fit_the_product_is_the_ramp(recording, tmp_path, suffix, name):
    pipeline, calls = recording
    pipeline.ramp_fit.skip = True
    assert write_products(pipeline, tmp_path, save_results=True, suffix=suffix) == [name]
    assert calls == NEAR_INFRARED[:-2]


def test_skipped_steps_are_not_called(recording):
    pipeline, calls = recording
    pipeline.configure({alias: {"skip": True} for alias in ("jump", "refpix")}, "test")
    pipeline.run(ramp())
    assert not {"jump", "refpix"} & set(calls)
