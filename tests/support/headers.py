"""Comparison of headers with jwst's."""

from astropy.io import fits


def differences(ours: fits.HDUList, theirs: fits.HDUList) -> list[tuple[str, str, object, object]]:
    """Return (HDU, keyword, our value, jwst's) of each card that differs; None if absent.

    The ASDF extension, which repeats the headers in jwst's files, is left out.
    """
    found = []
    images = [[hdu for hdu in hdus if hdu.name != "ASDF"] for hdus in (ours, theirs)]
    for mine, other in zip(*images, strict=True):
        for key in dict.fromkeys([*mine.header, *other.header]):
            values = mine.header.get(key), other.header.get(key)
            if key and str(values[0]) != str(values[1]):
                found.append((mine.name, key, *values))
    return found
