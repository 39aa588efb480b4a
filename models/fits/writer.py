"""Writing a FITS file by rows from several tasks, under a temporary name until it is complete.

The layout of the file is determined first. Bands of rows are then written in any order, each
contributing to the checksum of the data. Headers are written last, before the file gets its final
name. An object at a URL is written to a scratch folder, and uploaded when it is complete.
"""

import copy
import errno
import os
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt

from calbatch.models.errors import FileError, FullError, ModelError, StorageError
from calbatch.models.fits import byteorder, checksum
from calbatch.models.fits.layout import Layout, read_layout
from calbatch.models.fits.output_hdus import CopiedHdu, OutputHdu, OutputImage, OutputTable, Updates
from calbatch.models.fits.output_layout import ImageExtent, Receipt, lay_out
from calbatch.models.storage.local_files import release_pages, reserve_space, sync_folder
from calbatch.models.storage.location import Location, Url, location
from calbatch.models.storage.scratch import clear_scratch, scratch_folder
from calbatch.models.storage.upload_permits import Permit
from calbatch.models.storage.uploading import require_uploadable, upload

__all__ = [
    "CopiedHdu",
    "FitsWriter",
    "OutputImage",
    "OutputTable",
    "Product",
    "Receipt",
    "write_fits",
]

Array = npt.NDArray[Any]

_FOLDER_FAULTS = {
    errno.ENOENT: "cannot be written: its folder does not exist",
    errno.ENOTDIR: "cannot be written: its folder is not a folder",
    errno.EISDIR: "cannot be written: it is a folder",
    errno.EACCES: "cannot be written: no permission to write in its folder",
    errno.EPERM: "cannot be written: no permission to write in its folder",
    errno.EROFS: "cannot be written: the file system is read-only",
    errno.ENAMETOOLONG: "cannot be written: the name is too long",
}


