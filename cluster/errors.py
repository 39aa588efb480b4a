"""What can go wrong with a batch as a whole."""


class RequestError(Exception):
    """The request cannot be started: usage, parameters, inputs or outputs. Exit status 2."""


class LostError(OSError):
    """Workers or a scheduler that went away while they had an exposure."""
