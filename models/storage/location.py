"""Locations of files: paths on this machine, and URLs of objects.

`pathlib` turns ``s3://bucket`` into ``s3:/bucket``, so URLs have a small type of their own. It
offers the methods of `pathlib.Path` that are used here, and never accesses a disk.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from calbatch.models.errors import FileError

_PROTOCOL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_MANGLED = re.compile(r"(s3a?|gs|gcs|abfss?|az|https?|sftp|memory):/[^/]", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=:/)(/?)[^/\s@:]*:[^/\s@]*@")
_SECRETS = "signature|credential|token|secret|password|accesskeyid|sig|key"
_SIGNATURE = re.compile(rf"((?:{_SECRETS})=)[^&\s\"']+", re.IGNORECASE)
_LOCAL = ("file", "local")


@dataclass(frozen=True, order=True)
class Url:
    """The URL of an object or folder, with the attributes of a path.

    Parameters
    ----------
    text : str
        The URL, such as ``s3://bucket/raw/a_uncal.fits``.

    Raises
    ------
    FileError
        If the text is not a URL, or holds a password or a query: messages and logs would repeat
        them.
    """

    text: str

    def __post_init__(self) -> None:
        shown = scrub_secrets(self.text)
        if not is_url(self.text):
            raise FileError(shown, "is not a URL")
        if not self.text.isprintable():
            raise FileError(repr(shown), "has unprintable characters")
        if _PASSWORD.search(self.text):
            raise FileError(
                shown, "must not have a password in it: set it in the environment instead"
            )
        if self.protocol in ("http", "https") and "?" in self.text:
            raise FileError(self.text.split("?")[0], "must not have a query: it may be a secret")

    def __str__(self) -> str:
        return self.text

    def __fspath__(self) -> str:
        return self.text

    @property
    def protocol(self) -> str:
        """The part before ``://``, such as ``s3``."""
        return self.text.split("://", 1)[0].lower()

    @property
    def _rest(self) -> str:
        return self.text.split("://", 1)[1]

    @property
    def name(self) -> str:
        """The last part; empty for a bucket alone."""
        _, slash, name = self._rest.rstrip("/").rpartition("/")
        return name if slash else ""

    @property
    def parent(self) -> Url:
        """The folder of the object; a bucket is its own parent."""
        head, slash, _ = self._rest.rstrip("/").rpartition("/")
        return Url(f"{self.text.split('://', 1)[0]}://{head}") if slash and head else self

    def __truediv__(self, name: str | os.PathLike[str]) -> Url:
        return Url(f"{self.text.rstrip('/')}/{os.fspath(name)}")

    def with_name(self, name: str) -> Url:
        """Return the URL of another name in the same folder."""
        return self.parent / name

    def absolute(self) -> Url:
        """Return the URL itself: URLs are absolute."""
        return self

    def resolve(self) -> Url:
        """Return the URL itself: URLs have no links."""
        return self


Location = Path | Url
"""A path on this machine, or a URL."""


def is_url(text: str) -> bool:
    """Return whether a string is a URL that does not refer to a file of this machine."""
    match = _PROTOCOL.match(text)
    return match is not None and match[1].lower() not in _LOCAL


def location(place: str | os.PathLike[str]) -> Location:
    """Return the path or URL that a string stands for.

    Parameters
    ----------
    place : str or path-like
        A path or a URL, as text or as an object; ``file://`` URLs are paths.

    Raises
    ------
    FileError
        If a URL is not accepted; see `Url`.
    """
    if isinstance(place, (Path, Url)) and not _MANGLED.match(str(place)):
        return place
    text = os.fspath(place)
    if is_url(text):
        return Url(text)
    match = _PROTOCOL.match(text)
    if match is None and _MANGLED.match(text) and not Path(text.split("/", 1)[0]).exists():
        raise FileError(
            scrub_secrets(text), "is a URL that lost a slash: pass it as text, not as Path"
        )
    return Path(text[match.end() :] if match else text)


def scrub_secrets(text: str) -> str:
    """Return text without the passwords, keys and signatures of the URLs in it."""
    return _SIGNATURE.sub(r"\1***", _PASSWORD.sub(r"\1***@", text))
