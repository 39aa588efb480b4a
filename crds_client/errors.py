"""What can go wrong with rules, caches and servers, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CrdsError(Exception):
    """Any fault of reference selection or of a reference cache."""


class MappingError(CrdsError):
    """A rules file is malformed or does what rules may not; starts with ``file:line``."""


class ChecksumError(MappingError):
    """A rules file does not have the sha1sum that it states."""


class ContextError(CrdsError):
    """The wanted version of the rules is unknown or cannot be had here."""


class HeaderError(CrdsError):
    """A header lacks what selection cannot do without, or cannot be read."""


class UnsafeName(CrdsError):
    """A file name that would lead out of the cache."""


class ServerError(CrdsError):
    """The CRDS server cannot be reached or answers with an error."""


class DownloadError(CrdsError):
    """A file could not be fetched whole and verified."""


class ReadOnlyCache(CrdsError):
    """The cache must be written to, and cannot be."""


class WithdrawnReference(CrdsError):
    """The observatory calls the file scientifically invalid."""


class ReferenceMissing(CrdsError):
    """A file that is needed is not in the cache.

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
        """The command that would fetch the file."""
        return f"calbatch refs sync --files {self.name}"

    def __str__(self) -> str:
        return f"{self.name}: not in the cache {self.where}; fetch it with: {self.command}"


@contextmanager
def convert_errors(kind: type[CrdsError], where: object) -> Iterator[None]:
    """Turn whatever goes wrong inside into an error of one kind that says where.

    Every reader of rules, files and settings from elsewhere has this around it: over what is
    damaged, libraries raise all kinds of exceptions, and one that nobody expects would end a batch.

    Parameters
    ----------
    kind : type
        The error to raise; a `CrdsError` passes as it is, and so does a lack of memory.
    where : object
        What is being read; the message starts with it.
    """
    try:
        yield
    except (CrdsError, MemoryError, Warning):  # a warning is an error where users ask for it
        raise
    except OSError as error:
        raise kind(f"{where}: {error.strerror or error}") from error
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        plain = isinstance(error, ValueError) and said
        raise kind(f"{where}: {said if plain else f'{type(error).__name__}: {said}'}") from error
