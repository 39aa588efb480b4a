"""World coordinates of images, from the FITS keywords of their headers."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from calbatch.models.schema.meta import get_path

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from calbatch.models.model import DataModel

_LARGEST_ORDER = 9
"""Highest order of a distortion: keywords, such as A_9_0, have a digit for it."""

_ORDERS = ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER")

_KEYWORDS = re.compile(
    r"WCSAXES|(CRPIX|CRVAL|CDELT|CTYPE|CUNIT|CROTA)\d|(PC|CD|PV)\d_\d+|LONPOLE|LATPOLE|RADESYS"
    r"|EQUINOX|[AB]P?_(ORDER|\d_\d)"
)


def find_wcs(model: DataModel) -> WCS | None:
    """Return the celestial coordinates of a model's frame, as far as keywords state them.

    Parameters
    ----------
    model : DataModel
        The model, whose keywords are those of its primary array.

    Returns
    -------
    astropy.wcs.WCS or None
        None without such keywords, or if they are not valid or give no coordinates in the frame.
    """
    from astropy.io.fits import Header
    from astropy.utils.exceptions import AstropyWarning
    from astropy.wcs import WCS

    cards = _find_cards(model, model.schema.fields[model.primary].hdu.upper())
    if not {"CTYPE1", "CTYPE2"} <= cards.keys():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # of keywords that astropy repairs
        try:
            if any(not 0 <= float(cards.get(name, 0)) <= _LARGEST_ORDER for name in _ORDERS):
                return None  # astropy would look for all coefficients up to that order
            whole = WCS(Header(cards))
            if {whole.wcs.lng, whole.wcs.lat} != {0, 1}:  # the axes of rows and columns
                return None
            wcs = whole.celestial
            is_usable = _has_coordinates(wcs, model.frame)
        except Exception:  # wcslib's errors are of many kinds
            return None
    return wcs if is_usable else None


def _find_cards(model: DataModel, hdu: str) -> dict[str, Any]:
    """Return the keywords of an HDU that define world coordinates, of the schema and others."""
    cards = {keyword: value for keyword, value, _ in model.extra.get(hdu, ())}
    for keyword, specs in model.schema.by_card.get(hdu, {}).items():
        for spec in specs:
            value = get_path(model._content.tree, spec.path)
            if value is not None:
                cards[keyword] = value
    return {keyword: value for keyword, value in cards.items() if _KEYWORDS.fullmatch(keyword)}


def _has_coordinates(wcs: WCS, frame: tuple[int, int]) -> bool:
    """Return whether the corners of a frame have coordinates that lead back to them."""
    height, width = frame
    corners = np.array([(x, y) for x in (0.0, width - 1.0) for y in (0.0, height - 1.0)])
    back = wcs.wcs_world2pix(wcs.wcs_pix2world(corners, 0), 0)
    return bool(np.allclose(back, corners, atol=0.01))
