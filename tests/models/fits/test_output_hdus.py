"""Headers and data of tables, against astropy."""

import io

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models.errors import ModelError
from calbatch.models.fits.output_hdus import OutputTable, table_bytes


@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize(
    "dtype",
    [
        [("n", "<i4"), ("mjd", ">f8"), ("name", "S5")],
        [("octets", "u1", (98,)), ("cube", "<i2", (2, 3)), ("names", "S3", (2,))],
        [("long", "<i8"), ("real", ">f4")],
        [("one", "f4", (1,)), ("ones", "f8", (1, 1)), ("letter", "S1"), ("letters", "S1", (2, 1))],
        [("it's", "f4"), ("N" * 60, "i2", (2,))],
        [("void", "f4", (0,)), ("x", "f4")],
        [("unsigned", "<u2"), ("flag", "?")],  # stored differently than in memory
    ],
)
def test_tables_are_astropys_byte_for_byte(dtype, rows):
    octets = np.random.default_rng(rows).integers(0, 2, rows * np.dtype(dtype).itemsize, np.uint8)
    require_astropys_bytes(octets.view(dtype))


def test_text_is_stored_as_ascii():
    texts = [("a", ["b", ""], 1.5), ("two words", ["", "it's"], np.nan), ("", ["x" * 4, "y"], 0)]
    require_astropys_bytes(np.array(texts, [("s", "U9"), ("pair", "U4", (2,)), ("x", "f8")]))
    with pytest.raises(ModelError, match=r"TAB: FITS cannot hold the table"):
        table_bytes(OutputTable("TAB", np.array([("µ",)], [("s", "U1")])))


def require_astropys_bytes(table):
    header, data = table_bytes(OutputTable("TAB", table))
    stream = io.BytesIO()
    fits.BinTableHDU(table.copy(), name="TAB", ver=1).writeto(stream)
    wanted = stream.getvalue()[2880:]
    found, expected = (
        [text[i : i + 80] for i in range(0, len(header), 80)] for text in (header, wanted)
    )
    ours = (b"CHECKSUM", b"DATASUM")
    assert {card for card in found if not card.startswith(ours)} == set(expected)
    assert data.ljust(len(wanted) - len(header), b"\0") == wanted[len(header) :]


def test_the_dimensions_of_a_column_that_is_not_there_are_a_card_as_any_other():
    table = np.zeros(1, [("wavelength", "f4", (5, 1))])
    cards = [("TDIM1", "(9)", ""), ("TDIM2", "(1,5)", "")]
    header, _ = table_bytes(OutputTable("WCS-TABLE", table, cards))
    found = fits.Header.fromstring(header.decode())
    assert (found["TDIM1"], found["TDIM2"]) == ("(1,5)", "(1,5)")
