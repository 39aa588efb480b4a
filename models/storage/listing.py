"""Listings of folders: the objects at a URL, and the names that patterns match."""

from __future__ import annotations

import fnmatch
import glob
import os
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from calbatch.models.errors import FileError
from calbatch.models.storage.location import Url
from calbatch.models.storage.stores import Store
from calbatch.models.storage.uploading import require_uploadable

_MANY = 20
"""Number of objects in a folder from which listing it takes less time than separate requests."""

_COMPRESSED = (".gz", ".fz")


def is_match(name: str, pattern: str) -> bool:
    """Return whether a file name matches a pattern.

    Parameters
    ----------
    name : str
        The file's name. Hidden files, whose names begin with a dot, never match: macOS leaves
        ``._a_uncal.fits`` beside ``a_uncal.fits`` on foreign disks.
    pattern : str
        A pattern in lower case. For instance, ``*_uncal.fits`` matches ``a_uncal.fits``,
        ``a-uncal.fits`` and ``A_UNCAL.FITS``, and also ``a_uncal.fits.gz`` and
        ``a_uncal.fits.fz``.
    """
    plain = name.lower()
    for ending in _COMPRESSED:
        plain = plain.removesuffix(ending)
    patterns = pattern, pattern.replace("*_", "*-")
    return name[:1] != "." and any(fnmatch.fnmatchcase(plain, each) for each in patterns)


def list_objects(url: Url, pattern: str, *, recursive: bool = False) -> list[Url]:
    """Return the objects that a URL stands for.

    Parameters
    ----------
    url : Url
        An object, a folder, or a glob. As in a shell, a glob has to name the dot of hidden objects.
    pattern : str
        Pattern of the names of a folder's objects, such as ``*_uncal.fits``; see `is_match`.
    recursive : bool
        True to include the objects of subfolders.

    Raises
    ------
    FileError
        If there is no such object or folder, or no permission to list it.
    StorageError
        If the server cannot be reached or fails.
    """
    if glob.has_magic(url.text):
        root, _, _ = _before_magic(url.text).rpartition("/")
        store = Store(Url(root))
        whole = store.path + url.text[len(root) :]
        matches = store.retry("listing it", lambda: store.call("glob", whole, detail=True))
        urls = [Url(f"{root}{name[len(store.path) :]}") for name in _objects(matches.values())]
        hidden = url.name.startswith(".")
        return [found for found in urls if hidden or not found.name.startswith(".")]
    store = Store(url)
    info = store.retry("looking it up", lambda: store.call("info", store.path))
    if info.get("type") != "directory":
        return [url]
    if recursive:
        return _list_recursively(url, store, pattern)
    entries = store.retry("listing it", lambda: store.call("ls", store.path, detail=True))
    names = (name.rstrip("/").rpartition("/")[2] for name in _objects(entries))
    return [url / name for name in names if is_match(name, pattern)]


def _list_recursively(url: Url, store: Store, pattern: str) -> list[Url]:
    """Return the matching objects of a folder and its subfolders, except hidden ones."""
    entries = store.retry("listing it", lambda: store.call("find", store.path, detail=True))
    root = store.path.rstrip("/") + "/"
    parts = [name.removeprefix(root).split("/") for name in _objects(entries.values())]
    return [
        url / "/".join(folders) / name if folders else url / name
        for *folders, name in parts
        if is_match(name, pattern) and not any(folder.startswith(".") for folder in folders)
    ]


def total_size(urls: Iterable[Url]) -> int:
    """Return the total size of objects; those that cannot be looked up count as empty.

    A folder that holds many of them is listed: one request returns a thousand sizes.
    """
    folders: dict[Url, list[Url]] = {}
    for url in urls:
        folders.setdefault(url.parent, []).append(url)
    total = 0
    for folder, wanted in folders.items():
        try:
            total += sum(_sizes(folder, wanted))
        except FileError:  # reported when they are opened
            continue
    return total


def _sizes(folder: Url, wanted: list[Url]) -> Iterator[int]:
    if len(wanted) < _MANY:
        for url in wanted:
            with suppress(FileError):
                yield Store(url).describe().size
        return
    store = Store(folder)
    entries = store.retry("listing it", lambda: store.call("ls", store.path, detail=True))
    names = {url.name for url in wanted}
    for entry in entries:
        if str(entry["name"]).rpartition("/")[2] in names:
            yield int(entry.get("size") or 0)


def _before_magic(text: str) -> str:
    return text[: min(text.find(sign) for sign in "*?[" if sign in text)]


def _objects(entries: Any) -> list[str]:
    return [str(entry["name"]) for entry in entries if entry.get("type") != "directory"]


def require_writable(folder: Url) -> None:
    """Raise an error if no object can be made in a folder, by making and removing one.

    Raises
    ------
    FileError
        If there is no such bucket or no permission, or the protocol cannot write.
    StorageError
        If the server cannot be reached or fails.
    """
    require_uploadable(folder)
    name = f".calbatch-{socket.gethostname()[:40]}-{os.getpid()}-{uuid.uuid4().hex}.part"
    store = Store(folder / name)
    try:
        store.retry("writing", lambda: store.call("pipe_file", store.path, b"."))
        store.retry("removing a test object", lambda: store.call("rm_file", store.path))
    except FileError as error:
        is_missing = error.message.startswith("there is no")
        message = "there is no such bucket" if is_missing else error.message
        raise type(error)(folder, message) from None
