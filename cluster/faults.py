"""Which exceptions are told to a user in one line."""

from __future__ import annotations


def is_expected(error: BaseException) -> bool:
    """Return whether an error is about what the user asked for, rather than a fault of ours."""
    from calbatch.calibrate.errors import CalibrationError
    from calbatch.cluster.errors import RequestError
    from calbatch.crds_client.errors import CrdsError
    from calbatch.models.errors import ModelError

    return isinstance(error, (RequestError, CalibrationError, CrdsError, ModelError, OSError))
