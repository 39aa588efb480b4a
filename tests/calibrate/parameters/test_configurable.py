"""Reprs, signatures and ``help()`` of steps show their parameters."""

import inspect
import pydoc

import pytest

from calbatch.calibrate import registry
from calbatch.calibrate.parameters import Float, Text
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step


class Scale(Step):
    """Scale an image."""

    reference_file_types = ("flat",)

    factor = Float(1.0, low=0, unit="DN", help="factor of the image")
    note = Text(None, none=True, help="reason for it")


class Documented(Step):
    """Do something.

    Parameters
    ----------
    factor : float
        Its own description.
    """

    factor = Float(1.0, help="factor")


class OwnConstructor(Step):
    """A step with its own constructor."""

    def __init__(self, size, **parameters):
        super().__init__(**parameters)
        self.size = size


class ScaleTwice(Pipeline):
    """Scale twice."""

    step_defs = {"first": Scale, "second": Scale}
    defaults = {"second": {"factor": 3.0}}


class TestRepr:
    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ({}, "Scale()"),
            ({"factor": 1}, "Scale()"),
            ({"factor": 2, "note": "a"}, "Scale(factor=2.0, note='a')"),
            ({"skip": True, "override_flat": "N/A"}, "Scale(override_flat='N/A', skip=True)"),
            ({"post_hooks": "a:b"}, "Scale(post_hooks=['a:b'])"),
        ],
    )
    def test_shows_the_parameters_that_differ_from_the_default(self, parameters, expected):
        assert repr(Scale(**parameters)) == expected

    def test_of_a_pipeline_shows_those_of_its_steps(self):
        pipeline = ScaleTwice(save_results=True)
        assert repr(pipeline) == "ScaleTwice(save_results=True)"
        pipeline.first.note = "b"
        pipeline.second.factor = 4
        assert repr(pipeline) == (
            "ScaleTwice(save_results=True, first.note='b', second.factor=4.0)"
        )
        assert repr(pipeline.second) == "Scale(factor=4.0)"


class TestHelp:
    @pytest.mark.parametrize("thing", [Scale, Scale()], ids=["class", "step"])
    def test_describes_every_parameter(self, thing):
        text = pydoc.plain(pydoc.render_doc(thing))
        assert "Scale an image." in text
        for name, parameter in Scale.parameters().items():
            assert f"{name} : {parameter.describe()}, default {parameter.default!r}" in text
        assert "factor : a number at least 0, default 1.0\n" in text
        assert "Factor of the image [DN].\n" in text

    @pytest.mark.parametrize("name", [*registry.STEPS, *registry.PIPELINES])
    def test_of_every_step_and_pipeline_keeps_its_summary_line(self, name):
        summary, blank, *rest = registry.find(name).__doc__.splitlines()
        assert summary.endswith(".")
        assert blank == ""
        assert "Parameters" in rest

    def test_an_own_section_is_kept(self):
        assert Documented.__doc__.count("Parameters\n") == 1
        assert "Its own description." in Documented.__doc__


class TestSignature:
    def test_lists_every_parameter_with_its_default(self):
        signature = inspect.signature(Scale)
        defaults = {
            name: one.default
            for name, one in signature.parameters.items()
            if one.kind is inspect.Parameter.KEYWORD_ONLY
        }
        assert defaults == {name: p.default for name, p in Scale.parameters().items()}
        assert list(signature.parameters)[:2] == ["name", "parent"]

    def test_of_an_own_constructor_is_kept(self):
        assert list(inspect.signature(OwnConstructor).parameters) == ["size", "parameters"]
