"""What can go wrong with a model, a schema or a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


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


class MissingFileError(FileError):
    """A file that does not exist."""


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


class UnknownNameError(ValidationError, AttributeError):
    """Metadata that no schema names."""


class ValidationWarning(UserWarning):
    """A value that its schema does not allow, where that is only worth a warning."""


def escape_text(text: str) -> str:
    """Return a text as one line without what a terminal would obey, which is escaped instead."""
    return text if text.isprintable() else "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    printable = character.isprintable() or character == "\t"
    return character if printable else repr(character)[1:-1]


def one_line(error: BaseException) -> str:
    """Return what an error says without its line breaks, for use in another's message."""
    return " ".join(str(error).split())


@contextmanager
def explain_errors(path: str | os.PathLike[str], what: str = "cannot be read") -> Iterator[None]:
    """Turn whatever goes wrong inside into a `FileError` about a file.

    Everything that reads files from elsewhere has this around it: over damaged headers and data,
    libraries raise all kinds of exceptions.

    Parameters
    ----------
    path : str or path-like
        The file that is being read.
    what : str
        What is wrong with it if anything goes wrong. A `ModelError` passes as it is; so do
        warnings and a lack of memory.
    """
    try:
        yield
    except (ModelError, MemoryError, Warning):  # warnings are errors where users ask for it
        raise
    except Exception as error:
        reason = f"{what}: {type(error).__name__}: {one_line(error)[:300]}"
        raise FileError(path, reason) from error
