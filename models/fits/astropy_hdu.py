"""Reading HDUs with astropy: tables, and compressed or scaled images.

The import of astropy takes 0.14 s, a tenth of a batch of one exposure, which needs it for unusual
files only. Therefore, this package imports it where it is used.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from calbatch.models.errors import FileError, one_line
from calbatch.models.storage.files import open_file
from calbatch.models.storage.stamps import Stamp

if TYPE_CHECKING:
    from astropy.io import fits


@contextmanager
def open_astropy_hdu(stamp: Stamp, index: int, label: str) -> Iterator[Any]:
    """Open an HDU with astropy, and yield it.

    Parameters
    ----------
    stamp : Stamp
        The file.
    index : int
        The HDU's index in the file.
    label : str
        The HDU's name in messages.

    Raises
    ------
    FileError
        If the file has changed, or astropy raises an exception, which can be of any kind for
        damaged headers and data.
    """
    from astropy.io import fits

    with open_file(stamp) as file, warnings.catch_warnings(), file.stream() as stream:
        warnings.simplefilter("ignore")  # reading the layout has checked the headers
        source = gzip.GzipFile(fileobj=stream) if stamp.is_gzipped else stream
        try:
            with fits.open(source, memmap=False) as hdus:
                yield hdus[index]
        except FileError:
            raise
        except Exception as error:
            reason = f"{label} cannot be decoded: {type(error).__name__}: {one_line(error)}"
            raise FileError(stamp.path, reason) from error


def read_header_text(text: str) -> fits.Header:
    """Return astropy's header of the text of its cards."""
    from astropy.io import fits

    return fits.Header.fromstring(text)


def is_fits_records(table: Any) -> bool:
    """Return whether a table is one of astropy's, as its files have them."""
    if not isinstance(table, np.recarray):  # its base
        return False
    from astropy.io.fits import FITS_rec

    return isinstance(table, FITS_rec)
