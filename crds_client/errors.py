"""Errors of rules, caches and servers; each message states a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from calbatch.models.errors import FileError


class CrdsError(Exception):
    """Base class of the errors of reference selection and of reference caches."""


class MappingError(CrdsError):
    """A rules file is malformed or not allowed; the message starts with ``file:line``."""


class ChecksumError(MappingError):
    """A rules file does not match its own sha1sum."""


class ContextError(CrdsError):
    """The requested context is unknown or not available."""


class NoRulesError(ContextError):
    """The context has no rules for an instrument."""


class HeaderError(CrdsError):
    """A header cannot be read, or lacks a value that selection requires."""


class UnsafeName(CrdsError):
    """A file name that would lead outside the cache."""


class ServerError(CrdsError):
    """The CRDS server cannot be reached or answers with an error."""


class DownloadError(CrdsError):
    """A file could not be fetched completely and verified."""


class ReadOnlyCache(CrdsError):
    """The cache has to be written to, but is read-only."""


class WithdrawnReference(CrdsError):
    """The observatory has withdrawn the file as scientifically invalid."""


class ReferenceMissing(CrdsError):
    """A required file is not in the cache.

    Parameters
    ----------
    name : str
        The missing file.
    where : str
        The cache that was searched.
    """

    def __init__(self, name: str, where: str) -> None:
        super().__init__(name, where)
        self.name = name
        self.where = where

    @property
    def command(self) -> str:
        """The command that fetches the file."""
        return f"calbatch refs sync --files {self.name}"

    def __str__(self) -> str:
        return f"{self.name}: not in the cache {self.where}; fetch it with: {self.command}"


@contextmanager
def convert_errors(kind: type[CrdsError], where: object) -> Iterator[None]:
    """Convert any exception of the block into a `CrdsError` that names its source.

    Every reader of foreign rules, files and settings runs inside this context: damaged input makes
    libraries raise exceptions of all kinds, and an unexpected one would end a batch.

    Parameters
    ----------
    kind : type
        The error to raise. A `CrdsError`, a `MemoryError` and a warning pass unchanged.
    where : object
        The source being read; the message starts with it.
    """
    try:
        yield
    except (CrdsError, MemoryError, Warning):  # users can turn warnings into errors
        raise
    except FileError as error:
        raise kind(str(error)) from error  # names its file already
    except OSError as error:
        raise kind(f"{where}: {error.strerror or error}") from error
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        is_plain = isinstance(error, ValueError) and text
        raise kind(f"{where}: {text if is_plain else f'{type(error).__name__}: {text}'}") from error
