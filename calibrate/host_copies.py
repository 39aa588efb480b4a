"""Copies of reference files that each host decodes once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.models.errors import FileError
from calbatch.models.fits.decoded_copies import DecodedCopies
from calbatch.models.private import NotPrivateError


@dataclass(frozen=True)
class HostCopies:
    """Copies of compressed, scaled and tabular references, which are decoded once on each host.

    See `calbatch.models.fits.readers.CopyProvider`.

    Parameters
    ----------
    folder : str, optional
        The folder of the copies; by default the host's own (``CALBATCH_DECODED_DIR``).
    """

    folder: str | None = None

    def plain_file(self, path: str) -> Path:
        """Return a file whose images can be read by position.

        Raises
        ------
        ReferenceFileError
            If it cannot be decoded, or the copy cannot be written.
        """
        try:
            return DecodedCopies(self.folder).plain_file(path)
        except FileError as error:
            raise ReferenceFileError(str(error)) from error

    def table_file(self, path: str, index: int) -> Path | None:
        """Return an ``.npy`` file with a table's rows; None if it cannot hold them."""
        try:
            return DecodedCopies(self.folder).table_file(path, index)
        except NotPrivateError as error:
            raise ReferenceFileError(str(error)) from error
        except FileError:
            return None
