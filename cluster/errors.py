"""Exceptions that concern a whole batch, its site or its workers."""

from calbatch.cluster.exposure.policy import FailureKind


class RequestError(Exception):
    """A request that cannot be started: usage, parameters, inputs or outputs. Exit status 2."""


class LostError(OSError):
    """An exposure lost with its worker or by its scheduler.

    Attributes
    ----------
    kind : FailureKind
        The kind of failure.
    """

    kind = FailureKind.LOST


class DeathError(LostError):
    """An exposure whose worker died."""

    kind = FailureKind.DEATH


class FencedError(OSError):
    """Raised in a driver when another driver has taken over its output folder."""


class SiteLostError(OSError):
    """The scheduler is gone."""


def is_expected(error: BaseException) -> bool:
    """Return whether an error concerns the user's request rather than a defect of calbatch.

    Expected errors are reported in one line; anything else gets a traceback.
    """
    from calbatch.calibrate.errors import CalibrationError
    from calbatch.crds_client.errors import CrdsError
    from calbatch.models.errors import ModelError

    return isinstance(error, (RequestError, CalibrationError, CrdsError, ModelError, OSError))
