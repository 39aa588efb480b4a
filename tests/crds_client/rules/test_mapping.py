"""Rules beyond agreement with crds: checksums, faults by line, reasons."""

import pytest

from calbatch.crds_client.errors import ChecksumError, ContextError, MappingError
from calbatch.crds_client.rules.literals import parse_mapping
from calbatch.crds_client.rules.mapping import (
    InstrumentRules,
    PipelineRules,
    ReferenceRules,
    load_mapping,
    mapping_checksum,
)

HEADER = {
    "mapping": "REFERENCE",
    "observatory": "HST",
    "instrument": "ACS",
    "filekind": "DARKFILE",
    "name": "hst_acs_darkfile_0001.rmap",
    "parkey": (("DETECTOR",), ("DATE-OBS", "TIME-OBS")),
}
SELECTOR = "Match({\n    'WFC' : UseAfter({'2000-01-01 00:00:00' : 'a.fits'}),\n})"
NOON = {"DATE-OBS": "2010-01-01", "TIME-OBS": "12:00:00"}


def rules(selector=SELECTOR, **header):
    text = f"header = {HEADER | header!r}\nselector = {selector}\n"
    return ReferenceRules(parse_mapping(text, "some.rmap"))


def test_several_names_are_not_a_single_name():
    bracket = "Bracket({1.0: 'low.fits', 2.0: 'high.fits'})"
    found = rules(bracket, parkey=(("WAVE",),)).resolve({"WAVE": "1.5"})
    assert (found.names, found.name) == (("low.fits", "high.fits"), None)


@pytest.mark.parametrize(
    ("selector", "line"),
    [
        ("Match({\n 'A': 'x',\n 'between 1': 'y'})", 4),
        ("Match({\n 'A': 'x',\n '>': 'y'})", 4),
        ("Match({\n 'A': 'x',\n '(A(?=B))': 'y'})", 4),
        ("Match({\n 'A': 'x',\n ('A', 'B'): 'y'})", 4),
        ("Match({\n 'A': 'x',\n 'a': 'y'})", 4),
        ("Match({\n 'A': 7})", 3),
        ("Match({\n 'A': UseAfter({'2000': UseAfter({})})})", 3),
        ("Match({\n 'A': UseAfter({\n 7: 'x'})})", 4),
        ("SelectVersion({\n '<5': 'x', '<(5,1)': 'y'})", 2),
        ("GeometricallyNearest({\n 'x': 'x'})", 3),
        ("{'A': 'x'}", 1),
    ],
)
def test_faults_have_lines(selector, line):
    with pytest.raises(MappingError, match=rf"^some\.rmap:{line}: "):
        rules(selector)


@pytest.mark.parametrize(
    "header",
    [
        {"parkey": "DETECTOR"},
        {"parkey": ()},
        {"observatory": 1},
        {"rmap_relevance": "(f())"},
        {"parkey_relevance": {"detector": "(1 + 1)"}},
        {"parkey_relevance": {"detector": None}},
        {"extra_keys": None},
        {"extra_keys": (1,)},
        {"comment_parkeys": 5},
        {"hooks": ["precondition_header"]},
        {"substitutions": {"DETECTOR": "WFC"}},
    ],
)
def test_faults_of_the_header(header):
    with pytest.raises(MappingError, match=r"^some\.rmap:\d+: "):
        rules(**header)


def test_reasons_name_the_parameter_its_value_and_the_known_values():
    found = rules().resolve({"DETECTOR": "HRC", **NOON})
    assert found.reason == "DETECTOR='HRC' is not one of ['WFC']"
    assert "DATE-OBS is missing" in rules().resolve({"DETECTOR": "WFC"}).reason
    assert (
        "before every rule"
        in rules().resolve({"DETECTOR": "WFC", **NOON, "DATE-OBS": "1990-01-01"}).reason
    )


def test_an_altered_rules_file_is_rejected():
    text = "header = {\n 'a' : 1,\n 'sha1sum' : 'SUM',\n}\nselector = {}\n"
    good = text.replace("SUM", mapping_checksum(text))
    assert load_mapping("x.imap", lambda _: good).header["a"] == 1
    with pytest.raises(ChecksumError, match=r"^x\.imap:1: its sha1sum"):
        load_mapping("x.imap", lambda _: good.replace("1,", "2,"))
    with pytest.raises(ChecksumError):
        load_mapping("x.imap", lambda _: text.replace(" 'sha1sum' : 'SUM',\n", ""))


class Files(dict):
    """Rules files in memory, with their checksums."""

    def add(self, file, selector, header):
        text = f"header = {header!r}\nselector = {selector}\n"
        text = text.replace("{", "{\n'sha1sum': 'SUM',\n", 1)
        self[file] = text.replace("SUM", mapping_checksum(text))
        return self

    def __call__(self, name):
        return self[name]


@pytest.fixture
def files():
    made = Files()
    made.add("hst_acs_darkfile_0001.rmap", SELECTOR, HEADER)
    common = {"observatory": "HST"}
    types = {"DARKFILE": "hst_acs_darkfile_0001.rmap", "FLSHFILE": "N/A", "OLDFILE": "OMIT"}
    made.add("hst_acs_0001.imap", types, {**common, "instrument": "ACS", "parkey": ("REFTYPE",)})
    instruments = {"ACS": "hst_acs_0001.imap", "COS": "N/A"}
    return made.add("hst_0001.pmap", instruments, {**common, "parkey": ("INSTRUME",)})


def test_an_instrument_resolves_all_its_types(files):
    acs = PipelineRules(load_mapping("hst_0001.pmap", files), files).instrument("ACS")
    assert isinstance(acs, InstrumentRules)
    found = acs.resolve({"DETECTOR": "WFC", **NOON})
    assert {kind: resolution.status for kind, resolution in found.items()} == {
        "darkfile": "found",
        "flshfile": "n/a",
        "oldfile": "n/a",
    }
    assert acs.resolve({}, ["Nonsense"])["nonsense"].reason.endswith("no reference type 'nonsense'")
    assert acs.parameters == ("DATE-OBS", "DETECTOR", "REFTYPE", "TIME-OBS")
    assert acs.references() == {"a.fits"}


@pytest.mark.parametrize(
    ("file", "selector", "header"),
    [
        ("hst_0001.pmap", {"ACS": 3}, {"parkey": ("INSTRUME",)}),
        ("hst_0001.pmap", {"ACS": ["N/A"]}, {"parkey": ("INSTRUME",)}),
        ("hst_0001.pmap", {}, {"parkey": None}),
        ("hst_acs_0001.imap", {"DARKFILE": 3}, {}),
        ("hst_acs_0001.imap", {}, {"parkey": None}),
        ("hst_acs_0001.imap", {}, {"parkey": (1,)}),
    ],
)
def test_malformed_contexts_are_errors(files, file, selector, header):
    files.add(file, selector, {"observatory": "HST", "instrument": "ACS", **header})
    with pytest.raises(MappingError, match=rf"^{file}:\d+: "):
        PipelineRules(load_mapping("hst_0001.pmap", files), files).instrument("ACS")


def test_an_unknown_instrument_is_an_error(files):
    context = PipelineRules(load_mapping("hst_0001.pmap", files), files)
    assert context.instruments == ("acs",)
    assert context.mappings() == set(files)
    for name in ("COS", "MIRI"):
        with pytest.raises(ContextError, match="no rules for instrument"):
            context.instrument(name)
