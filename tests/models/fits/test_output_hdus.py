"""Header cards and tables as bytes, against astropy's."""

import io
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from calbatch.models.fits.output_hdus import TablePart, _plain_image, table_bytes

printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)
keywords = st.text("ABCXYZ0189_-", min_size=1, max_size=8)
edge_cases = ["it's", "", "  a", "a ", "&", "x" * 68, "x" * 69, "x" * 67 + "'", "a/b", "axis: 1.0"]
values = st.booleans() | st.integers() | st.floats() | printable | st.sampled_from(edge_cases)


@settings(max_examples=200, deadline=None)
@given(keywords, values, printable)
def test_ordinary_cards_are_formatted_as_by_astropy(keyword, value, comment):
    image = _plain_image(keyword, value, comment)
    # Left to astropy, or something that astropy takes for a value with a record name.
    assume(image is not None and fits.Card(keyword, value).keyword == keyword)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # a comment cut
        assert image == str(fits.Card(keyword, value, comment))


def test_most_cards_are_ordinary():
    for value in (True, 5, -1.5e-7, "JWST", "it's"):
        assert _plain_image("KEY", value, "a comment") is not None


@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize(
    "dtype",
    [
        [("n", "<i4"), ("mjd", ">f8"), ("name", "S5")],
        [("octets", "u1", (98,)), ("cube", "<i2", (2, 3)), ("names", "S3", (2,))],
        [("long", "<i8"), ("real", ">f4")],
        [("unsigned", "<u2"), ("flag", "?")],  # stored otherwise than in memory
    ],
)
def test_tables_are_astropys_byte_for_byte(dtype, rows):
    octets = np.random.default_rng(rows).integers(0, 2, rows * np.dtype(dtype).itemsize, np.uint8)
    table = octets.view(dtype)
    header, data = table_bytes(TablePart("TAB", table))
    stream = io.BytesIO()
    fits.BinTableHDU(table.copy(), name="TAB", ver=1).writeto(stream)
    wanted = stream.getvalue()[2880:]
    found, expected = (
        [text[i : i + 80] for i in range(0, len(header), 80)] for text in (header, wanted)
    )
    ours = (b"CHECKSUM", b"DATASUM")
    assert {card for card in found if not card.startswith(ours)} == set(expected)
    assert data.ljust(len(wanted) - len(header), b"\0") == wanted[len(header) :]
