"""Files that become objects: uploaded whole, and verified before they count."""

from __future__ import annotations

import base64
import hashlib
import os
import posixpath
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from calbatch.models.errors import FileError, StorageError, SupersededError
from calbatch.models.storage.location import Url
from calbatch.models.storage.remote_files import OpenRemoteFile
from calbatch.models.storage.stores import ObjectInfo, Store
from calbatch.models.storage.upload_permits import S3, Permit, upload_with_permit

_CHUNK = 8 << 20
_MOST_PARTS = 10_000
_AT_ONCE = 4

_WHOLE = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
"""Protocols of stores that show an object when it is complete, and not before."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-[0-9]+")


@cache
def clear_scratch(host: str) -> None:
    """Remove what killed processes of this host left unfinished in the folder for scratch."""
    named = re.compile(rf"\..+[.-]{re.escape(host)}-(\d+)-[0-9a-f]{{32}}\.part")
    for path in scratch_folder().glob(".*.part"):
        found = named.fullmatch(path.name)
        if found and path.lstat().st_uid == os.getuid() and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def scratch_folder() -> Path:
    """Return where files are written that will be uploaded.

    ``CALBATCH_SCRATCH_DIR``, or the system's folder for temporary files. All processes that write
    parts of one file must share it.
    """
    return Path(os.environ.get("CALBATCH_SCRATCH_DIR") or tempfile.gettempdir()).absolute()


def upload(file: Path, url: Url, permit: Permit | None = None) -> ObjectInfo:
    """Make a file an object, replacing what was there, and verify it.

    Nothing shows under the URL before all of it is there: stores of objects see to that, and
    elsewhere it has another name until it is complete.

    Parameters
    ----------
    file : Path
        A complete file; it stays.
    url : Url
        What it is to be.
    permit : Permit, optional
        Without which it must not be made any more.

    Returns
    -------
    Facts
        The object, as its store describes it.

    Raises
    ------
    FileError
        No permission, no such bucket, or a protocol that cannot write.
    SupersededError
        The permit was taken back.
    StorageError
        The server fails, or what is there in the end is not what was sent. It is left there: it
        may be somebody else's.
    """
    require_uploadable(url)
    store = Store(url)
    if permit and url.protocol in S3:
        size, chunk = file.stat().st_size, _chunk(file.stat().st_size)
        _tried(store, size, lambda: upload_with_permit(store, file, chunk, permit))
    elif url.protocol in _WHOLE:
        if permit:
            permit.require()
        _put(store, file, store.path)
    else:
        _put_and_rename(store, file, permit)
    try:
        facts = store.facts()
    except StorageError:
        raise
    except FileError as error:
        raise StorageError(url, f"after it was uploaded: {error.message}") from None
    if facts.size != file.stat().st_size or not _same_content(file, url, facts):
        raise StorageError(
            url, "is not what was uploaded: damaged on its way, or replaced by somebody else"
        )
    return facts


def require_uploadable(url: Url) -> None:
    """Refuse a URL whose protocol only reads.

    Raises
    ------
    FileError
        It is ``http`` or ``https``.
    """
    if url.protocol in ("http", "https"):
        raise FileError(url, f"cannot be written: {url.protocol} is for reading")


def _put(store: Store, file: Path, path: str) -> None:
    size = file.stat().st_size
    options = {}
    if store.url.protocol in S3:
        options = {"chunksize": _chunk(size), "max_concurrency": _AT_ONCE}

    def put() -> None:
        store.run("put_file", str(file), path, size=size, **options)

    _tried(store, size, put)


def _tried(store: Store, size: int, put: Callable[[], None]) -> None:
    try:
        store.tried(f"uploading {size} bytes", put)
    except (StorageError, SupersededError):
        raise
    except FileError as error:
        if error.message == "there is no such object":
            raise FileError(store.url, "cannot be written: there is no such bucket") from None
        raise


def _put_and_rename(store: Store, file: Path, permit: Permit | None) -> None:
    folder, name = posixpath.split(store.path)
    part = posixpath.join(folder, f".{name[:100]}.{uuid.uuid4().hex}.part")
    store.tried("making its folder", lambda: store.run("makedirs", folder, exist_ok=True))
    try:
        _put(store, file, part)
        if permit:
            permit.require()
        store.tried("renaming it", lambda: _rename(store, part))
    except BaseException:
        with suppress(Exception):  # what is told is why it was not uploaded
            store.run("rm_file", part)
        raise


def _rename(store: Store, part: str) -> None:
    # Not every protocol has an asynchronous form of moving.
    store.files.mv(part, store.path)


def _same_content(file: Path, url: Url, facts: ObjectInfo) -> bool:
    """Compare by what the store tells of the content, or else by reading it again."""
    if facts.identity in _sums(file, facts.identity):
        return True
    remote = OpenRemoteFile(url, facts)
    found = hashlib.md5(usedforsecurity=False)
    for at in range(0, facts.size, _CHUNK):
        found.update(remote.read(at, min(_CHUNK, facts.size - at)))
    return found.hexdigest() == _md5(file)


def _sums(file: Path, identity: str) -> list[str]:
    """Return what a store would call a file of this content, in the way of an identity."""
    if _MD5.fullmatch(identity):
        return [_md5(file)]
    if _MD5_OF_PARTS.fullmatch(identity):
        sums = [hashlib.md5(part, usedforsecurity=False).digest() for part in _parts(file)]
        whole = hashlib.md5(b"".join(sums), usedforsecurity=False).hexdigest()
        return [f"{whole}-{len(sums)}"]
    if identity.endswith("=="):
        return [base64.b64encode(bytes.fromhex(_md5(file))).decode()]
    return []


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        chunk = _chunk(file.stat().st_size)
        while part := stream.read(chunk):
            yield part


def _chunk(size: int) -> int:
    """Return the size of an upload's parts, of which there may be so many."""
    return max(_CHUNK, -(-size // _MOST_PARTS))
