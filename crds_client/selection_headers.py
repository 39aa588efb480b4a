"""The values that references are selected by, read from the headers of files.

A keyword is taken from the first of a file's headers that contains it, as by the official client.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from calbatch.crds_client.errors import CrdsError, HeaderError, convert_errors
from calbatch.models.fits.asdf_tree import read_tree
from calbatch.models.fits.cards import CARD_LENGTH, read_cards
from calbatch.models.fits.layout import read_layout
from calbatch.models.schema.meta import flatten

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
        with Path(path).open("rb") as stream:
            is_asdf = stream.read(6) == b"#ASDF "
        return _read_asdf(path) if is_asdf else _read_fits(path, wanted)


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


def _read_fits(path: str | os.PathLike[str], wanted: Collection[str]) -> HeaderValues:
    keywords = {name.ljust(_KEYWORD_LENGTH) for name in wanted if len(name) <= _KEYWORD_LENGTH}
    values: HeaderValues = {}
    for hdu in read_layout(path).hdus:
        for keyword, value, _ in read_cards("".join(_select_cards(hdu.text, keywords))):
            values.setdefault(keyword, value if isinstance(value, _PLAIN) else None)
        if len(values) == len(keywords):
            break
    return values


def _select_cards(header: str, keywords: Collection[str]) -> Iterator[str]:
    """Yield the cards of the keywords, each with its CONTINUE cards."""
    is_selected = False
    for start in range(0, len(header), CARD_LENGTH):
        keyword = header[start : start + _KEYWORD_LENGTH]
        is_selected = keyword in keywords or (is_selected and keyword == "CONTINUE")
        if is_selected:
            yield header[start : start + CARD_LENGTH]
