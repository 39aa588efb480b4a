"""What can go wrong between a user's request and a calibrated product."""


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
