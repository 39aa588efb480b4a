"""Header cards: read as by astropy, looked up by keyword."""

import contextlib
import warnings

import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cards import keywords
from support.fits_bytes import header

from calbatch.models.errors import FileError, ModelError
from calbatch.models.fits.cards import (
    HeaderKeywords,
    is_structural,
    read_cards,
)


def check(image):
    """Assert that a card's text is read as astropy reads it."""
    expected = [(c.keyword, c.value, c.comment) for c in [fits.Card.fromstring(image)]]
    found = [*read_cards(image.ljust(80))]
    if isinstance(expected[0][1], fits.card.Undefined):
        expected = [(expected[0][0], None, expected[0][2])]
    assert found == expected
    assert type(found[0][1]) is type(expected[0][1])


@pytest.mark.parametrize(
    "image",
    [
        "KEY     =                    T / a comment",
        "KEY     =                    F",
        "KEY     =                   -7 /no blank",
        "KEY     =                  007 /",
        "KEY     = 3.5E-3",
        "KEY     = -.5",
        "KEY     = 12.",
        "KEY     = 1D5 / Fortran",
        "KEY     = 1.5D+05",
        "KEY     = +12",
        "KEY     = 'it''s'           / quoted",
        "KEY     = 'a / b   '        / slash",
        "KEY     = ''",
        "KEY     = '        '",
        "KEY     = '   lead '",
        "KEY     =",
        "KEY     =                      / nothing",
        "KEY     = (1, 2)",
        "KEY     = 99999999999999999999",
        "DATE-OBS= '2022-07-01'",
        "COMMENT   what = 'ever' / it is",
        "HISTORY",
        "        a blank keyword",
        "HIERARCH ESO DET DIT = 2.5 / long",
    ],
)
def test_forms_of_the_standard(image):
    check(image)


@given(
    keywords,
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=68),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
)
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_any_value(keyword, value, comment):
    with warnings.catch_warnings():
        # astropy shortens comments and refuses huge integers, which is not tested here.
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        try:
            image = str(fits.Card(keyword, value, comment))
        except ValueError:
            return
    if len(image) == 80 and not isinstance(value, str):
        check(image)
    elif len(image) == 80:
        assert next(read_cards(image))[:2] == (keyword, value.rstrip())


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300))
def test_long_texts_are_put_together(text):
    image = str(fits.Card("TITLE", text))
    found = [*read_cards(image)]
    assert found == [("TITLE", text.rstrip(), "")]


def test_reading_stops_at_end():
    text = "A       =                    1".ljust(80) + "END".ljust(80) + "junk".ljust(80)
    assert [*read_cards(text)] == [("A", 1, "")]


@given(st.text(st.characters(max_codepoint=255), max_size=170))
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
def test_any_text_is_read_or_refused(text):
    cards = []
    with contextlib.suppress(ModelError):
        cards = [*read_cards(text)]
    assert all(len(card) == 3 for card in cards)


@pytest.mark.parametrize(
    "keyword", ["NAXIS", "NAXIS3", "TFORM12", "BZERO", "CHECKSUM", "EXTVER", "ZTILE1"]
)
def test_structural(keyword):
    assert is_structural(keyword)


@pytest.mark.parametrize("keyword", ["NAXISX", "TELESCOP", "BUNIT", "ZEROFRAM", "TIMESYS"])
def test_not_structural(keyword):
    assert not is_structural(keyword)


def lookup(*cards):
    return HeaderKeywords("x.fits", 2, header(*cards))


def test_values_are_looked_up_by_keyword_and_kind():
    found = lookup(
        "EXTNAME = 'SCI'", "N = -7 / a comment", "X = 1.5D3", "Y = 2e-1", "L = T", "F = F / no",
        "TEXT = 'it''s  ' / quoted", "DATASUM = '0012'", "N = 8", "NONE = / nothing",
    )  # fmt: skip
    assert (found.integer("N"), found.integer("GONE", 3)) == (-7, 3)
    assert [found.number(keyword, 0.5) for keyword in ("X", "Y", "N", "GONE")] == [
        1500,
        0.2,
        -7,
        0.5,
    ]
    assert [found.logical(keyword) for keyword in ("L", "F", "GONE")] == [True, False, False]
    assert (found.text("TEXT"), found.text("GONE"), found.text("GONE", "x")) == ("it's", "", "x")
    assert (found.bare_text("DATASUM"), found.bare_text("GONE")) == ("0012", "")
    assert "N" in found
    assert "GONE" not in found


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda found: found.integer("X"), "X = 1.5 is not an integer"),
        (lambda found: found.integer("NONE"), "NONE =  is not an integer"),
        (lambda found: found.integer("GONE"), "the required keyword GONE is missing"),
        (lambda found: found.number("T", 0.0), "T = 'a' is not a number"),
        (lambda found: found.number("BIG", 0.0), "BIG = 1E999 is too large a number"),
        (lambda found: found.logical("X"), "X = 1.5 is not T or F"),
        (lambda found: found.text("X"), "X = 1.5 is not a string"),
        (lambda found: found.text("BARE"), "keyword BARE has no value"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_file_and_hdu(read, message):
    found = lookup(
        "EXTNAME = 'SCI'", "X = 1.5", "T = 'a'", "NONE = ", "BIG = 1E999", "BARE    value"
    )
    with pytest.raises(FileError) as refused:
        read(found)
    assert str(refused.value) == f"x.fits: HDU 2 (SCI): {message}"


def test_text_followed_by_other_characters_is_found():
    assert lookup("XTENSION= 'IMAGE   ' rubbish").text("XTENSION") == "IMAGE"


def test_a_byte_that_is_not_ascii_is_a_question_mark():
    assert lookup("OBSERVER= 'Andr\xe9'").text("OBSERVER") == "Andr?"
