"""What can go wrong with a model, a schema or a file."""

from __future__ import annotations

import os


class ModelError(Exception):
    """Base of every error that the models raise on purpose."""


class FileError(ModelError):
    """A file that cannot be read or written.

    Parameters
    ----------
    path : str or path-like
        The file.
    message : str
        What is wrong with it, and what was expected.
    """

    def __init__(self, path: str | os.PathLike[str], message: str) -> None:
        # Both go to Exception.args, so that the error pickles.
        super().__init__(os.fspath(path), message)

    @property
    def path(self) -> str:
        """The file that the error is about."""
        return str(self.args[0])

    @property
    def message(self) -> str:
        """The fault, without the file's name."""
        return str(self.args[1])

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class StorageError(FileError):
    """A disk that is full, over quota or failing: another try may succeed."""


class FullError(StorageError):
    """A disk without room, or a quota that is used up."""


class ChangedError(FileError):
    """A file that is another one than when it was first looked at."""


class SupersededError(FileError):
    """A product that somebody else makes by now."""


class SchemaError(ModelError):
    """A schema that cannot be found, read or understood."""


class ValidationError(ModelError):
    """A value that its schema does not allow."""


class ValidationWarning(UserWarning):
    """A value that its schema does not allow, where that is only worth a warning."""


def one_line(error: BaseException) -> str:
    """Return what an error says without its line breaks, for use in another's message."""
    return " ".join(str(error).split())
