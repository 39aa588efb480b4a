"""Pipeline simple: the steps that an exposure passes through."""

import pytest

from calbatch.calibrate.pipelines.simple import SimplePipeline
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.dark_current import DarkCurrentStep
from calbatch.calibrate.steps.reset import ResetStep
from calbatch.calibrate.steps.superbias import SuperBiasStep
from calbatch.models.datamodels import RampModel


def recording(pipeline):
    """Return a subclass whose steps record that they are called, and the record."""
    calls = []

    class Recorder(Step):
        """Record the call, and return the model."""

        def process(self, model):
            calls.append(self.name)
            return model

    class Recording(pipeline):
        """The pipeline with recorders for steps."""

        step_defs = dict.fromkeys(pipeline.step_defs, Recorder)

    return Recording(), calls


def ramp(instrument):
    model = RampModel((1, 2, 3, 4))
    model.meta.instrument.name = instrument
    return model


@pytest.mark.parametrize(
    ("instrument", "steps"),
    [
        ("NIRCAM", ["bias", "dark"]),
        ("NIRSPEC", ["bias", "dark"]),
        ("MIRI", ["bias", "dark", "reset"]),
    ],
)
def test_only_miri_has_a_reset_anomaly(instrument, steps):
    pipeline, calls = recording(SimplePipeline)
    assert isinstance(pipeline(ramp(instrument)), RampModel)
    assert calls == steps


def test_the_product_is_a_ramp():
    pipeline, _ = recording(SimplePipeline)
    pipeline.add_products(ramp("NIRCAM"))
    assert [suffix for suffix, _ in pipeline.products()] == ["ramp"]


def test_the_steps_are_those_of_the_names():
    assert SimplePipeline.step_defs == {
        "bias": SuperBiasStep, "dark": DarkCurrentStep, "reset": ResetStep,
    }  # fmt: skip
