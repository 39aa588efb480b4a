"""Headers from templates are those that are made without."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.errors import ModelError
from calbatch.models.fits.card_formats import format_header
from calbatch.models.fits.headers import trace_cards
from calbatch.models.schema.spec import KeywordSpec, load_schema
from calbatch.models.templates.header_template import CardSlot, HeaderTemplate

SCHEMA = load_schema("image")
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=90)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32).map(float)
DATA = st.fixed_dictionaries(
    {
        "target": st.fixed_dictionaries({"ra": NUMBERS, "proposer_name": TEXT}),
        "program": st.fixed_dictionaries({"title": TEXT}),
        "exposure": st.fixed_dictionaries({"nframes": st.integers(-(2**40), 2**40)}),
    }
)
EXTRA = st.tuples(TEXT, st.one_of(st.integers(0, 9), st.booleans(), NUMBERS))


def cards_of(meta, extra):
    data = {"meta": {"telescope": "JWST", **meta}, "history": ["made"]}
    named = [(f"MY{n}", value, "of its own") for n, value in enumerate(extra)]
    return trace_cards(SCHEMA, data, {"PRIMARY": named}, "PRIMARY"), data, named


@settings(deadline=None)
@given(DATA, EXTRA, DATA, EXTRA)
def test_a_filled_header_is_the_one_made_of_the_values(meta, extra, other, others):
    placed, _, named = cards_of(meta, extra)
    slots = {
        id(card): CardSlot(origin.path, origin)
        if isinstance(origin, KeywordSpec)
        else CardSlot(origin, named[origin])
        for card, origin in placed
        if origin is not None and card[0] != "TELESCOP"
    }
    template = HeaderTemplate("PRIMARY", [card for card, _ in placed], slots)
    wanted, data, named = cards_of(other, others)
    values = {
        origin.path: data["meta"][origin.parts[1]][origin.parts[2]]
        for _, origin in wanted
        if isinstance(origin, KeywordSpec) and len(origin.parts) == 3
    }
    values |= dict(enumerate(others))
    header = format_header("PRIMARY", [card for card, _ in wanted])
    assert template.fill(values) == header


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("meta.target.ra", math.inf, "finite"),
        ("meta.target.proposer_name", "caf\xe9", "ASCII"),
        ("meta.target.ra", "east", "must be a number"),
    ],
)
def test_a_value_that_would_be_left_out_is_refused(path, value, fault):
    card = ("KEY", 1.0, "")
    template = HeaderTemplate("SCI", [card], {id(card): CardSlot(path, SCHEMA.keywords[path])})
    with pytest.raises(ModelError, match=fault):
        template.fill({path: value})


def test_a_slot_that_is_not_in_the_header_is_noticed():
    """A card is found by its identity: a copy of it would be the same for all files."""
    card = ("KEY", 1.0, "")
    slots = {id(card): CardSlot("meta.target.ra", SCHEMA.keywords["meta.target.ra"])}
    with pytest.raises(ModelError, match="not in the header"):
        HeaderTemplate("SCI", [(*card,)], slots)
