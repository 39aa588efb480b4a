"""What can go wrong between a user's request and a calibrated product."""

from collections.abc import Iterator
from contextlib import contextmanager


class CalibrationError(Exception):
    """The base of this package's errors."""


class ParameterError(CalibrationError):
    """A parameter, step or pipeline that does not exist or does not fit."""


class StepError(CalibrationError):
    """A step that cannot calibrate this exposure."""


class ReferenceFileError(CalibrationError):
    """A reference file that is missing or does not fit the exposure."""


class SkipStep(Exception):
    """Raised inside a step: the exposure goes on unchanged, marked SKIPPED."""


@contextmanager
def convert_errors(kind: type[CalibrationError], where: object) -> Iterator[None]:
    """Turn whatever goes wrong inside into an error of one kind that says where.

    For what reads parameters: a value from elsewhere may be anything at all.

    Parameters
    ----------
    kind : type
        The error to raise; a `CalibrationError` passes as it is, and so does a lack of memory.
    where : object
        What is being read; the message starts with it.
    """
    try:
        yield
    except (CalibrationError, MemoryError, Warning):  # a warning is an error where users ask for it
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise kind(f"{where}: {type(error).__name__}: {said}") from error
