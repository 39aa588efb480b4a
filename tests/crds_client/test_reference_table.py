"""References of many exposures: configurations, and the table."""

import pickle

import pytest
from support.crds_server import CONTEXT, HEADER, make_cache

from calbatch.crds_client import Client
from calbatch.crds_client.reference_table import Configurations, ReferenceTable
from calbatch.crds_client.rules.mapping import Resolution

FOUND = {"flat": Resolution("found", ("a.fits",))}


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    cache = make_cache(tmp_path_factory.mktemp("table") / "cache")
    return Client(cache.root, CONTEXT, mode="local").rules.instrument("miri")


@pytest.fixture
def configurations(rules):
    return Configurations(rules, "jwst")


def test_times_between_the_same_dates_are_one_configuration(configurations):
    values = [
        configurations.values({**HEADER, "DATE-OBS": date})
        for date in ("2020-01-01", "2021-05-03", "1890-01-01")
    ]
    early, later, before = map(configurations.key, values)
    assert early == later != before
    assert configurations.key(configurations.values({**HEADER, "DETECTOR": "B"})) != early


def test_a_configuration_is_resolved_as_by_the_rules(configurations, rules):
    for date in ("2020-01-01", "1890-01-01", "UNDEFINED", "soon"):
        values = configurations.values({**HEADER, "DATE-OBS": date})
        header = dict(zip(rules.parameters, values, strict=True))
        for types in (None, ("flat",), ("dark", "none")):
            assert configurations.resolve(values, types) == rules.resolve(header, types)


def test_results_are_copies(configurations):
    values = configurations.values(HEADER)
    configurations.resolve(values, None).clear()
    assert configurations.resolve(values, None)["flat"].status == "found"


def test_a_table_shares_the_references_of_equal_configurations():
    table = ReferenceTable("jwst_0001.pmap")
    number = table.add("a", FOUND)
    table.add("b", number)
    table.add("c", {"dark": Resolution("n/a")})
    table.faults["d"] = "no instrument"
    assert table["b"] is table["a"]
    assert (len(table), list(table), table.configurations) == (3, ["a", "b", "c"], 2)
    assert table.names() == {"a.fits"}
    assert "d" not in table
    with pytest.raises(KeyError):
        table["d"]


def test_a_table_can_be_pickled():
    table = ReferenceTable("jwst_0001.pmap")
    table.add("a", FOUND)
    copy = pickle.loads(pickle.dumps(table))
    assert (copy.context, copy["a"], copy.faults) == (table.context, FOUND, {})
