"""Headers of HDUs: shape, type and size, and implausible values."""

import numpy as np
import pytest
from support.fits_bytes import header

from calbatch.models.errors import FileError
from calbatch.models.fits.cards import read_cards
from calbatch.models.fits.hdu import parse_hdu
from calbatch.models.storage.files import read_stamp


@pytest.fixture
def parse(tmp_path):
    """Return a function that parses the header of an extension."""
    path = tmp_path / "a.fits"
    path.write_bytes(b"SIMPLE  =")
    stamp = read_stamp(path)

    def parse(*cards, index=1):
        return parse_hdu(stamp, index, 2880, header(*cards))

    return parse


def image(bitpix, *lengths, extra=()):
    axes = [f"NAXIS{n} = {length}" for n, length in enumerate(lengths, 1)]
    return (
        "XTENSION= 'IMAGE   '", f"BITPIX = {bitpix}", f"NAXIS = {len(lengths)}", *axes,
        "PCOUNT = 0", "GCOUNT = 1", "EXTNAME = 'sci'", *extra,
    )  # fmt: skip


def table(*cards, width=8, rows=3):
    return (
        "XTENSION= 'BINTABLE'", "BITPIX = 8", "NAXIS = 2", f"NAXIS1 = {width}",
        f"NAXIS2 = {rows}", "PCOUNT = 0", "GCOUNT = 1", *cards,
    )  # fmt: skip


def test_an_image(parse):
    hdu = parse(*image(-32, 6, 8, extra=["EXTVER = 2"]))
    assert (hdu.kind, hdu.name, hdu.version, hdu.shape) == ("image", "SCI", 2, (8, 6))
    assert (hdu.dtype, hdu.stored) == (np.dtype("f4"), np.dtype(">f4"))
    assert hdu.label == "HDU 1 (SCI)"
    assert (hdu.header_offset, hdu.data_offset, hdu.data_size) == (2880, 5760, 4 * 48)
    assert hdu.end == 2 * 2880 + 2880


@pytest.mark.parametrize(
    ("bitpix", "cards", "dtype", "is_scaled"),
    [
        (16, [], "i2", False),
        (16, ["BZERO = 32768"], "u2", False),
        (32, ["BZERO = 2147483648"], "u4", False),
        (8, ["BZERO = -128"], "i1", False),
        (16, ["BZERO = 5"], "f4", True),
        (32, ["BSCALE = 2.5"], "f8", True),
        (16, ["BLANK = -1"], "f4", True),
        (-64, ["BSCALE = 2.0"], "f8", True),
    ],
)
def test_types_after_decoding(parse, bitpix, cards, dtype, is_scaled):
    hdu = parse(*image(bitpix, 6, 8, extra=cards))
    assert (hdu.dtype, hdu.pixels.is_scaled) == (np.dtype(dtype), is_scaled)


def test_a_table_has_its_rows_as_its_shape(parse):
    hdu = parse(*table("TFIELDS = 1", "TFORM1 = 'D'"))
    assert (hdu.kind, hdu.shape, hdu.dtype.itemsize, hdu.data_size) == ("table", (3,), 8, 24)


@pytest.mark.parametrize(
    ("cards", "kind"),
    [
        (image(8), "empty"),
        (image(8, 0, 4), "empty"),
        (("XTENSION= 'OTHER   '", "BITPIX = 8", "NAXIS = 0"), "other"),
        (table("TFIELDS = 0", "ZIMAGE = T", "ZBITPIX = 16", "ZNAXIS = 1", "ZNAXIS1 = 9",
               "ZTILE1 = 3"), "compressed"),
    ],
)  # fmt: skip
def test_other_kinds(parse, cards, kind):
    assert parse(*cards).kind == kind


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        (image(7, 4), "BITPIX = 7 is none of"),
        (image(8, -4), "NAXIS1 = -4 is negative"),
        (image(8, 2**63), f"NAXIS1 = {2**63} is absurd"),
        (image(-64, 2**40, 2**40), "require .* bytes, which is absurd"),
        (("XTENSION= 'IMAGE   '", "BITPIX = 8", "NAXIS = 1000"), "NAXIS = 1000 is not between 0"),
        (("XTENSION= 'IMAGE   '", "BITPIX = 8", "NAXIS = 1"), "keyword NAXIS1 is missing"),
        (table("TFIELDS = 1000"), "TFIELDS = 1000 is not between 0 and 999"),
        (table("TFIELDS = 1", width=2**31), f"NAXIS1 = {2**31} is absurd"),
        (table("TFIELDS = 0", "ZIMAGE = T", "ZBITPIX = 16", "ZNAXIS = 1", "ZNAXIS1 = 9",
               "ZTILE1 = 0"), r"its tiles have \[0\] pixels"),
        (table("TFIELDS = 0", "ZIMAGE = T", "ZBITPIX = 16", "ZNAXIS = 1", "ZNAXIS1 = 9",
               "ZTILE1 = 1"), r"make 9 tiles of \[1\], but there are 3"),
    ],
)  # fmt: skip
def test_implausible_headers_are_refused(parse, cards, message):
    with pytest.raises(FileError, match=message):
        parse(*cards)


def test_a_primary_header_must_be_standard(parse):
    with pytest.raises(FileError, match="SIMPLE is not T"):
        parse("SIMPLE = F", "BITPIX = 8", "NAXIS = 0", index=0)


@pytest.mark.parametrize("keyword", ["NAME", "LONG", "LAST", "TWICE", "NONE", "LON"])
def test_a_card_is_found_without_the_other_ones(parse, keyword):
    hdu = parse(
        *image(8, 4, extra=("NAME = 'S\xff'", "LONG = 'a&'", "CONTINUE  'b&'", "CONTINUE  'c'")),
        *("TWICE = 1", "COMMENT NONE", "TWICE = 2", "LAST = 'd&'", "CONTINUE  'e'"),
    )
    assert hdu.find_card(keyword) == hdu.keywords.cards({keyword.ljust(8).encode()})
    values = {"NAME": "S?", "LONG": "abc", "LAST": "de", "TWICE": 1}
    assert [value for _, value, _ in read_cards(hdu.find_card(keyword))] == [
        values[key] for key in values.keys() & {keyword}
    ]
