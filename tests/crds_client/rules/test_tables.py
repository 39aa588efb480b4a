"""Tables by date give the results of the rules."""

import itertools

import pytest

from calbatch.crds_client.rules import tables as tables_module
from calbatch.crds_client.rules.literals import parse_mapping
from calbatch.crds_client.rules.mapping import InstrumentRules, ReferenceRules, mapping_checksum
from calbatch.crds_client.rules.tables import InstrumentTables, has_condition_on, is_tabular

WHEN = ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")
DETECTOR = "META.INSTRUMENT.DETECTOR"
COMMON = {"observatory": "JWST", "instrument": "MIRI"}
FLAT = """Match({
    'A': UseAfter({'2010-01-01 00:00:00': 'a.fits', '2020-01-01 00:00:00': 'b.fits'}),
    'B': 'N/A',
    'N/A': UseAfter({'2015-01-01 00:00:00': 'c.fits'}),
})"""


def mapping(selector, **header):
    text = f"header = {COMMON | header!r}\nselector = {selector}\n"
    text = text.replace("{", "{\n'sha1sum': 'SUM',\n", 1)
    return text.replace("SUM", mapping_checksum(text))


def rules(selector=FLAT, **header):
    header = {"filekind": "FLAT", "parkey": ((DETECTOR,), WHEN), **header}
    return ReferenceRules(parse_mapping(mapping(selector, **header), "x.rmap"))


@pytest.fixture
def instrument():
    kind = {"parkey": ((DETECTOR,), WHEN)}
    files = {
        "flat.rmap": mapping(FLAT, filekind="FLAT", **kind),
        "dark.rmap": mapping(
            FLAT, filekind="DARK", rmap_relevance=f'({DETECTOR} != "B")', **kind
        ),
        "area.rmap": mapping("Bracket({1.0: 'x.fits'})", filekind="AREA", parkey=(("BAND",),)),
    }  # fmt: skip
    types = {"FLAT": "flat.rmap", "DARK": "dark.rmap", "AREA": "area.rmap", "GAIN": "N/A"}
    text = mapping(repr(types), parkey=("REFTYPE",))
    return InstrumentRules(parse_mapping(text, "x.imap"), files.__getitem__)


@pytest.mark.parametrize("memory", [4_000, 2])
def test_tables_give_the_results_of_the_rules(instrument, monkeypatch, memory):
    monkeypatch.setattr(tables_module, "_MEMORY", memory)
    tables = InstrumentTables(instrument, WHEN)
    for detector, year in itertools.product("ABC", range(2008, 2024)):
        date, time = f"{year}-06-01", "12:00:00"
        header = {DETECTOR: detector, WHEN[0]: date, WHEN[1]: time, "BAND": "1.0"}
        values = tuple(header.get(name, "UNDEFINED") for name in instrument.parameters)
        header = dict(zip(instrument.parameters, values, strict=True))
        for types in (None, ["flat", "GAIN"]):
            expected = instrument.resolve(header, types)
            assert tables.resolve(values, f"{date} {time}", types) == expected


def test_rules_of_other_forms_have_no_table():
    assert is_tabular(rules(), WHEN)
    assert not is_tabular(rules("Bracket({1.0: 'a'})", parkey=(("X",),)), WHEN)
    assert not is_tabular(rules("Match({'A': Bracket({1.0: 'a'})})"), WHEN)
    assert not is_tabular(rules(parkey=((WHEN[0],), WHEN)), WHEN)
    assert not is_tabular(
        rules("Match({('A', 'A'): 'a'})", parkey=((DETECTOR, DETECTOR), WHEN)), WHEN
    )
    assert not is_tabular(rules(rmap_omit=f'({WHEN[0]} == "x")'), WHEN)


def test_conditions_on_parameters():
    conditional = rules(rmap_relevance=f'({DETECTOR} != "B")')
    assert has_condition_on(conditional, (DETECTOR,))
    assert not has_condition_on(conditional, WHEN)
    assert not has_condition_on(rules(), (DETECTOR,))
