"""Header cards are formatted as by astropy."""

import warnings

import pytest
from astropy.io import fits
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.cards import edge_cases, keywords, short, values

from calbatch.models.fits.card_formats import (
    _format_ordinary,
    commentary,
    cut_comment,
    unwritable_reason,
)


@settings(max_examples=200, deadline=None)
@given(keywords, values, short)
def test_ordinary_cards_are_formatted_as_by_astropy(keyword, value, comment):
    image = _format_ordinary(keyword, value, comment)
    # Exclude cards formatted by astropy, and values that it reads as record-valued cards.
    assume(image is not None and fits.Card(keyword, value).keyword == keyword)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # a shortened comment
        assert image == str(fits.Card(keyword, value, comment))


@given(short | st.just(""))
def test_titles_of_sections_are_formatted_as_by_astropy(title):
    image = _format_ordinary("", title, "")
    assert (image is None) == (len(title) > 72)
    assert image in (None, str(fits.Card("", title)))


def test_most_cards_are_ordinary():
    for value in (True, 5, -1.5e-7, "JWST", "it's"):
        assert _format_ordinary("KEY", value, "a comment") is not None


@given(keywords, short | st.sampled_from(edge_cases))
def test_a_comment_is_cut_to_the_room_that_its_value_leaves(keyword, value):
    comment = cut_comment(value, "c" * 80)
    card = _format_ordinary(keyword, value, comment)
    assume(card is not None)
    assert card.endswith(comment)


def test_commentary_breaks_where_a_card_ends():
    cards = commentary("HISTORY", "x" * 80 + "\n\u00e9")
    assert cards == [("HISTORY", "x" * 72, ""), ("HISTORY", "x" * 8, ""), ("HISTORY", "?", "")]


@pytest.mark.parametrize("value", [True, 5, 1.5, "text"])
def test_values_that_headers_hold(value):
    assert unwritable_reason(value) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "finite numbers"),
        ("\u00e9", "printable ASCII"),
        ([1], "cannot hold a list"),
    ],
)
def test_values_that_headers_cannot_hold(value, reason):
    assert reason in unwritable_reason(value)
