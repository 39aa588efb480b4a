"""Attributes of steps and pipelines: those that exist, and misspelt ones."""

import pickle

import numpy as np
import pytest
from support.offsets import Offset, Two

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.steps.flat_field import FlatFieldStep
from calbatch.models import datamodels


class WithAttributes(Offset):
    """A user's step with its own attributes."""

    gain = 2.0

    def __init__(self, *args, **parameters):
        self.before = 1
        super().__init__(*args, **parameters)
        self.after = self.before + 1

    def process(self, image):
        self.seen = image.shape
        self.remember(seen_twice=True)
        return super().process(image)

    def remember(self, **values):
        for name, value in values.items():
            setattr(self, name, value)

    @property
    def half(self):
        return self.amount / 2

    @half.setter
    def half(self, value):
        self.amount = 2 * value


def test_invalid_attributes_are_rejected():
    with pytest.raises(
        ParameterError, match="no parameter 'override_flit'; did you mean 'override_fl"
    ):
        FlatFieldStep().override_flit = "x.fits"
    with pytest.raises(ParameterError, match="did you mean 'amount'"):
        Offset(amonut=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("amuont", "Offset has no parameter 'amuont'; did you mean 'amount'"),
        ("rejection_treshold", "Offset has no parameter 'rejection_treshold'"),
        ("save_result", "did you mean 'save_results'"),
        ("paremt", "did you mean 'parent'"),
    ],
)
def test_unknown_attributes_of_a_step_are_rejected(name, message):
    step = Offset()
    with pytest.raises(ParameterError, match=message):
        setattr(step, name, 5)
    assert not hasattr(step, name)


@pytest.mark.parametrize("name", ["steps", "parameters", "process", "check", "products", "root"])
def test_a_value_cannot_replace_a_method(name):
    pipeline = Detector1Pipeline()
    for step in (pipeline, pipeline.jump):
        with pytest.raises((ParameterError, AttributeError), match=name):
            setattr(step, name, {"jump": {"rejection_threshold": 5}})


@pytest.mark.parametrize("name", ["step_defs", "defaults"])
def test_steps_of_an_existing_pipeline_cannot_be_replaced(name):
    pipeline = Detector1Pipeline()
    with pytest.raises(ParameterError, match=f"{name} must be set in a subclass"):
        setattr(pipeline, name, {})


def test_unknown_attributes_of_a_pipeline_are_rejected():
    pipeline = Two()
    with pytest.raises(ParameterError, match="first has no parameter 'amuont'"):
        pipeline.first.amuont = 5
    with pytest.raises(ParameterError, match="has no step or parameter 'frist'; did you mean 'fi"):
        pipeline.frist = 5
    with pytest.raises(ParameterError, match="did you mean 'save_results'"):
        pipeline.save_result = True
    with pytest.raises(ParameterError, match=r"first is a step: set its parameters.*step_defs"):
        pipeline.first = Offset()
    pipeline.first.amount = 5
    pipeline.save_results = True
    assert (pipeline.first.amount, pipeline.save_results) == (5.0, True)


def test_attributes_of_user_classes_work():
    step = WithAttributes(amount=3)
    step.before, step.after, step.gain, step.half, step._private = 5, 6, 7.0, 4.0, 8
    assert (step.before, step.after, step.gain, step.amount) == (5, 6, 7.0, 8.0)
    step.run(datamodels.ImageModel(np.zeros((8, 6), "f4")))
    assert (step.seen, step.seen_twice) == ((8, 6), True)
    step.seen = None
    again = pickle.loads(pickle.dumps(step))
    assert (again.before, again.seen, again.amount) == (5, None, 8.0)
    with pytest.raises(ParameterError, match="no parameter 'befor'; did you mean 'before'"):
        step.befor = 1


def test_alias_is_an_attribute():
    pipeline = Two()
    assert pipeline.first.name == "first"
    with pytest.raises(AttributeError, match="did you mean 'second'"):
        _ = pipeline.secnod
