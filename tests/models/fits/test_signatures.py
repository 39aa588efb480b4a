"""Signatures of formats: messages for files that are not FITS."""

import pytest

from calbatch.models.errors import FileError
from calbatch.models.fits.signatures import check_signature

MESSAGES = {
    b"SIM": "truncated: only 3 bytes",
    b"#ASDF 1.0.0\n": "is an ASDF file, not FITS",
    b"\n<!DOCTYPE html><html>": "is a web page or XML, not FITS: perhaps the response of a failed",
    b'{"error": 404}': "is JSON, not FITS: perhaps the response of a failed download",
    b"\x89HDF\r\n\x1a\n": "is an HDF5 file, not FITS",
    b"PK\x03\x04zip": "is a zip archive, not FITS: unpack it first",
    b"BZh91AY": "is compressed with bzip2: unpack it first",
    b"\0" * 9000: "is filled with zeros: perhaps by an incomplete transfer",
    b"XTENSION= 'IMAGE   '": "begins with an extension: the primary header is missing",
    b"hello, world, a text": "is not FITS: it begins with b'hello, world, a ' instead of SIMPLE",
}


@pytest.mark.parametrize(("start", "message"), MESSAGES.items())
def test_the_message_names_the_format(start, message):
    with pytest.raises(FileError) as refused:
        check_signature("a.fits", start)
    assert str(refused.value).startswith(f"a.fits: {message}")
    assert "\n" not in str(refused.value)


def test_fits_alone_is_accepted():
    card = b"SIMPLE  =                    T"
    check_signature("a.fits", card)
    with pytest.raises(FileError, match="is not FITS"):
        check_signature("a.fits", card.replace(b"SIMPLE", b"SIMPLY"))
