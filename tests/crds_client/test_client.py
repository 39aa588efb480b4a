"""The client: references selected by headers."""

import json
import pickle

import pytest
from astropy.io import fits
from support.crds_server import write_mapping

from calbatch.crds_client import Client, CrdsError, ReferenceMissing
from calbatch.crds_client.cache_client import CacheClient
from calbatch.crds_client.errors import HeaderError

NIRCAM = {
    "INSTRUME": "NIRCAM",
    "DETECTOR": "NRCA1",
    "EXP_TYPE": "NRC_IMAGE",
    "FILTER": "F200W",
    "PUPIL": "CLEAR",
    "READPATT": "SHALLOW4",
    "SUBARRAY": "FULL",
    "DATE-OBS": "2018-01-01",
    "TIME-OBS": "00:00:00",
}


@pytest.fixture(scope="module")
def client(real_data):
    return Client(real_data / "crds", context="jwst_0541.pmap", mode="local")


def test_fits_keywords_and_paths_are_the_same(client, real_data):
    case = json.loads((real_data / "crds/oracle/header_bestrefs.json").read_text())[0]
    by_path = client.best_references(case["header"])
    lower = {key.lower(): value for key, value in case["header"].items()}
    assert client.best_references(lower) == by_path
    keywords = {
        "META.INSTRUMENT.NAME": "INSTRUME",
        "META.EXPOSURE.TYPE": "EXP_TYPE",
        "META.OBSERVATION.DATE": "DATE-OBS",
        "META.OBSERVATION.TIME": "TIME-OBS",
        "META.INSTRUMENT.LAMP_STATE": "LAMP",
        "META.VISIT.TSOVISIT": "TSOVISIT",
        "META.SUBARRAY.NAME": "SUBARRAY",
    }
    renamed = {keywords.get(k, k.split(".")[-1]): v for k, v in case["header"].items()}
    assert client.best_references(renamed) == by_path
    assert client.best_references(fits.Header(renamed)) == by_path


def test_only_the_requested_types_are_resolved(client):
    found = client.best_references(NIRCAM, ["dark", "FLAT", "rscd", "nonsense"])
    assert {kind: resolution.status for kind, resolution in found.items()} == {
        "dark": "found",
        "flat": "found",
        "rscd": "n/a",
        "nonsense": "not found",
    }


def test_results_pickle(client):
    found = client.best_references(NIRCAM)
    assert pickle.loads(pickle.dumps(found)) == found
    table = client.table({"a": NIRCAM})
    assert pickle.loads(pickle.dumps(table))["a"] == found


def test_selection_keywords_are_paths_and_fits_keywords(client):
    keywords = client.selection_keywords("nircam")
    assert {"DETECTOR", "META.INSTRUMENT.DETECTOR", "INSTRUME", "DATE-OBS"} <= keywords
    # sufficient for the selection
    header = {key: value for key, value in NIRCAM.items() if key in keywords}
    assert client.best_references(header) == client.best_references(NIRCAM)


def test_types_of_an_instrument(client):
    assert {"dark", "flat", "rscd"} <= set(client.reference_types("NIRCAM"))


def test_no_instrument_is_an_error(client):
    with pytest.raises(HeaderError, match="INSTRUME"):
        client.best_references({"DETECTOR": "NRCA1"})
    with pytest.raises(CrdsError, match="no rules for instrument 'nircan'"):
        client.best_references({"INSTRUME": "NIRCAN"})


def test_the_environment_supplies_missing_arguments(real_data, monkeypatch):
    monkeypatch.setenv("CRDS_PATH", str(real_data / "crds"))
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0303.pmap")
    monkeypatch.setenv("CRDS_MODE", "local")
    found = Client()
    assert (found.context, found.mode) == ("jwst_0303.pmap", "local")
    assert Client(context="jwst_0541.pmap").context == "jwst_0541.pmap"
    monkeypatch.setenv("CRDS_MODE", "sometimes")
    with pytest.raises(CrdsError, match="'sometimes' is not one of auto, local, remote"):
        Client()


def test_no_cache_is_an_error(tmp_path, monkeypatch):
    monkeypatch.delenv("CRDS_PATH", raising=False)
    with pytest.raises(CrdsError, match="CRDS_PATH"):
        Client()
    with pytest.raises(CrdsError, match="no such folder"):
        Client(tmp_path / "absent")


def test_a_missing_context_is_named(real_data):
    with pytest.raises(ReferenceMissing, match=r"jwst_9999\.pmap"):
        Client(real_data / "crds", context="jwst_9999.pmap", mode="local")


