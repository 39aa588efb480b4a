"""Uploads: complete files become objects, whose content is then verified."""

from __future__ import annotations

import base64
import hashlib
import posixpath
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from calbatch.models.errors import FileError, StorageError, SupersededError, format_count
from calbatch.models.storage.location import Url
from calbatch.models.storage.remote_files import OpenRemoteFile
from calbatch.models.storage.stores import S3, ObjectInfo, Store
from calbatch.models.storage.upload_permits import Permit, upload_with_permit

_CHUNK = 8 << 20
_MOST_PARTS = 10_000
_AT_ONCE = 4

_ATOMIC = (*S3, "gs", "gcs", "abfs", "abfss", "az")
"""Protocols of stores in which an object becomes visible only when it is complete."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-[0-9]+")


def upload(file: Path, url: Url, permit: Permit | None = None) -> ObjectInfo:
    """Upload a file, replacing any object of that name, and verify it.

    Nothing is visible at the URL before the object is complete. Object stores ensure that; with
    other protocols the file has a temporary name until then.

    Parameters
    ----------
    file : Path
        A complete file, which is kept.
    url : Url
        The object to make.
    permit : Permit, optional
        The permit that has to be valid when the object is made.

    Returns
    -------
    ObjectInfo
        The object, as its store describes it.

    Raises
    ------
    FileError
        If there is no permission or no such bucket, or the protocol cannot write.
    SupersededError
        If the permit was revoked.
    StorageError
        If the server fails, or the object differs from the file. It is not removed then, since
        another program may have made it.
    """
    require_uploadable(url)
    store = Store(url)
    if permit and url.protocol in S3:
        size, chunk = file.stat().st_size, _chunk(file.stat().st_size)
        _retry_upload(store, size, lambda: upload_with_permit(store, file, chunk, permit))
    elif url.protocol in _ATOMIC:
        if permit:
            permit.require_valid()
        _put(store, file, store.path)
    else:
        _put_and_rename(store, file, permit)
    try:
        info = store.describe()
    except StorageError:
        raise
    except FileError as error:
        raise StorageError(url, f"after it was uploaded: {error.message}") from None
    if info.size != file.stat().st_size or not _is_same_content(file, url, info):
        raise StorageError(
            url, "differs from the uploaded file: damaged in transit, or replaced by others"
        )
    return info


def require_uploadable(url: Url) -> None:
    """Raise an error if a URL's protocol is read-only.

    Raises
    ------
    FileError
        If it is ``http`` or ``https``.
    """
    if url.protocol in ("http", "https"):
        raise FileError(url, f"cannot be written: {url.protocol} is read-only")


def _put(store: Store, file: Path, path: str) -> None:
    size = file.stat().st_size
    options = {}
    if store.url.protocol in S3:
        options = {"chunksize": _chunk(size), "max_concurrency": _AT_ONCE}

    def put_file() -> None:
        store.call("put_file", str(file), path, size=size, **options)

    _retry_upload(store, size, put_file)


def _retry_upload(store: Store, size: int, put: Callable[[], None]) -> None:
    try:
        store.retry(f"uploading {format_count(size, 'byte')}", put)
    except (StorageError, SupersededError):
        raise
    except FileError as error:
        if error.message == "there is no such object":
            raise FileError(store.url, "cannot be written: there is no such bucket") from None
        raise


def _put_and_rename(store: Store, file: Path, permit: Permit | None) -> None:
    folder, name = posixpath.split(store.path)
    part = posixpath.join(folder, f".{name[:100]}.{uuid.uuid4().hex}.part")
    store.retry("making its folder", lambda: store.call("makedirs", folder, exist_ok=True))
    try:
        _put(store, file, part)
        if permit:
            permit.require_valid()
        store.retry("renaming it", lambda: store.rename(part))
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            store.call("rm_file", part)
        raise


def _is_same_content(file: Path, url: Url, info: ObjectInfo) -> bool:
    """Compare checksums if the store's version is one, otherwise read the object."""
    if info.version in _possible_versions(file, info.version):
        return True
    remote = OpenRemoteFile(url, info)
    digest = hashlib.md5(usedforsecurity=False)
    for at in range(0, info.size, _CHUNK):
        digest.update(remote.read(at, min(_CHUNK, info.size - at)))
    return digest.hexdigest() == _md5(file)


def _possible_versions(file: Path, version: str) -> list[str]:
    """Return the versions of a file's content, in the format of a given version."""
    if _MD5.fullmatch(version):
        return [_md5(file)]
    if _MD5_OF_PARTS.fullmatch(version):
        sums = [hashlib.md5(part, usedforsecurity=False).digest() for part in _parts(file)]
        whole = hashlib.md5(b"".join(sums), usedforsecurity=False).hexdigest()
        return [f"{whole}-{len(sums)}"]
    if version.endswith("=="):
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
    """Return the size of an upload's parts, of which there can be at most ``_MOST_PARTS``."""
    return max(_CHUNK, -(-size // _MOST_PARTS))
