"""Access of steps to the inputs of their unit."""

from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step


class Part(Step):
    """A step that does nothing."""


class Whole(Pipeline):
    """A pipeline of one step."""

    step_defs = {"part": Part}


def test_a_step_sees_the_members_of_its_pipeline():
    whole = Whole()
    assert dict(whole.part.members) == {}
    whole.members = {"background": ["model"]}
    assert whole.part.members["background"] == ["model"]
    assert dict(Whole().members) == {}
