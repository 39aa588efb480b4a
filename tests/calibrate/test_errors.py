"""Errors of calibration, and the conversion of others into them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.errors import (
    CalibrationError,
    ParameterError,
    ReferenceFileError,
    SkipStep,
    StepError,
    convert_errors,
)


@pytest.mark.parametrize("kind", [ParameterError, StepError, ReferenceFileError])
def test_all_errors_have_one_base(kind):
    assert issubclass(kind, CalibrationError)


def test_skipping_is_no_error():
    assert not issubclass(SkipStep, CalibrationError)


def test_an_unexpected_exception_becomes_an_error_that_names_the_source():
    cause = KeyError("jump")
    with pytest.raises(ParameterError) as found, convert_errors(ParameterError, "a.cfg"):
        raise cause
    assert str(found.value) == "a.cfg: KeyError: 'jump'"
    assert found.value.__cause__ is cause


@given(st.text())
def test_the_message_is_one_line_of_limited_length(text):
    with pytest.raises(StepError) as found, convert_errors(StepError, "here"):
        raise ValueError(text)
    message = str(found.value)
    assert message.startswith("here: ValueError: ")
    assert len(message) <= len("here: ValueError: ") + 300
    assert "\n" not in message


@pytest.mark.parametrize(
    "error", [StepError("mine"), MemoryError("too much"), UserWarning("odd"), KeyboardInterrupt()]
)
def test_errors_of_ours_and_of_the_system_pass_unchanged(error):
    with pytest.raises(type(error)) as found, convert_errors(ParameterError, "here"):
        raise error
    assert found.value is error


def test_nothing_happens_without_an_exception():
    with convert_errors(ParameterError, "here"):
        value = 3
    assert value == 3
