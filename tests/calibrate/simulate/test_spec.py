"""Specifications: presets, and invalid values."""

import pytest

from calbatch.calibrate.simulate.spec import PRESETS, SimulationSpec, as_specs


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_a_name(preset):
    assert as_specs(preset) == PRESETS[preset]


def test_one_spec_or_several():
    one, other = SimulationSpec(), SimulationSpec("NIS")
    assert as_specs(one) == (one,)
    assert as_specs([one, other]) == (one, other)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("none", ValueError, "no preset 'none': choose one of demo"),
        ([], ValueError, "no specs given"),
        (5, TypeError, "expected the name of a preset"),
        (["demo"], TypeError, "expected the name of a preset"),
    ],
)
def test_anything_else_is_an_error(spec, error, message):
    with pytest.raises(error, match=message):
        as_specs(spec)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"detector": "X"}, "no detector 'X'"),
        ({"nints": 0}, "both must be 1 or more"),
        ({"readpatt": "NIS"}, "no readout pattern 'NIS'"),
        ({"subarray": "SUB7"}, "subarray 'SUB7' has no known size"),
    ],
)
def test_invalid_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        SimulationSpec(**fields)
