"""Header cards as bytes, against astropy's."""

import warnings

from astropy.io import fits
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from calbatch.models.parts import _plain_image

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
