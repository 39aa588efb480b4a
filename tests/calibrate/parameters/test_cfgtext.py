"""Strings and lists in the syntax of parameter files, as ConfigObj reads them."""

import pytest
from configobj import ConfigObj
from hypothesis import assume, given
from hypothesis import strategies as st

from calbatch.calibrate.parameters.cfgtext import (
    NotInFileError,
    comment,
    quote,
    quote_items,
    split_items,
)

LINE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=12)
TEXT = st.lists(LINE | st.sampled_from(["'", '"', "'''", '"""', " ", "#", ","])).map("".join)


def read(written):
    """Return the value of a parameter as ConfigObj reads it."""
    return ConfigObj(f"value = {written}\n".splitlines(), interpolation=False)["value"]


def tries(function, value):
    """Return the text of a value, or reject the example if a file cannot hold it."""
    try:
        return function(value)
    except NotInFileError:
        assume(False)


# -- strings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("5.0", "5.0"),
        ("a/b_c.fits", "a/b_c.fits"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a,b", '"a,b"'),
        ('say "a"', "'say \"a\"'"),
        ("it's", '"it\'s"'),
        ('it\'s "a" b', "'''it's \"a\" b'''"),
        ("a\nb", "'''a\nb'''"),
    ],
)
def test_a_string_is_quoted_only_where_it_must_be(text, written):
    assert quote(text) == written


@given(TEXT)
def test_a_string_is_read_as_it_was_written(text):
    assert read(tries(quote, text)) == text


@given(st.lists(LINE, min_size=2, max_size=4).map("\n".join))
def test_strings_of_several_lines_are_read_as_well(text):
    assert read(tries(quote, text)) == text


@pytest.mark.parametrize("text", ["'''\"\"\"", "a'''b\"\"\"c", '\'a"\' and """b\''])
def test_some_mixtures_of_quotes_cannot_be_written(text):
    with pytest.raises(NotInFileError, match="mixture of quotes"):
        quote(text)


# -- lists -------------------------------------------------------------------------------------


@given(st.lists(LINE, min_size=1, max_size=4))
def test_a_list_is_read_as_it_was_written(items):
    assert read(tries(quote_items, items)) == items


@given(st.lists(LINE, min_size=1, max_size=4))
def test_a_list_on_the_command_line_is_split_as_a_file_is(items):
    assert split_items(tries(quote_items, items)) == items


@pytest.mark.parametrize(
    ("items", "written"),
    [(["a"], "a,"), (["a", "b c"], 'a, "b c",'), (["", "x"], '"", x,'), (['"'], "'\"',")],
)
def test_a_comma_marks_a_list_of_one_item(items, written):
    assert quote_items(items) == written


@pytest.mark.parametrize("item", ['it\'s "a"', "a\nb"])
def test_items_with_both_quotes_or_line_breaks_cannot_be_written(item):
    with pytest.raises(NotInFileError, match="list"):
        quote_items(["good", item])


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        (" , ,", []),
        ("a", ["a"]),
        (" a , b,", ["a", "b"]),
        ("'', a", ["", "a"]),
        ("'a, b', c", ["a, b", "c"]),
        ("f(1, [2, 3]), g", ["f(1, [2, 3])", "g"]),
        ('m.S(a="x, )"), b', ['m.S(a="x, )")', "b"]),
        ("'a' + 'b'", ["'a' + 'b'"]),
        ("it's, its", ["it's", "its"]),
        ("f(a, b", ["f(a", "b"]),
        ("a), b", ["a)", "b"]),
        ("'", ["'"]),
    ],
)
def test_commas_separate_outside_of_quotes_and_brackets(text, items):
    assert split_items(text) == items


@given(st.text("ab,'\"()[]{} ", max_size=20))
def test_splitting_loses_no_letter(text):
    assert [c for item in split_items(text) for c in item if c in "ab"] == [
        c for c in text if c in "ab"
    ]


# -- comments ----------------------------------------------------------------------------------


@given(st.text())
def test_a_comment_is_one_line_that_is_read_as_nothing(text):
    written = comment(text)
    assert written.startswith("#")
    assert len(written.splitlines()) == 1
    assert read(f"1  {written}") == "1"


def test_a_comment_has_the_words_of_its_text():
    assert comment("two\n words\x1b") == "# two words"
    assert comment("") == "#"
