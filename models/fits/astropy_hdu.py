"""Where astropy is asked to make sense of an HDU: tables, and what is compressed or scaled."""

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
    """Give an HDU as astropy reads it.

    Parameters
    ----------
    stamp : Stamp
        The file.
    index : int
        The HDU's place in it.
    label : str
        What messages call it.

    Raises
    ------
    FileError
        The file has changed, or astropy raised anything at all: over damaged headers and data it
        raises every kind of exception.
    """
    with open_file(stamp) as file, warnings.catch_warnings(), file.stream() as stream:
        warnings.simplefilter("ignore")  # what matters was checked with the layout
        source = gzip.GzipFile(fileobj=stream) if stamp.is_gzipped else stream
        try:
            with fits.open(source, memmap=False) as hdus:
                yield hdus[index]
        except FileError:
            raise
        except Exception as error:
            reason = f"{label} cannot be decoded: {type(error).__name__}: {one_line(error)}"
            raise FileError(stamp.path, reason) from error
