"""Digests of the contents of files, by which a later change is found."""

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import xxhash

from calbatch.models.storage.files import file_at
from calbatch.models.storage.passing_digests import digest_in_passing
from calbatch.models.storage.stamps import Hashing, Stamp

KINDS: Mapping[str, Any] = {"xxh128": xxhash.xxh3_128, "sha256": hashlib.sha256}
"""The digests of local files by name: that which is recorded, and that which older ledgers have."""


def content_digest(stamp: Stamp, like: str = "") -> str:
    """Return a digest of a file's content, after verifying that the file is unchanged.

    A local file is read again, except for what has been read in order within the same context of
    `begin_content_digest`. An object is not: its store confirmed its version after each read.

    Parameters
    ----------
    stamp : Stamp
        The file as it was before its pixels were read.
    like : str
        An earlier digest to compare with, whose kind is chosen.

    Returns
    -------
    str
        ``xxh128:`` and the digest of a local file as stored; the version of an object after its
        kind, such as ``etag:`` (see `calbatch.models.storage.stores.ObjectInfo`).

    Raises
    ------
    ChangedError
        If anything about the file has changed, even its permissions.
    FileError
        If the file is gone.
    StorageError
        If the disk fails.
    """
    earlier = like.partition(":")[0]
    kind = earlier if earlier in KINDS else next(iter(KINDS))
    return file_at(stamp.path).content_digest(stamp, Hashing(kind, KINDS[kind]))


def begin_content_digest(stamp: Stamp) -> AbstractContextManager[None]:
    """Return a context in which a digest of a file is computed while it is read in order.

    Within it, `content_digest` reads only the rest.
    """
    kind, new = next(iter(KINDS.items()))
    return digest_in_passing(stamp, Hashing(kind, new))
