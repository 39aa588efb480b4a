"""Errors name their source, and pickle."""

import copy
import pickle

import pytest

from calbatch.crds_client.errors import (
    CrdsError,
    HeaderError,
    ReferenceMissing,
    ServerError,
    UnsafeName,
    convert_errors,
)
from calbatch.models.errors import FileError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("not a\n number"), "a.fits: not a number"),
        (ValueError(), "a.fits: ValueError: "),
        (KeyError("x"), "a.fits: KeyError: 'x'"),
        (RecursionError("too deep"), "a.fits: RecursionError: too deep"),
        (OSError(28, "No space left on device"), "a.fits: No space left on device"),
        (FileError("a.fits", "truncated"), "a.fits: truncated"),
    ],
)
def test_any_exception_becomes_an_error_that_names_the_source(error, message):
    with pytest.raises(HeaderError) as caught, convert_errors(HeaderError, "a.fits"):
        raise error
    assert str(caught.value) == message
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [UnsafeName("x"), MemoryError(), UserWarning("careful")])
def test_errors_of_selection_warnings_and_lack_of_memory_pass(error):
    with pytest.raises(type(error)) as caught, convert_errors(ServerError, "somewhere"):
        raise error
    assert caught.value is error


def test_a_missing_reference_says_how_to_fetch_it():
    error = ReferenceMissing("a.fits", "/cache")
    assert str(error) == (
        "a.fits: not in the cache /cache; fetch it with: calbatch refs sync --files a.fits"
    )
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert isinstance(other, CrdsError)
        assert (other.name, str(other)) == (error.name, str(error))
