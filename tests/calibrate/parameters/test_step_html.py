"""Steps and pipelines as HTML."""

from support.html_text import read_html

from calbatch.calibrate.parameters import Float, Text
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step


class Scale(Step):
    """Multiply by a factor."""

    reference_file_types = ("flat",)

    factor = Float(1.5, help="by how much", unit="s")
    label = Text("", help="any <b>text")


class Twice(Pipeline):
    """Scale two times."""

    step_defs = {"first": Scale, "second": Scale}


def test_a_step_shows_its_own_parameters_with_units():
    found = read_html(Scale()._repr_html_())
    assert "Scale: Multiply by a factor." in found.text
    assert "\nfactor\n1.5\nby how much [s]\n" in found.text
    assert "any <b>text" in found.text
    for common in ("skip", "post_hooks", "override_flat"):
        assert common not in found.text


def test_changed_parameters_stand_out_common_ones_included():
    found = read_html(Scale(factor=2.0, skip=True)._repr_html_())
    assert found.tags.count("strong") == 3  # the name, and two values
    assert "\nskip\nTrue\n" in found.text


def test_a_pipeline_unfolds_its_steps():
    pipeline = Twice()
    pipeline.second.factor = 3.0
    found = read_html(pipeline._repr_html_())
    assert found.tags.count("details") == 2
    assert "open" not in found.attributes
    assert "\nfirst\nMultiply by a factor.\n" in found.text
    assert "\nsecond (factor=3.0)\n" in found.text


def test_hostile_values_stay_text():
    html = Scale(label="<script>alert(1)</script>\x1b")._repr_html_()
    assert "script" not in read_html(html).tags
    assert "\x1b" not in html
