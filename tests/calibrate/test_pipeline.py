"""Pipelines: their steps, the defaults and parameters of those, and errors."""

import pytest

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import Float
from calbatch.calibrate.pipeline import DEFAULT_SOURCE, Pipeline
from calbatch.calibrate.step import Step


class Scale(Step):
    """Scale an image."""

    factor = Float(1.0, help="factor of the image")


class ScaleTwice(Pipeline):
    """Scale twice."""

    step_defs = {"first": Scale, "second": Scale}
    defaults = {"second": {"factor": 3.0}}

    level = Float(0.0, help="level of the background")


@pytest.fixture
def pipeline():
    return ScaleTwice()


def test_steps_are_attributes_in_order(pipeline):
    assert list(pipeline.steps()) == ["first", "second"]
    assert pipeline.steps()["first"] is pipeline.first
    assert [step.name for step in pipeline.steps().values()] == ["first", "second"]
    assert pipeline.second.parent is pipeline
    assert pipeline.second.root is pipeline


def test_two_pipelines_share_no_steps(pipeline):
    pipeline.first.factor = 9
    assert ScaleTwice().first.factor == 1.0


def test_a_pipeline_replaces_defaults_of_its_steps(pipeline):
    assert (pipeline.first.factor, pipeline.second.factor) == (1.0, 3.0)
    assert pipeline.second.sources == {"factor": DEFAULT_SOURCE}
    assert pipeline.first.sources == {}


def test_parameters_of_steps_are_configured_by_section(pipeline):
    pipeline.configure({"": {"level": "2"}, "second": {"factor": "4"}}, "a.cfg")
    assert (pipeline.level, pipeline.second.factor) == (2.0, 4.0)
    assert pipeline.second.sources == {"factor": "a.cfg"}
    assert pipeline.sources == {"level": "a.cfg"}


def test_keyword_arguments_are_the_pipelines_own_parameters():
    assert ScaleTwice(level=2).level == 2.0
    with pytest.raises(ParameterError, match="factor"):
        ScaleTwice(factor=2)


@pytest.mark.parametrize(
    ("section", "message"),
    [("secnd", r"has no step 'secnd'.*second"), ("xyz", "has no step 'xyz'")],
)
def test_a_section_of_no_step_is_rejected(pipeline, section, message):
    with pytest.raises(ParameterError, match=message):
        pipeline.configure({section: {"factor": 2}}, "a.cfg")


def test_a_missing_attribute_may_be_a_misspelt_step(pipeline):
    with pytest.raises(AttributeError, match=r"ScaleTwice has no 'frst'.*first"):
        _ = pipeline.frst
    with pytest.raises(ParameterError, match=r"has no step or parameter 'frst'.*first"):
        pipeline.frst = 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("first", Scale(), r"\.first is a step: set its parameters"),
        ("first", None, r"\.first is a step"),
        ("step_defs", {}, r"\.step_defs "),
        ("defaults", {}, r"\.defaults "),
    ],
)
def test_steps_cannot_be_replaced_in_a_pipeline_that_exists(pipeline, name, value, message):
    with pytest.raises(ParameterError, match=message):
        setattr(pipeline, name, value)
    assert type(pipeline.first) is Scale


def test_results_of_steps_can_be_kept(pipeline):
    pipeline.keep(["second"])
    assert (pipeline.first.save_results, pipeline.second.save_results) == (False, True)
    with pytest.raises(ParameterError, match=r"has no step 'secnd'.*second"):
        pipeline.keep(["secnd"])


def test_an_unpickled_or_unfinished_pipeline_has_no_steps():
    empty = ScaleTwice.__new__(ScaleTwice)
    with pytest.raises(AttributeError, match="has no 'first'"):
        _ = empty.first