class TestTable:
    def test_agrees_with_one_by_one(self, client, real_data):
        cases = json.loads((real_data / "crds/oracle/header_bestrefs.json").read_text())
        headers = {index: case["header"] for index, case in enumerate(cases)}
        table = client.table(headers)
        assert list(table) == list(headers)
        for index, header in headers.items():
            assert table[index] == client.best_references(header)

    def test_equal_configurations_are_resolved_once(self, client):
        times = [f"{hour:02}:{minute:02}:01.5" for hour in range(24) for minute in range(60)]
        headers = {time: {**NIRCAM, "TIME-OBS": time} for time in times}
        table = client.table(headers, ["dark", "flat"])
        assert len(table) == len(times)
        assert table.configurations == 1
        dark = table[times[0]]["dark"].name
        assert table.names() == {dark, table[times[0]]["flat"].name}

    def test_dates_separate_where_rules_change(self, client):
        days = [f"{year}-{month:02}-01" for year in range(2013, 2020) for month in range(1, 13)]
        headers = {day: {**NIRCAM, "DATE-OBS": day} for day in days}
        table = client.table(headers)
        for day, header in headers.items():
            assert table[day] == client.best_references(header)
        assert 1 < table.configurations < len(days)

    def test_one_bad_header_does_not_stop_the_others(self, client):
        headers = {"good": NIRCAM, "bad": {}, "undated": {**NIRCAM, "DATE-OBS": "yesterday"}}
        table = client.table(headers, ["dark"])
        assert "INSTRUME" in table.faults["bad"]
        assert "bad" not in table
        assert "'yesterday 00:00:00'" in table["undated"]["dark"].reason.lower()
        assert table["good"]["dark"].status == "found"


class TestRoman:
    """Roman's rules have ROMAN.META...; its files have META... or the same."""

    @pytest.fixture
    def roman(self, tmp_path):
        folder = tmp_path / "mappings/roman"
        folder.mkdir(parents=True)
        common = {"observatory": "ROMAN", "derived_from": "by hand"}
        levels = (("ROMAN.META.INSTRUMENT.DETECTOR",), ("ROMAN.META.EXPOSURE.START_TIME",))
        kind = {"mapping": "REFERENCE", "instrument": "WFI", "filekind": "DARK", "parkey": levels}
        dates = {"2020-01-01 00:00:00": "roman_wfi_dark_0001.asdf", "2027-01-01 12:00:00": "N/A"}
        selector = f"Match({{'WFI01': UseAfter({dates!r})}})"
        write_mapping(folder, "roman_wfi_dark_0001.rmap", common | kind, selector)
        kind = {"mapping": "INSTRUMENT", "instrument": "WFI", "parkey": ("REFTYPE",)}
        types = repr({"DARK": "roman_wfi_dark_0001.rmap"})
        write_mapping(folder, "roman_wfi_0001.imap", common | kind, types)
        kind = {"mapping": "PIPELINE", "parkey": ("ROMAN.META.INSTRUMENT.NAME",)}
        instruments = repr({"WFI": "roman_wfi_0001.imap"})
        write_mapping(folder, "roman_0001.pmap", common | kind, instruments)
        return Client(tmp_path, "roman_0001.pmap", observatory="roman", mode="local")

    @pytest.mark.parametrize("prefix", ["ROMAN.META", "roman.meta", "META", "meta"])
    def test_either_kind_of_name(self, roman, prefix):
        names = {"INSTRUMENT.NAME": "WFI", "INSTRUMENT.DETECTOR": "WFI01"}
        header = {f"{prefix}.{key}": value for key, value in names.items()}
        header |= {f"{prefix}.EXPOSURE.START_TIME": "2026-12-31T23:59:59"}
        if prefix.islower():
            header = {key.lower(): value for key, value in header.items()}
        assert roman.best_references(header)["dark"].name == "roman_wfi_dark_0001.asdf"

    def test_boundary(self, roman):
        header = {"ROMAN.META.INSTRUMENT.NAME": "WFI", "ROMAN.META.INSTRUMENT.DETECTOR": "WFI01"}
        for moment, status in (("11:59:59", "found"), ("12:00:00", "n/a")):
            header["ROMAN.META.EXPOSURE.START_TIME"] = f"2027-01-01 {moment}"
            assert roman.best_references(header)["dark"].status == status


@pytest.mark.parametrize(
    ("variable", "observatory"),
    # the official client sets the second when it is imported
    [("Roman", "roman"), ("None", "jwst"), ("", "jwst")],
)
def test_the_environment_sets_the_observatory(tmp_path, monkeypatch, variable, observatory):
    monkeypatch.setenv("CRDS_OBSERVATORY", variable)
    assert CacheClient(tmp_path).observatory == observatory


def test_the_name_of_a_context_sets_the_observatory(tmp_path, monkeypatch):
    monkeypatch.setenv("CRDS_OBSERVATORY", "jwst")
    (tmp_path / "mappings" / "hst").mkdir(parents=True)
    header = {"mapping": "PIPELINE", "observatory": "HST", "parkey": ("INSTRUME",)}
    write_mapping(tmp_path / "mappings" / "hst", "hst_0001.pmap", header, "{}")
    client = Client(tmp_path, "hst_0001.pmap", mode="local")
    assert client.observatory == "hst"
    assert client.instruments == ()