_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Product:
    """A complete file.

    Attributes
    ----------
    path : str
        The file's path or URL.
    size, mtime_ns : int
        Size in bytes, and modification time in nanoseconds.
    digest : str
        SHA-256 of the headers, which include DATASUM; equal to the file's `Layout.digest`.
    identity : str
        The version of an object, as in the stamp that `calbatch.models.storage.files.read_stamp`
        returns; empty for a file.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str
    identity: str = ""


class FitsWriter:
    """Writer of an output file, picklable so that other processes can write rows.

    Parameters
    ----------
    path : str or path-like
        The final name, or a URL. Until `publish`, the data are in a temporary file in the same
        folder or, for a URL, in `scratch_folder`.
    hdus : sequence of OutputImage, OutputTable or CopiedHdu
        The HDUs in order; the first is an OutputImage.
    fsync : bool
        Whether to flush the file to disk before it gets its name. Unless it is uploaded, its pages
        then leave the system's cache.
    tag : str
        Beginning of the unique part of the temporary name, by which the file can be found.
    staging : Path or Permit, optional
        Folder on the same file system for the temporary file. It is never created here: once
        another process has removed it, the file cannot get its final name. For a URL, a permit
        that can be revoked.

    Attributes
    ----------
    path : Path or Url
        The final name.
    temporary : Path
        The temporary name.
    size : int
        Size of the file, in bytes.

    Raises
    ------
    ModelError
        If FITS cannot hold an HDU, or two images have the same field name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        hdus: Sequence[OutputHdu],
        *,
        fsync: bool = True,
        tag: str = "",
        staging: Path | Permit | None = None,
    ) -> None:
        self.path = location(path).absolute()
        self._layout: Layout | None = None
        unique = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex}"
        # The name is short enough for any file system, regardless of the final name's length.
        tagged = f"{tag[:40]}-{unique}" if tag else unique
        self._permit = staging if isinstance(staging, Permit) else None
        folder = staging if isinstance(staging, Path) else self._folder()
        self.temporary = folder / f".{self.path.name[:100]}.{tagged}.part"
        self._fsync = fsync
        # An upload reads its file right away, from the system's cache.
        self._releases = fsync and not isinstance(self.path, Url)
        with self._naming():
            self._extents = tuple(lay_out(hdus))
        if not self._extents:
            raise ModelError(f"{self.path}: a file needs at least a primary HDU")
        self.size = self._extents[-1].end
        images = [s for s in self._extents if isinstance(s, ImageExtent) and s.shape]
        self._fields = {extent.field: extent for extent in images}
        if len(self._fields) < len(images):
            raise ModelError(f"{self.path}: two images have the same field name")

    def _folder(self) -> Path:
        """Return the folder of the temporary file."""
        if isinstance(self.path, Url):
            require_uploadable(self.path)
            with suppress(OSError):  # another process may remove the same files
                clear_scratch(_host())
            return scratch_folder()
        return self.path.parent

    def prepare(self) -> None:
        """Make the temporary file, and reserve its disk space if the file system supports it.

        Repeated calls, such as after a lost task, preserve the data already written.

        Raises
        ------
        FileError
            If the folder is missing or not writable, or the name is that of a folder.
        StorageError
            If the disk is full.
        """
        with self._open_for_writing(os.O_CREAT) as descriptor:
            reserve_space(descriptor, self.size)

    def write_rows(self, field: str, rows: tuple[int, int], array: Array) -> Receipt:
        """Write a band of rows of every plane of a field.

        Parameters
        ----------
        field : str
            Name of an image's field.
        rows : (int, int)
            Start and stop; an array with a single axis is one row.
        array : ndarray, shape (..., stop - start, columns)
            Array of the field's type, which may be read-only.

        Returns
        -------
        Receipt
            A receipt to pass to `finish`.

        Raises
        ------
        ModelError
            If the array has the wrong shape or type, or the file has no such field.
        StorageError
            If the disk is full or fails.
        """
        if field not in self._fields:
            raise ModelError(f"{self.path}: has no field {field!r}, only {list(self._fields)}")
        with self._naming(), self._open_for_writing() as descriptor:
            return self._fields[field].write_rows(descriptor, rows, array, to_disk=self._releases)

    def narrow(self, fields: Iterable[str]) -> Self:
        """Return a small copy for other processes, which can only write rows of some fields."""
        twin = copy.copy(self)
        twin._fields = {field: self._fields[field] for field in fields}
        twin._extents = ()
        return twin

    def finish(
        self, receipts: Iterable[Receipt], updates: Mapping[str, Updates] | None = None
    ) -> Product:
        """Complete and publish the file; see `complete` and `publish`."""
        self.complete(receipts, updates)
        return self.publish()

    def complete(
        self, receipts: Iterable[Receipt], updates: Mapping[str, Updates] | None = None
    ) -> None:
        """Write tables, copied HDUs and headers, and check that all rows have been written.

        Parameters
        ----------
        receipts : iterable of Receipt
            Receipts in any order, which together cover each row of each field once.
        updates : mapping, optional
            By EXTNAME ("PRIMARY" for the first HDU), new values of existing header cards; None
            blanks a card.

        Raises
        ------
        ModelError
            If rows are missing or were written twice, or a card was not reserved.
        FileError
            If a file from which HDUs are copied is missing or has changed.
        StorageError
            If the disk is full or fails, or the temporary file is gone.
        """
        known = list(receipts)
        changes = {name.upper(): values for name, values in (updates or {}).items()}
        with self._naming(), self._open_for_writing() as descriptor:
            if os.fstat(descriptor).st_size != self.size:
                raise StorageError(self.path, f"its unfinished {self.temporary.name} was cut short")
            for extent in self._extents:
                extent.complete(descriptor, known, changes.pop(extent.extname, {}))
            if changes:
                raise ModelError(f"has no HDU {next(iter(changes))} to update")
            if self._fsync:
                os.fsync(descriptor)
            self._layout = read_layout(self.temporary)  # checks the written headers
            if self._releases:
                release_pages(descriptor)

    def publish(self) -> Product:
        """Publish the complete file under its final name.

        Raises
        ------
        FileError
            If the folder is no longer writable.
        StorageError
            If the temporary file is gone, or the disk or the server fails.
        """
        with self._naming():
            return self._publish()

    def _publish(self) -> Product:
        layout = self._layout
        if layout is None:
            raise ModelError("is not complete")
        if isinstance(self.path, Url):
            facts = upload(self.temporary, self.path, self._permit)
            self.abort()
            digest = layout.digest
            return Product(self.path.text, facts.size, facts.mtime_ns, digest, facts.version)
        self._rename(self.path)
        return Product(str(self.path), layout.size, layout.mtime_ns, layout.digest)

    def _rename(self, path: Path) -> None:
        """Rename the temporary file, which fails if another process has removed its folder."""
        try:
            self.temporary.rename(path)
            if self._fsync:
                sync_folder(path.parent)
        except OSError as error:
            if error.errno == errno.ENOENT and path.parent.is_dir():
                raise StorageError(path, f"its unfinished {self.temporary.name} is gone") from error
            if error.errno in _FOLDER_FAULTS:
                raise FileError(path, _FOLDER_FAULTS[error.errno]) from error
            raise self._fault(error, "renaming the complete file to this failed") from error

    def abort(self) -> None:
        """Remove the temporary file, if it exists; a published file remains."""
        with suppress(OSError):
            self.temporary.unlink()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Add the file's name to errors of its HDUs."""
        try:
            yield
        except FileError:
            raise
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from error

    @contextmanager
    def _open_for_writing(self, flags: int = 0) -> Iterator[int]:
        """Yield a descriptor of the temporary file, and raise disk errors as `FileError`."""
        try:
            descriptor = self._open(flags)
        except OSError as error:
            reason = _FOLDER_FAULTS.get(error.errno or 0, f"cannot be written: {error.strerror}")
            kind = FullError if error.errno in _FULL else FileError
            raise kind(self._blamed, reason) from error
        try:
            yield descriptor
        except OSError as error:
            raise self._fault(error, f"writing {self.size} bytes failed") from error
        finally:
            os.close(descriptor)

    def _fault(self, error: OSError, what: str) -> StorageError:
        kind = FullError if error.errno in _FULL else StorageError
        return kind(self._blamed, f"{what}: {error.strerror or error}")

    @property
    def _blamed(self) -> Location:
        """The file to name in disk errors: for a URL, the one in the scratch folder."""
        return self.temporary if isinstance(self.path, Url) else self.path

    def _open(self, flags: int) -> int:
        if flags and isinstance(self.path, Path):
            _require_place(self.path)
        try:
            # A scratch folder may be readable by all users.
            mode = 0o600 if isinstance(self.path, Url) else 0o666
            return os.open(self.temporary, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, mode)
        except FileNotFoundError as error:
            if flags:
                raise
            raise StorageError(
                self.path, f"its unfinished {self.temporary.name} is gone"
            ) from error


