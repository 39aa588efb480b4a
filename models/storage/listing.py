"""What lies at a URL: the objects of a folder, or those that match a pattern."""

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


_COMPRESSED = (".gz", ".fz")


def is_match(name: str, pattern: str) -> bool:
    """Return whether a file of a folder is among those that a pattern means.

    Parameters
    ----------
    name : str
        The file's name. A hidden one, which begins with a dot, is none of them: macOS leaves
        ``._a_uncal.fits`` beside ``a_uncal.fits`` on foreign disks.
    pattern : str
        Such as ``*_uncal.fits``, in lower case: it means ``a_uncal.fits``, ``a-uncal.fits``,
        ``A_UNCAL.FITS``, and also ``a_uncal.fits.gz`` and ``a_uncal.fits.fz``.
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
        An object, a folder, or a glob.
    pattern : str
        What a folder's objects are called, such as ``*_uncal.fits``; see `is_called`.
    recursive : bool
        Whether a folder stands also for the objects of folders in it.

    Raises
    ------
    FileError
        There is no such object or folder, or no permission to list it.
    StorageError
        The server cannot be reached or fails.
    """
    if glob.has_magic(url.text):
        root, _, _ = _before_magic(url.text).rpartition("/")
        store = Store(Url(root))
        whole = store.path + url.text[len(root) :]
        found = store.tried("listing it", lambda: store.run("glob", whole, detail=True))
        return [Url(f"{root}{name[len(store.path) :]}") for name in _objects(found.values())]
    store = Store(url)
    info = store.tried("looking for it", lambda: store.run("info", store.path))
    if info.get("type") != "directory":
        return [url]
    if recursive:
        return _below(url, store, pattern)
    entries = store.tried("listing it", lambda: store.run("ls", store.path, detail=True))
    names = (name.rstrip("/").rpartition("/")[2] for name in _objects(entries))
    return [url / name for name in names if is_match(name, pattern)]


def _below(url: Url, store: Store, pattern: str) -> list[Url]:
    """Return the objects of a folder and of the folders in it, but for hidden ones."""
    found = store.tried("listing it", lambda: store.run("find", store.path, detail=True))
    root = store.path.rstrip("/") + "/"
    parts = [name.removeprefix(root).split("/") for name in _objects(found.values())]
    return [
        url / "/".join(folders) / name if folders else url / name
        for *folders, name in parts
        if is_match(name, pattern) and not any(folder.startswith(".") for folder in folders)
    ]


def total_size(urls: Iterable[Url]) -> int:
    """Return how large objects are together; what cannot be looked at counts nothing.

    Where many lie in one folder it is listed, which tells a thousand sizes in a request.
    """
    folders: dict[Url, list[Url]] = {}
    for url in urls:
        folders.setdefault(url.parent, []).append(url)
    total = 0
    for folder, wanted in folders.items():
        try:
            total += sum(_sizes(folder, wanted))
        except FileError:  # told when they are opened
            continue
    return total


def _sizes(folder: Url, wanted: list[Url]) -> Iterator[int]:
    if len(wanted) < _MANY:
        for url in wanted:
            with suppress(FileError):
                yield Store(url).facts().size
        return
    store = Store(folder)
    entries = store.tried("listing it", lambda: store.run("ls", store.path, detail=True))
    names = {url.name for url in wanted}
    for entry in entries:
        if str(entry["name"]).rpartition("/")[2] in names:
            yield int(entry.get("size") or 0)


def _before_magic(text: str) -> str:
    return text[: min(text.find(sign) for sign in "*?[" if sign in text)]


def _objects(entries: Any) -> list[str]:
    return [str(entry["name"]) for entry in entries if entry.get("type") != "directory"]


def require_writable(folder: Url) -> None:
    """Refuse a folder in which no object can be made: one is made and removed again.

    Raises
    ------
    FileError
        There is no such bucket, no permission, or a protocol that cannot write.
    StorageError
        The server cannot be reached or fails.
    """
    require_uploadable(folder)
    name = f".calbatch-{socket.gethostname()[:40]}-{os.getpid()}-{uuid.uuid4().hex}.part"
    store = Store(folder / name)
    try:
        store.tried("writing", lambda: store.run("pipe_file", store.path, b"."))
        store.tried("removing what was written", lambda: store.run("rm_file", store.path))
    except FileError as error:
        told = "there is no such bucket" if error.message.startswith("there is no") else None
        raise type(error)(folder, told or error.message) from None
