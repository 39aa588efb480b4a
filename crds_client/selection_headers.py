"""The values that references are selected by, read from the headers of files.

A keyword is taken from the first of a file's headers that contains it, as by the official client.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any

from calbatch.crds_client.errors import CrdsError, HeaderError, convert_errors
from calbatch.models.asdf.asdf_tree import read_tree
from calbatch.models.fits.cards import HeaderKeywords, read_cards
from calbatch.models.fits.layout import walk_headers
from calbatch.models.schema.meta import flatten
from calbatch.models.storage.files import open_decompressed, read_stamp

_KEYWORD_LENGTH = 8
_PLAIN = (str, int, float, bool)

HeaderValues = dict[str, Any]


def read_selection_header(path: str | os.PathLike[str], wanted: Collection[str]) -> HeaderValues:
    """Read keywords from a FITS file, gzipped or not, or all plain values from an ASDF file.

    Parameters
    ----------
    path : path
        The file.
    wanted : collection of str
        FITS keywords, in upper case; other names are ignored.

    Returns
    -------
    dict
        Value by keyword; by dotted path in upper case for an ASDF file. Absent keywords are left
        out.

    Raises
    ------
    HeaderError
        If the file does not exist, is damaged, or is neither FITS nor ASDF; the message starts
        with its path.
    """
    with convert_errors(HeaderError, path):
        stamp = read_stamp(path)
        with open_decompressed(stamp) as read_at:
            if read_at(0, 6) == b"#ASDF ":
                return _read_asdf(path)
            return _read_fits(walk_headers(stamp, read_at), wanted)


def read_selection_headers(
    paths: Iterable[str | os.PathLike[str]], wanted: Collection[str]
) -> tuple[dict[str, HeaderValues], dict[str, str]]:
    """Read the keywords of many files.

    Returns
    -------
    headers : dict
        Values by path.
    faults : dict
        Error message by path, of the files that cannot be read.
    """
    headers, faults = {}, {}
    for path in paths:
        try:
            headers[str(path)] = read_selection_header(path, wanted)
        except CrdsError as error:
            faults[str(path)] = str(error)
    return headers, faults


def _read_asdf(path: str | os.PathLike[str]) -> HeaderValues:
    flat = flatten(read_tree(path))
    return {str(key).upper(): value for key, value in flat.items() if isinstance(value, _PLAIN)}


def _read_fits(headers: Iterable[HeaderKeywords], wanted: Collection[str]) -> HeaderValues:
    names = {name for name in wanted if len(name) <= _KEYWORD_LENGTH}
    keywords = {name.ljust(_KEYWORD_LENGTH).encode() for name in names}
    values: HeaderValues = {}
    for header in headers:
        for keyword, value, _ in read_cards(header.cards(keywords)):
            values.setdefault(keyword, value if isinstance(value, _PLAIN) else None)
        if len(values) == len(keywords):
            break
    return values
