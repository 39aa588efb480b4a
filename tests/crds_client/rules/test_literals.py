"""Rules files contain only literals and selectors; faults have file and line."""

import functools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.crds_client.errors import MappingError
from calbatch.crds_client.rules.literals import SelectorSource, parse_mapping

GOOD = """header = {
    'name' : 'x.rmap',
    'parkey' : (('A',), ('B', 'C')),
}

comment = 'why'

selector = Match({
    ('N', 1.0) : UseAfter({
        '1900-01-01 00:00:00' : 'one.fits',
    }),
    'O' : 'N/A',
})
"""

scalars = st.text(max_size=8) | st.integers() | st.booleans() | st.none()
literals = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3)
)


def test_reads_header_and_nested_selectors():
    source = parse_mapping(GOOD, "x.rmap")
    assert source.header["parkey"] == (("A",), ("B", "C"))
    assert isinstance(source.selector, SelectorSource)
    inner = source.selector.choices["N", 1.0]
    assert (inner.kind, inner.choices) == ("UseAfter", {"1900-01-01 00:00:00": "one.fits"})
    assert source.selector.lines["O"] == 12


@given(st.dictionaries(st.text(max_size=8), literals, max_size=4))
def test_literals_survive(header):
    assert parse_mapping(f"header = {header!r}\nselector = {{}}", "x.imap").header == header


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("header = {}\nselector = __import__('os').system('x')", 2),
        ("header = {}\nselector = Match({'a': open('x')})", 2),
        ("header = {'a': (lambda: 1)}\nselector = {}", 1),
        ("header = {'a': 1 + 1}\nselector = {}", 1),
        ("header = {'a': [x for x in ()]}\nselector = {}", 1),
        ("header = {'a': f'{1}'}\nselector = {}", 1),
        ("header = {'a': name}\nselector = {}", 1),
        ("header = {**{}}\nselector = {}", 1),
        ("header = {}\n\nimport os\nselector = {}", 3),
        ("header = {}\nselector = {}\nprint(1)", 3),
        ("header = {}\nother = {}\nselector = {}", 2),
        ("header = selector = {}", 1),
        ("header = {}\nselector = Match()", 2),
        ("header = {}\nselector = Match({}, {})", 2),
        ("header = {}\nselector = Match(a={})", 2),
        ("header = {}\nselector = Match({\n'a':\nUnknown({})})", 4),
        ("header = {}\nselector = {[]: 1}", 2),
        ("header = {}\nheader = {}\nselector = {}", 2),
        ("header = {\n", 1),
        ("header = {}", 1),
        ("selector = {}", 1),
        ("header = 'x'\nselector = {}", 1),
        ("header = {}\nselector = 3", 1),
        ("header = {}\x00", 1),
        ("header = " + "(" * 5000, None),
        ("header = {}\nselector = {'a': " + "-" * 50000 + "1}", None),
    ],
)
def test_anything_else_is_an_error_with_file_and_line(statement, line):
    with pytest.raises(MappingError) as raised:
        parse_mapping(statement, "hostile.rmap")
    place = re.match(r"hostile\.rmap:(\d+): ", str(raised.value))
    assert place
    if line is not None:  # Python's parser reports no line for excessive nesting
        assert int(place[1]) == line
    assert "\n" not in str(raised.value)


def test_a_regular_expression_without_r_gives_no_warning():
    source = parse_mapping("header = {}\nselector = Match({'(\\d)': 'x'})", "x.rmap")
    assert source.selector.choices == {r"(\d)": "x"}


def plain(selector):
    """Return a selector and all nested ones as pairs of kind and choices."""
    if not isinstance(selector, SelectorSource):
        return selector
    choices = {key: plain(choice) for key, choice in selector.choices.items()}
    return selector.kind, choices


SELECTORS = {
    kind: functools.partial(lambda kind, choices: (kind, choices), kind)
    for kind in ("Match", "UseAfter")
}


@given(st.text(max_size=60))
def test_any_text_is_an_error_with_file_and_line(text):
    with pytest.raises(MappingError, match=r"^any\.rmap:\d+: "):
        parse_mapping(text, "any.rmap")


@given(st.data())
def test_a_damaged_file_is_read_like_python_or_rejected(data):
    at = data.draw(st.integers(0, len(GOOD)))
    cut = data.draw(st.integers(0, 8))
    junk = data.draw(st.text(max_size=5) | st.sampled_from([",", "'", ")", "{", "#", "\n", "1"]))
    text = GOOD[:at] + junk + GOOD[at + cut :]
    try:
        source = parse_mapping(text, "any.rmap")
    except MappingError:
        with pytest.raises(MappingError, match=r"^any\.rmap:\d+: "):
            parse_mapping(text, "any.rmap")
        return
    names = {"__builtins__": {}, **SELECTORS}
    exec(text, names)  # only literals and selectors are in it
    assert source.header == names["header"]
    assert plain(source.selector) == names["selector"]
