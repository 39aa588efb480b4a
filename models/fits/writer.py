"""Writing a FITS file by rows, from several tasks, under another name until it is complete.

The file is laid out first. Bands of rows are then written into their places in any order, each
giving its share of the data's checksum; headers come last, and with them the final name. What is to
be an object at a URL is written in a folder for scratch, and uploaded when it is complete.
"""

import errno
import os
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from calbatch.models.errors import FileError, FullError, ModelError, StorageError
from calbatch.models.fits import byteorder, checksum
from calbatch.models.fits.layout import Layout, read_layout
from calbatch.models.fits.output_hdus import CopiedHdu, OutputHdu, OutputImage, OutputTable, Updates
from calbatch.models.fits.output_layout import ImageExtent, Receipt, lay_out
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
    """A file that is complete.

    Attributes
    ----------
    path : str
        Its final name, or its URL.
    size, mtime_ns : int
        Bytes, and time of the last change in nanoseconds.
    digest : str
        SHA-256 of its headers, DATASUM included: `Layout.digest` of the same file is equal.
    identity : str
        What an object's store calls this version of it, as
        `calbatch.models.storage.files.read_stamp` tells.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str
    identity: str = ""


class FitsWriter:
    """The plan of one output file. It pickles: rows can be written from other processes.

    Parameters
    ----------
    path : str or path-like
        The final name, or a URL. Until `finish`, everything happens in a file of another name
        beside it; of an object, in `scratch_folder`.
    hdus : sequence of OutputImage, OutputTable or CopiedHdu
        The HDUs in order; the first is an OutputImage.
    fsync : bool
        Whether the file is to be on the disk when it gets its name.
    tag : str
        Begins the unique part of the temporary name, so that whoever chose it finds the file.
    staging : Path or Permit, optional
        A folder of the same file system in which to make the file. It is never created here: once
        somebody else has removed it, the file cannot get its final name any more. For an object,
        a permit that can be taken back.

    Attributes
    ----------
    path : Path or Url
        The final name.
    temporary : Path
        The temporary name.
    size : int
        Of the file, in bytes.

    Raises
    ------
    ModelError
        Something that FITS cannot hold, or two images with one field's name.
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
        # Short enough for any file system, whatever the length of the final name.
        tagged = f"{tag[:40]}-{unique}" if tag else unique
        self._permit = staging if isinstance(staging, Permit) else None
        folder = staging if isinstance(staging, Path) else self._folder()
        self.temporary = folder / f".{self.path.name[:100]}.{tagged}.part"
        self._fsync = fsync
        with self._naming():
            self._segments = tuple(lay_out(hdus))
        if not self._segments:
            raise ModelError(f"{self.path}: a file needs at least a primary HDU")
        self.size = self._segments[-1].end
        images = [s for s in self._segments if isinstance(s, ImageExtent) and s.shape]
        self._fields = {segment.field: segment for segment in images}
        if len(self._fields) < len(images):
            raise ModelError(f"{self.path}: two images have one field's name")

    def _folder(self) -> Path:
        """Return where the temporary file lies."""
        if isinstance(self.path, Url):
            require_uploadable(self.path)
            with suppress(OSError):  # another process may be removing the same
                clear_scratch(_host())
            return scratch_folder()
        return self.path.parent

    def prepare(self) -> None:
        """Make the temporary file, with all its space where the file system can reserve it.

        Doing it again, as when a lost task is repeated, keeps what has been written.

        Raises
        ------
        FileError
            The folder is absent or cannot be written, or the name is a folder's.
        StorageError
            The disk has no room.
        """
        with self._writing(os.O_CREAT) as descriptor:
            _reserve(descriptor, self.size)

    def write_rows(self, field: str, rows: tuple[int, int], array: Array) -> Receipt:
        """Write a band of rows of every plane of a field.

        Parameters
        ----------
        field : str
            Name of an image part.
        rows : (int, int)
            Start and stop; an array with a single axis is one row.
        array : ndarray, shape (..., stop - start, columns)
            Of the field's type. It is not changed, and may be read-only.

        Returns
        -------
        Receipt
            To be given to `finish`.

        Raises
        ------
        ModelError
            An array of another shape or type, or a field that the file has not.
        StorageError
            The disk is full or failing.
        """
        if field not in self._fields:
            raise ModelError(f"{self.path}: has no field {field!r}, only {list(self._fields)}")
        with self._naming(), self._writing() as descriptor:
            return self._fields[field].write_rows(descriptor, rows, array)

    def finish(
        self, receipts: Iterable[Receipt], updates: Mapping[str, Updates] | None = None
    ) -> Product:
        """Write the rest, check that nothing is missing, and give the file its name.

        Parameters and errors are those of `complete` and `publish`.
        """
        self.complete(receipts, updates)
        return self.publish()

    def complete(
        self, receipts: Iterable[Receipt], updates: Mapping[str, Updates] | None = None
    ) -> None:
        """Write the rest and check that nothing is missing; only the final name is lacking then.

        Parameters
        ----------
        receipts : iterable of Receipt
            In any order; together they cover every row of every field once.
        updates : mapping, optional
            By EXTNAME ("PRIMARY" for the first HDU), values for header cards that are there
            already; None blanks the card out.

        Raises
        ------
        ModelError
            Rows that are missing or were written twice, or a card that was not reserved.
        FileError
            A file that HDUs are copied from is gone or has changed.
        StorageError
            The disk is full or failing, or the temporary file is gone.
        """
        given = list(receipts)
        changes = {name.upper(): values for name, values in (updates or {}).items()}
        with self._naming(), self._writing() as descriptor:
            if os.fstat(descriptor).st_size != self.size:
                raise StorageError(self.path, f"its unfinished {self.temporary.name} was cut short")
            for segment in self._segments:
                segment.complete(descriptor, given, changes.pop(segment.extname, {}))
            if changes:
                raise ModelError(f"has no HDU {next(iter(changes))} to update")
            if self._fsync:
                os.fsync(descriptor)
            self._layout = read_layout(self.temporary)  # a last look at what others will read

    def publish(self) -> Product:
        """Give the file, which is complete, its final name.

        Raises
        ------
        FileError
            The folder cannot be written any more.
        StorageError
            The temporary file is gone, or the disk or the server fails.
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
        """Rename the temporary file, which fails where somebody else has removed its folder."""
        try:
            self.temporary.rename(path)
            if self._fsync:
                _sync_folder(path.parent)
        except OSError as error:
            if error.errno == errno.ENOENT and path.parent.is_dir():
                raise StorageError(path, f"its unfinished {self.temporary.name} is gone") from error
            if error.errno in _FOLDER_FAULTS:
                raise FileError(path, _FOLDER_FAULTS[error.errno]) from error
            raise self._fault(error, "renaming it to this failed") from error

    def abort(self) -> None:
        """Remove the temporary file, if it is there; a finished file stays."""
        with suppress(OSError):
            self.temporary.unlink()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Put the file's name before what the parts complain of."""
        try:
            yield
        except FileError:
            raise
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from error

    @contextmanager
    def _writing(self, flags: int = 0) -> Iterator[int]:
        """Give a descriptor of the temporary file, and say what went wrong with the disk."""
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
        """Which file a fault of the disk is about: of an object, the one for scratch."""
        return self.temporary if isinstance(self.path, Url) else self.path

    def _open(self, flags: int) -> int:
        if flags and isinstance(self.path, Path):
            _require_place(self.path)
        try:
            # Folders for scratch may be everybody's.
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
    """Write a file of arrays in memory at once.

    Parameters
    ----------
    path : str or path-like
        The file to be, replaced if it exists.
    hdus : sequence of OutputImage, OutputTable or CopiedHdu
        The HDUs in order.
    arrays : mapping
        The pixels of the image parts, by their fields' names.
    fsync : bool
        Whether the file is to be on the disk when it gets its name.
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
    """Refuse, before anything is computed, a final name that the file could not get."""
    fault = 0
    if path.is_dir():
        fault = errno.EISDIR
    elif not path.parent.is_dir():
        fault = errno.ENOTDIR if path.parent.exists() else errno.ENOENT
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        fault = errno.EACCES
    if fault:
        raise OSError(fault, os.strerror(fault))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Give a file its size, and its space on the disk where the system knows how."""
    if hasattr(os, "posix_fallocate"):
        try:
            return os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    return os.ftruncate(descriptor, size)


def warm_kernels() -> None:
    """Compile the kernels that writing uses, or load them from numba's cache."""
    byteorder.warm_kernels()
    checksum.warm_kernels()
