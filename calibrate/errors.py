"""Errors of the calibration: requests, steps and references."""

from collections.abc import Iterator
from contextlib import contextmanager


class CalibrationError(Exception):
    """Base class of this package's errors."""


class ParameterError(CalibrationError):
    """Raised for an unknown or invalid parameter, step or pipeline."""


class StepError(CalibrationError):
    """Raised when a step cannot calibrate an exposure."""


class ReferenceFileError(CalibrationError):
    """Raised for a reference file that is missing or does not fit the exposure."""


class SkipStep(Exception):
    """Raised inside a step to pass the exposure on unchanged, marked SKIPPED."""

    status = "SKIPPED"


class FailStep(SkipStep):
    """Raised inside a step to pass the exposure on unchanged, marked FAILED."""

    status = "FAILED"


@contextmanager
def convert_errors(kind: type[CalibrationError], where: object) -> Iterator[None]:
    """Convert any exception into one kind of error that names the source.

    For code that reads parameters, whose values may be of any type.

    Parameters
    ----------
    kind : type
        The error to raise. `CalibrationError` and `MemoryError` pass through unchanged.
    where : object
        The source that is being read; the message starts with it.
    """
    try:
        yield
    except (CalibrationError, MemoryError, Warning):  # warnings are errors if users ask for that
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise kind(f"{where}: {type(error).__name__}: {message}") from error
