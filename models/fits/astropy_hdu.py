"""Reading HDUs with astropy: tables, and compressed or scaled images."""

import gzip
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from astropy.io import fits

from calbatch.models.errors import FileError, one_line
from calbatch.models.storage.files import open_file
from calbatch.models.storage.stamps import Stamp


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
