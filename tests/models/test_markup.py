"""HTML for notebooks: whatever a text contains, it stays text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.html_text import read_html

from calbatch.models.markup import (
    LONGEST,
    Markup,
    escape,
    join,
    make_bar,
    make_details,
    make_display,
    make_link,
    make_table,
    wrap,
)

HOSTILE = "<script>alert('x')</script>\x1b[31m\"&"


@given(st.text(max_size=40))
def test_any_text_is_one_line_of_text(text):
    found = read_html(escape(text))
    assert found.tags == []
    assert found.text.removeprefix("\n").replace("\t", " ").isprintable()
    if text.isprintable():
        assert found.text == f"\n{text}"


def test_hostile_text_stays_text_everywhere():
    parts = [
        make_table([(HOSTILE, HOSTILE)], (HOSTILE, HOSTILE)),
        make_details(HOSTILE, HOSTILE),
        make_link(HOSTILE),
        wrap("div", HOSTILE),
        join([HOSTILE], HOSTILE),
    ]
    for part in parts:
        assert "script" not in read_html(part).tags
        assert "\x1b" not in part


def test_displays_have_no_mathematics():
    found = read_html(make_display("$x$", HOSTILE))
    assert found.attributes == {"class": "mathjax_ignore"}
    assert found.tags == ["div"]


def test_html_is_escaped_once():
    inner = wrap("b", "a < b")
    assert escape(inner) is inner
    assert wrap("div", inner) == "<div><b>a &lt; b</b></div>"
    assert join([Markup("<br>"), "&"], ", ") == "<br>, &amp;"


def test_long_texts_are_cut():
    assert escape("x" * (LONGEST + 1)) == "x" * LONGEST + "…"
    assert escape("x" * LONGEST) == "x" * LONGEST


@pytest.mark.parametrize(("headings", "names"), [((), 1), (("state", "exposures"), 2)])
def test_tables_name_their_rows_or_their_columns(headings, names):
    found = read_html(make_table([("done", 3)], headings))
    assert found.tags.count("th") == names
    assert found.text.split() == [*headings, "done", "3"]


@pytest.mark.parametrize(("is_open", "attributes"), [(True, {"open": None}), (False, {})])
def test_details_unfold(is_open, attributes):
    found = read_html(make_details("more", "all of it", is_open=is_open))
    assert found.tags == ["details", "summary"]
    assert found.attributes == attributes


@pytest.mark.parametrize(("value", "total", "shown"), [(1, 3, ("1", "3")), (0, 0, ("0", "1"))])
def test_bars_are_filled_in_part(value, total, shown):
    found = read_html(make_bar(value, total)).attributes
    assert (found["value"], found["max"]) == shown


@pytest.mark.parametrize(
    ("address", "is_link"),
    [
        ("http://127.0.0.1:8787/status", True),
        ("https://hub.example/user/me/proxy/8787/status", True),
        ("/user/me/proxy/8787/status", True),
        ("//other.example/", False),
        ("javascript:alert(1)", False),
        ('http://x/"onclick="alert(1)', True),
        ("", False),
    ],
)
def test_only_addresses_of_the_web_are_links(address, is_link):
    found = read_html(make_link(address))
    assert found.text.strip() == address
    assert found.attributes.get("href") == (address if is_link else None)
    assert set(found.attributes) <= {"href", "target", "rel"}
