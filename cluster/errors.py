"""What can be wrong with a request for a batch."""


class RequestError(Exception):
    """The request cannot be started: usage, parameters, inputs or outputs. Exit status 2."""