def write_fits(
    path: str | os.PathLike[str],
    hdus: Sequence[OutputHdu],
    arrays: Mapping[str, Array],
    *,
    fsync: bool = True,
) -> Product:
    """Write arrays in memory to a file.

    Parameters
    ----------
    path : str or path-like
        The file, which is replaced if it exists.
    hdus : sequence of OutputImage, OutputTable or CopiedHdu
        The HDUs in order.
    arrays : mapping
        The pixels of the images, by field name.
    fsync : bool
        Whether to flush the file to disk before it gets its name.
    """
    writer = FitsWriter(path, hdus, fsync=fsync)
    try:
        writer.prepare()
        rows = {name: array.shape[-2] if array.ndim > 1 else 1 for name, array in arrays.items()}
        return writer.finish(writer.write_rows(n, (0, rows[n]), a) for n, a in arrays.items())
    finally:
        writer.abort()


def _host() -> str:
    return socket.gethostname()[:40]


def _require_place(path: Path) -> None:
    """Raise an error, before anything is computed, if the file cannot get its final name."""
    fault = 0
    if path.is_dir():
        fault = errno.EISDIR
    elif not path.parent.is_dir():
        fault = errno.ENOTDIR if path.parent.exists() else errno.ENOENT
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        fault = errno.EACCES
    if fault:
        raise OSError(fault, os.strerror(fault))


def warm_kernels() -> None:
    """Compile the kernels that writing uses, or load them from numba's cache."""
    byteorder.warm_kernels()
    checksum.warm_kernels()
