"""Permits to make objects, which whoever gave them can take back for good.

A store of objects has no rename that fails when a folder is gone. In its place, each driver of a
batch has a marker: a small object ``.calbatch/driver-…`` beside the products. On S3 a worker begins
an upload, then looks at the marker, and only then completes the upload. Whoever takes the place up
removes the markers of earlier drivers first, and then ends all uploads that were begun. A worker
that still saw its marker began before that, so its upload is among those that are ended, and
completing it fails. Other stores have no uploads of several requests: there a worker looks at the
marker right before the object is made, and what remains is the time between these two requests.
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
from calbatch.models.storage.stores import Store

FOLDER = ".calbatch"
PREFIX = "driver-"

S3 = ("s3", "s3a")
AT_ONCE = 4


@dataclass(frozen=True)
class Permit:
    """What a worker's objects need to be published.

    Attributes
    ----------
    marker : Url
        The object that has to be there.
    attempt : str
        The try that the object must not name among those that were given up.
    """

    marker: Url
    attempt: str

    def require(self) -> None:
        """Look at the marker.

        Raises
        ------
        SupersededError
            The permit was taken back.
        StorageError
            The server fails.
        """
        store = Store(self.marker)
        try:
            text = store.tried("reading it", lambda: store.run("cat_file", store.path))
        except StorageError:
            raise
        except FileError:
            raise self._refusal() from None
        self.check(text)

    def check(self, text: bytes) -> None:
        """Refuse what the marker says was given up."""
        if self.attempt in json.loads(text):
            raise self._refusal()

    def _refusal(self) -> SupersededError:
        return SupersededError(
            self.marker, "does not allow this try any more: it was given to another worker"
        )


def upload_with_permit(store: Store, file: Path, chunk: int, permit: Permit) -> None:
    """Upload a file to S3 in parts, and complete the upload only if the permit holds.

    Raises
    ------
    SupersededError
        The permit was taken back.
    StorageError
        Somebody ended the upload.
    """
    from fsspec.asyn import sync

    size = file.stat().st_size
    upload = _Upload(store, file, chunk, permit)
    sync(store.files.loop, upload.run, timeout=store.limit(size))


@dataclass
class _Upload:
    """One upload to S3 in parts."""

    store: Store
    file: Path
    chunk: int
    permit: Permit

    async def run(self) -> None:
        files = self.store.files
        bucket, key, _ = files.split_path(self.store.path)
        began = await files._call_s3("create_multipart_upload", Bucket=bucket, Key=key)
        where = {"Bucket": bucket, "Key": key, "UploadId": began["UploadId"]}
        try:
            await self._require_permit()
            parts = await self._parts(where)
            try:
                await files._call_s3(
                    "complete_multipart_upload", MultipartUpload={"Parts": parts}, **where
                )
            except FileNotFoundError:  # there is no such upload any more
                await self._require_permit()
                raise StorageError(self.store.url, "its upload was ended by somebody") from None
        except BaseException:
            with suppress(Exception):  # what is told is why it was not uploaded
                await files._call_s3("abort_multipart_upload", **where)
            raise

    async def _require_permit(self) -> None:
        marker = Store(self.permit.marker)
        try:
            self.permit.check(await marker.files._cat_file(marker.path))
        except FileNotFoundError:
            raise self.permit._refusal() from None

    async def _parts(self, where: Mapping[str, str]) -> list[dict[str, Any]]:
        count = max(1, -(-self.file.stat().st_size // self.chunk))
        free = asyncio.Semaphore(AT_ONCE)

        async def sent(number: int) -> dict[str, Any]:
            async with free:
                with self.file.open("rb") as stream:
                    stream.seek(number * self.chunk)
                    body = stream.read(self.chunk)
                try:
                    made = await self.store.files._call_s3(
                        "upload_part", PartNumber=number + 1, Body=body, **where
                    )
                except FileNotFoundError:
                    await self._require_permit()
                    raise StorageError(self.store.url, "its upload was ended by somebody") from None
            return {"PartNumber": number + 1, "ETag": made["ETag"]}

        return list(await asyncio.gather(*map(sent, range(count))))


class Permits:
    """Permits for the objects below a URL, of one driver.

    Parameters
    ----------
    output : Url
        Where objects are made.
    generation : str
        Unique to the driver.

    Attributes
    ----------
    remark : str
        What the store does not permit, so that less holds than it says above.
    """

    def __init__(self, output: Url, generation: str) -> None:
        self.output = output
        self.marker = output / FOLDER / f"{PREFIX}{generation}"
        self.remark = ""
        self._refused: list[str] = []

    def claim(self) -> None:
        """Take the place up: nobody else's permits hold from now on.

        Raises
        ------
        FileError
            When markers cannot be made or removed, or the server fails.
        """
        self._write()
        folder = Store(self.output / FOLDER)
        for path in folder.tried("listing it", lambda: folder.run("find", folder.path)):
            name = posixpath.basename(path)
            if name.startswith(PREFIX) and name != self.marker.name:
                _removed(Store(self.output / FOLDER / name))
        self._end_uploads()

    def permit(self, attempt: str) -> Permit:
        """Return a permit for a try."""
        return Permit(self.marker, attempt)

    def refuse(self, permit: Permit) -> None:
        """Take a permit back: nothing of that try is published from now on."""
        self._refused.append(permit.attempt)
        self._write()
        self._end_uploads()

    def release(self) -> None:
        """Take all permits back, and leave no marker."""
        _removed(Store(self.marker))
        self._end_uploads()

    def hold(self) -> bool:
        """Return whether nobody else has taken the place up."""
        store = Store(self.marker)
        try:
            store.facts()
        except StorageError:  # who knows
            return True
        except FileError:
            return False
        return True

    def _write(self) -> None:
        store, text = Store(self.marker), json.dumps(self._refused).encode()
        store.tried("writing it", lambda: _written(store, text))

    def _end_uploads(self) -> None:
        """End all uploads of products: workers whose permits hold begin theirs anew."""
        if self.output.protocol not in S3:
            return
        try:
            self._end_all_uploads(Store(self.output))
        except StorageError:
            raise
        except FileError as error:
            self.remark = f"a worker of an earlier batch may still complete an upload: {error}"

    def _end_all_uploads(self, store: Store) -> None:
        for key, upload in list(self._uploads(store)):
            bucket, _, _ = store.files.split_path(store.path)
            where: dict[str, Any] = {"Bucket": bucket, "Key": key, "UploadId": upload}

            def end(where: dict[str, Any] = where) -> None:
                with suppress(FileNotFoundError):  # it has just been completed or ended
                    store.run("call_s3", "abort_multipart_upload", **where)

            store.tried("ending an upload", end)

    def _uploads(self, store: Store) -> Iterator[tuple[str, str]]:
        bucket, key, _ = store.files.split_path(store.path)
        prefix = f"{key.rstrip('/')}/" if key else ""
        more: dict[str, str] = {}
        while True:
            asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, **more}
            ask = partial(store.run, "call_s3", "list_multipart_uploads", **asked)
            found = store.tried("listing uploads", ask)
            for one in found.get("Uploads", ()):
                name = one["Key"].removeprefix(prefix)
                if "/" not in name and name.endswith(".fits"):
                    yield one["Key"], one["UploadId"]
            if not found.get("IsTruncated"):
                return
            more = {
                "KeyMarker": found["NextKeyMarker"], "UploadIdMarker": found["NextUploadIdMarker"],
            }  # fmt: skip


def _written(store: Store, text: bytes) -> None:
    if store.url.protocol not in S3:
        with suppress(NotImplementedError):
            store.run("makedirs", posixpath.dirname(store.path), exist_ok=True)
    store.run("pipe_file", store.path, text)


def _removed(store: Store) -> None:
    def remove() -> None:
        with suppress(FileNotFoundError):
            store.run("rm_file", store.path)

    store.tried("removing it", remove)
