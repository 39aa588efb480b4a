"""Errors of models, schemas and files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class ModelError(Exception):
    """Base class of all errors raised by `calbatch.models`."""


class FileError(ModelError):
    """A file that cannot be read or written.

    Parameters
    ----------
    path : str or path-like
        The file.
    message : str
        The fault and, where possible, the expected content.
    """

    def __init__(self, path: str | os.PathLike[str], message: str) -> None:
        # Exception.args has both, so that the error can be pickled.
        super().__init__(os.fspath(path), message)

    @property
    def path(self) -> str:
        """The file's path or URL."""
        return str(self.args[0])

    @property
    def message(self) -> str:
        """The message without the file's name."""
        return str(self.args[1])

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class MissingFileError(FileError):
    """A file that does not exist."""


class StorageError(FileError):
    """A full or failing disk, or an exceeded quota: another attempt may succeed."""


class FullError(StorageError):
    """A disk without free space, or an exhausted quota."""


class ChangedError(FileError):
    """A file that was replaced or changed after it was first opened."""


class SupersededError(FileError):
    """A product that another process has taken over."""


class SchemaError(ModelError):
    """A schema that cannot be found, read or interpreted."""


class ValidationError(ModelError):
    """A value that its schema does not allow."""


class UnknownNameError(ValidationError, AttributeError):
    """Metadata that no schema names."""


class ValidationWarning(UserWarning):
    """Warning about a value that its schema does not allow."""


def escape_text(text: str) -> str:
    """Return text as one line, with line breaks and terminal control characters escaped."""
    return text if text.isprintable() else "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    printable = character.isprintable() or character == "\t"
    return character if printable else repr(character)[1:-1]


def one_line(error: BaseException) -> str:
    """Return an error's message without line breaks, for use in another message."""
    return " ".join(str(error).split())


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: ``1 file``, ``2 files``.

    Parameters
    ----------
    count : int
        The number.
    noun, plural : str
        The singular, and the plural if it is not the singular and an "s".
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


@contextmanager
def explain_errors(path: str | os.PathLike[str], what: str = "cannot be read") -> Iterator[None]:
    """Raise exceptions of the block as `FileError` about a file.

    All code that reads external files runs within this context, because libraries raise exceptions
    of many kinds for damaged headers and data.

    Parameters
    ----------
    path : str or path-like
        The file that is being read.
    what : str
        The fault to report. A `ModelError`, `MemoryError` or warning is raised unchanged.
    """
    try:
        yield
    except (ModelError, MemoryError, Warning):  # users can turn warnings into errors
        raise
    except Exception as error:
        reason = f"{what}: {type(error).__name__}: {one_line(error)[:300]}"
        raise FileError(path, reason) from error
