"""Parameters whose values may be None."""

import pytest

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.steps.clean_flicker_noise import CleanFlickerNoiseStep


@pytest.mark.parametrize("value", [None, "None", "none"])
def test_no_background(value):
    assert CleanFlickerNoiseStep(background_method=value).background_method == "None"


@pytest.mark.parametrize("value", [None, "None", []])
def test_the_default_box(value):
    assert CleanFlickerNoiseStep(background_box_size=value).background_box_size == []


@pytest.mark.parametrize("value", ["32, 16", [32, 16], ("32", "16")])
def test_a_box(value):
    assert CleanFlickerNoiseStep(background_box_size=value).background_box_size == [32, 16]


@pytest.mark.parametrize("value", ["32", [1, 2, 3], [0, 4], ["a", 3]])
def test_impossible_boxes(value):
    with pytest.raises(ParameterError, match="background_box_size"):
        CleanFlickerNoiseStep(background_box_size=value)
