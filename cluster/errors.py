"""What can go wrong with a batch as a whole."""

from calbatch.cluster.exposure.policy import Kind


class RequestError(Exception):
    """The request cannot be started: usage, parameters, inputs or outputs. Exit status 2."""


class LostError(OSError):
    """An exposure that was lost with its worker, or by its scheduler.

    Attributes
    ----------
    kind : Kind
        Which.
    """

    kind = Kind.LOST


class DeathError(LostError):
    """An exposure that was lost with its worker."""

    kind = Kind.DEATH


class FencedError(OSError):
    """A driver whose folder of products another one has taken over."""


class SiteLostError(OSError):
    """A scheduler that is gone."""
