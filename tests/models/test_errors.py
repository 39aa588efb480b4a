"""Errors: messages, pickling, and the conversion of foreign exceptions."""

import pickle

import pytest

from calbatch.models.errors import (
    FileError,
    FullError,
    StorageError,
    UnknownNameError,
    ValidationError,
    escape_text,
    explain_errors,
    format_count,
    one_line,
)


def test_a_file_error_names_the_file_and_pickles():
    error = pickle.loads(pickle.dumps(FullError("a.fits", "the disk is full")))
    assert isinstance(error, StorageError)
    assert (error.path, error.message) == ("a.fits", "the disk is full")
    assert str(error) == "a.fits: the disk is full"


def test_an_unknown_name_is_both_a_validation_and_an_attribute_error():
    assert issubclass(UnknownNameError, ValidationError)
    assert issubclass(UnknownNameError, AttributeError)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ("caf\u00e9\tau lait", "caf\u00e9\tau lait"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202ereversed", "\\u202ereversed"),
    ],
)
def test_control_characters_are_escaped(text, escaped):
    assert escape_text(text) == escaped


def test_line_breaks_are_removed_from_messages():
    assert one_line(ValueError("one\n  two\n")) == "one two"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 files, 0 boxes"), (1, "1 file, 1 box"), (2, "2 files, 2 boxes")],
)
def test_nouns_follow_their_numbers(count, text):
    assert f"{format_count(count, 'file')}, {format_count(count, 'box', 'boxes')}" == text


def test_foreign_exceptions_become_file_errors():
    with (
        pytest.raises(FileError, match=r"^a\.fits: is damaged: KeyError: 'x'$") as caught,
        explain_errors("a.fits", "is damaged"),
    ):
        {}["x"]
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    "error", [ValidationError("no"), MemoryError(), UserWarning("w"), KeyboardInterrupt()]
)
def test_other_exceptions_are_raised_unchanged(error):
    with pytest.raises(type(error)) as caught, explain_errors("a.fits"):
        raise error
    assert caught.value is error
