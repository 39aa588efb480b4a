"""Upload permits, which the driver that issued them can revoke for good.

An object store has no rename that fails when a folder is gone. Instead, each driver of a batch has
a marker: a small object ``.calbatch/driver-…`` beside the products. On S3 a worker begins an
upload, then checks the marker, and only then completes the upload. A driver that takes over
removes the markers of earlier drivers first, and then aborts all unfinished uploads. A worker that
still saw its marker had begun its upload before that, so the upload is among the aborted ones and
cannot be completed. Other stores have no multipart uploads: there a worker checks the marker
right before it makes the object, and a takeover between these two requests goes unnoticed.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from calbatch.models.errors import FileError, StorageError, SupersededError
from calbatch.models.storage.location import Url
from calbatch.models.storage.stores import S3, Store

FOLDER = ".calbatch"
PREFIX = "driver-"

AT_ONCE = 4


@dataclass(frozen=True)
class Permit:
    """Permission for one attempt at an exposure to publish objects.

    Attributes
    ----------
    marker : Url
        The driver's marker, which has to exist.
    attempt : str
        The attempt, which must not be among those that the marker lists as revoked.
    """

    marker: Url
    attempt: str

    def require_valid(self) -> None:
        """Check the marker.

        Raises
        ------
        SupersededError
            If the permit was revoked.
        StorageError
            If the server fails.
        """
        store = Store(self.marker)
        try:
            content = store.retry("reading it", lambda: store.call("cat_file", store.path))
        except StorageError:
            raise
        except FileError:
            raise self.revoked_error() from None
        self.check(content)

    def check(self, content: bytes) -> None:
        """Raise an error if the marker's content lists the attempt as revoked."""
        if self.attempt in json.loads(content):
            raise self.revoked_error()

    def revoked_error(self) -> SupersededError:
        """Return the error for a revoked permit."""
        return SupersededError(
            self.marker, "no longer allows this attempt: it was given to another worker"
        )


def upload_with_permit(store: Store, file: Path, chunk: int, permit: Permit) -> None:
    """Upload a file to S3 in parts, and complete the upload only if the permit is valid.

    Raises
    ------
    SupersededError
        If the permit was revoked.
    StorageError
        If another program aborted the upload.
    """
    store.run(_Upload(store, file, chunk, permit).run, file.stat().st_size)


@dataclass
class _Upload:
    """A multipart upload to S3."""

    store: Store
    file: Path
    chunk: int
    permit: Permit

    async def run(self) -> None:
        bucket, key = self.store.bucket_and_key
        begun = await self._request("create_multipart_upload", Bucket=bucket, Key=key)
        target = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}
        try:
            await self._require_permit()
            parts = await self._upload_parts(target)
            try:
                await self._request(
                    "complete_multipart_upload", MultipartUpload={"Parts": parts}, **target
                )
            except FileNotFoundError:  # the upload does not exist any more
                raise await self._aborted_error() from None
        except BaseException:
            with suppress(Exception):  # the first error is the one to report
                await self._request("abort_multipart_upload", **target)
            raise

    async def _request(self, method: str, **named: Any) -> Any:
        return await self.store.call_async("call_s3", method, **named)

    async def _require_permit(self) -> None:
        marker = Store(self.permit.marker)
        try:
            self.permit.check(await marker.call_async("cat_file", marker.path))
        except FileNotFoundError:
            raise self.permit.revoked_error() from None

    async def _aborted_error(self) -> StorageError:
        """Return the error for an aborted upload; raises another if the permit was revoked."""
        await self._require_permit()
        return StorageError(self.store.url, "its upload was aborted by another program")

    async def _upload_parts(self, target: Mapping[str, str]) -> list[dict[str, Any]]:
        count = max(1, -(-self.file.stat().st_size // self.chunk))
        free = asyncio.Semaphore(AT_ONCE)

        async def upload_part(number: int) -> dict[str, Any]:
            async with free:
                with self.file.open("rb") as stream:
                    stream.seek(number * self.chunk)
                    body = stream.read(self.chunk)
                try:
                    part = await self._request(
                        "upload_part", PartNumber=number + 1, Body=body, **target
                    )
                except FileNotFoundError:
                    raise await self._aborted_error() from None
            return {"PartNumber": number + 1, "ETag": part["ETag"]}

        return list(await asyncio.gather(*map(upload_part, range(count))))


class Permits:
    """The permits of one driver for the objects below a URL.

    Parameters
    ----------
    output : Url
        The folder of the objects.
    generation : str
        An identifier that is unique to the driver.

    Attributes
    ----------
    remark : str
        A limitation of the store that weakens the protection; empty if there is none.
    """

    def __init__(self, output: Url, generation: str) -> None:
        self.output = output
        self.marker = output / FOLDER / f"{PREFIX}{generation}"
        self.remark = ""
        self._revoked: list[str] = []

    def claim(self) -> None:
        """Take over the folder: the permits of all other drivers become invalid.

        Raises
        ------
        FileError
            If markers cannot be made or removed, or the server fails.
        """
        self._write_marker()
        folder = Store(self.output / FOLDER)
        for path in folder.retry("listing it", lambda: folder.call("find", folder.path)):
            name = posixpath.basename(path)
            if name.startswith(PREFIX) and name != self.marker.name:
                _remove(Store(self.output / FOLDER / name))
        self._abort_uploads()

    def issue(self, attempt: str) -> Permit:
        """Return a permit for an attempt."""
        return Permit(self.marker, attempt)

    def revoke(self, permit: Permit) -> None:
        """Revoke a permit: nothing of that attempt is published from now on."""
        self._revoked.append(permit.attempt)
        self._write_marker()
        self._abort_uploads()

    def release(self) -> None:
        """Revoke all permits, and remove the marker."""
        _remove(Store(self.marker))
        self._abort_uploads()

    def is_held(self) -> bool:
        """Return whether no other driver has taken over the folder."""
        store = Store(self.marker)
        try:
            store.describe()
        except StorageError:  # unknown; a later check will show
            return True
        except FileError:
            return False
        return True

    def _write_marker(self) -> None:
        store, content = Store(self.marker), json.dumps(self._revoked).encode()
        store.retry("writing it", lambda: _write(store, content))

    def _abort_uploads(self) -> None:
        """Abort all uploads of products; workers with valid permits start theirs again."""
        if self.output.protocol not in S3:
            return
        try:
            self._abort_all_uploads(Store(self.output))
        except StorageError:
            raise
        except FileError as error:
            self.remark = f"a worker of an earlier batch may still complete an upload: {error}"

    def _abort_all_uploads(self, store: Store) -> None:
        for key, upload in list(self._uploads(store)):
            bucket, _ = store.bucket_and_key
            target: dict[str, Any] = {"Bucket": bucket, "Key": key, "UploadId": upload}

            def abort(target: dict[str, Any] = target) -> None:
                with suppress(FileNotFoundError):  # just completed or aborted
                    store.call("call_s3", "abort_multipart_upload", **target)

            store.retry("aborting an upload", abort)

    def _uploads(self, store: Store) -> Iterator[tuple[str, str]]:
        """Yield the key and the identifier of each unfinished upload of a product."""
        bucket, key = store.bucket_and_key
        prefix = f"{key.rstrip('/')}/" if key else ""
        page: dict[str, str] = {}
        while True:
            query: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, **page}
            request = partial(store.call, "call_s3", "list_multipart_uploads", **query)
            answer = store.retry("listing uploads", request)
            for each in answer.get("Uploads", ()):
                name = each["Key"].removeprefix(prefix)
                if "/" not in name and name.endswith(".fits"):
                    yield each["Key"], each["UploadId"]
            if not answer.get("IsTruncated"):
                return
            page = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }


def _write(store: Store, content: bytes) -> None:
    if store.url.protocol not in S3:
        with suppress(NotImplementedError):
            store.call("makedirs", posixpath.dirname(store.path), exist_ok=True)
    store.call("pipe_file", store.path, content)


def _remove(store: Store) -> None:
    def remove_file() -> None:
        with suppress(FileNotFoundError):
            store.call("rm_file", store.path)

    store.retry("removing it", remove_file)
