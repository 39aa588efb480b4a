"""Agreement with PyPI crds 14, compared live."""

import json
import os
import random
from collections import Counter
from datetime import datetime, timedelta

import pytest
from support.crds_rules import rules_under, shipped_headers
from support.official_crds import (
    agree,
    answer,
    compare,
    compare_drawn,
    compare_drawn_batch,
    import_crds,
    official_rules,
    our_rules,
    rmap_texts,
)

from calbatch.crds_client import Client
from calbatch.crds_client.rules.conditioning import alternatives, condition_value, is_special
from calbatch.crds_client.rules.literals import SelectorSource
from calbatch.crds_client.rules.mapping import ReferenceRules, load_mapping, parse_mapping

NEED_FUNCTIONS = ("ACS BIASFILE", "WFC3 BIASFILE", "WFPC2 FLATFILE")
CONTEXTS = ("jwst_0303.pmap", "jwst_0541.pmap")


@pytest.fixture(scope="module")
def cache(real_data):
    return real_data / "crds"


@pytest.fixture(scope="module")
def clients(cache):
    return {name: Client(cache, context=name, mode="local") for name in CONTEXTS}


def expected_answer(status, expected):
    """Return the status and name of a stored answer, without the wording of a miss."""
    if expected.startswith("NOT FOUND"):
        return ("n/a" if expected == "NOT FOUND n/a" else "not found"), None
    return status, expected


def test_every_stored_rule_case(cache, clients):
    client, loaded = clients[CONTEXTS[0]], {}
    for line in (cache / "oracle" / "rmap_cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        name = case["rmap"]
        if name not in loaded:
            loaded[name] = ReferenceRules(load_mapping(name, client.cache.read_mapping))
        got = loaded[name].resolve(case["header"])
        assert (got.status, got.name) == expected_answer("found", case["expected"]), case


def stored_headers(cache):
    return json.loads((cache / "oracle" / "header_bestrefs.json").read_text())


def test_every_stored_header(cache, clients):
    # The stored answers are for values as in the files ("2048"), which are not normalised.
    for case in stored_headers(cache):
        rules = clients[case["context"]].rules.instrument(case["header"]["META.INSTRUMENT.NAME"])
        got = rules.resolve(case["header"])
        assert got.keys() == case["expected"].keys()
        for kind, expected in case["expected"].items():
            assert (got[kind].status, got[kind].name) == expected_answer("found", expected), (
                case["file"],
                kind,
            )


def test_references_recorded_by_the_observatory(cache, clients):
    compared = 0
    for case in stored_headers(cache):
        got = clients[case["context"]].best_references(case["header"])
        for kind, recorded in (case["recorded_in_header"] or {}).items():
            assert (got[kind].name or "N/A") == recorded, (case["file"], kind)
            compared += 1
    assert compared > 50


def test_public_functions_on_stored_headers(cache, clients, monkeypatch):
    monkeypatch.setenv("CRDS_PATH", str(cache))
    for case in stored_headers(cache):
        expected = import_crds().get_best_references(case["context"], case["header"])
        got = clients[case["context"]].best_references(case["header"])
        assert {k: (r.status, r.names) for k, r in got.items()} == {
            kind: answer(value) for kind, value in expected.items()
        }


class RuleHeaders:
    """Headers drawn from the values in an rmap."""

    WEIRD = ("UNDEFINED", "NOSUCH", "N/A", "ANY", "", "nan", "NOT FULL", "{A}", "F|G", "2048")

    def __init__(self, text, name, rng):
        source = parse_mapping(text, name)
        self.rng, self.levels = rng, source.header["parkey"]
        self.keys = [[] for _ in self.levels]
        self._collect(source.selector, 0)

    def _collect(self, node, level):
        self.keys[level].extend(node.choices)
        for choice in node.choices.values():
            if isinstance(choice, SelectorSource):
                self._collect(choice, level + 1)

    def draw(self):
        header = {}
        for names, keys in zip(self.levels, self.keys, strict=True):
            key = self.rng.choice(keys)
            dated = len(names) == 2 and isinstance(key, str) and names[0].endswith("DATE")
            values = self.moment(key) if dated else key if isinstance(key, tuple) else (key,)
            for name, value in zip(names, values, strict=True):
                header[name] = value if dated else self.plain(value)
        return self.damage(header)

    def moment(self, key):
        near = datetime.fromisoformat(key) + timedelta(seconds=self.rng.choice((-1, 0, 1)))
        return str(near).split()

    def plain(self, value):
        if isinstance(value, str) and not is_special(value):
            value = self.rng.choice(alternatives(value))
        return self.rng.choice(self.WEIRD) if value in ("ANY", "*", "N/A") else str(value)

    def damage(self, header):
        name = self.rng.choice(list(header))
        fate = self.rng.random()
        if fate < 0.05:
            del header[name]
        elif fate < 0.2:
            header[name] = self.rng.choice((*self.WEIRD, "2015-02-30", "25:00:00", "Jan 1 2020"))
        return header


def compare_shipped(folder, seed, headers):
    """Try every shipped rmap on headers drawn from its own values."""
    rng, counts = random.Random(seed), Counter()
    for name, text in rmap_texts(folder).items():
        theirs, ours = official_rules(text, name), ReferenceRules(parse_mapping(text, name))
        drawn = RuleHeaders(text, name, rng)
        for _ in range(headers):
            header = drawn.draw()
            if rng.random() < 0.5:
                header = {key: condition_value(value) for key, value in header.items()}
            expected, got = answer(theirs.get_best_ref(dict(header))), ours.resolve(header)
            assert agree(got, expected), (name, header, got)
            counts[expected[0]] += 1
    return counts


def test_every_shipped_rmap(cache):
    counts = compare_shipped(cache / "mappings" / "jwst", seed=1, headers=12)
    assert min(counts[status] for status in ("found", "not found")) > 300


@pytest.mark.slow
def test_every_shipped_rmap_at_length(cache):
    seed = int(os.environ.get("CALBATCH_SEED", random.randrange(10**6)))
    compare_shipped(cache / "mappings" / "jwst", seed, headers=300)


def compare_instruments(client, seed, headers):
    """Try all types of every instrument together, on headers drawn from all its rules."""
    rng, counts = random.Random(seed), Counter()
    for instrument in sorted(set(client.instruments) - {"system"}):
        names = [rules.name for rules in client.rules.instrument(instrument).reference_rules()]
        pools = [RuleHeaders(client.cache.read_mapping(name), name, rng) for name in names]
        for _ in range(headers):
            header = {}
            for pool in rng.sample(pools, len(pools)):
                header.update(pool.draw())
            header["META.INSTRUMENT.NAME"] = instrument.upper()
            expected = import_crds().get_best_references(client.context, header)
            got = client.best_references(header)
            assert got.keys() == expected.keys()
            for kind, value in expected.items():
                assert agree(got[kind], answer(value)), (client.context, header, kind, got[kind])
                counts[got[kind].status] += 1
    return counts


def test_all_types_of_every_instrument(cache, clients, monkeypatch):
    monkeypatch.setenv("CRDS_PATH", str(cache))
    for client in clients.values():
        counts = compare_instruments(client, seed=2, headers=30)
        assert min(counts[status] for status in ("found", "n/a", "not found")) > 300


@pytest.mark.slow
def test_all_types_of_every_instrument_at_length(cache, clients, monkeypatch):
    monkeypatch.setenv("CRDS_PATH", str(cache))
    seed = int(os.environ.get("CALBATCH_SEED", random.randrange(10**6)))
    for client in clients.values():
        compare_instruments(client, seed, headers=1000)


def test_rmaps_drawn_at_random():
    counts = Counter()
    for seed in range(150):
        counts.update(compare_drawn(seed))
    assert min(counts[status] for status in ("found", "n/a", "not found")) > 200


def test_batches_drawn_at_random():
    counts = Counter()
    for seed in range(150):
        counts.update(compare_drawn_batch(seed))
    assert min(counts[status] for status in ("found", "n/a", "not found")) > 200


@pytest.mark.parametrize(("observatory", "types"), [("hst", 130), ("roman", 50)])
def test_types_of_other_observatories(observatory, types):
    """The rmaps' headers (conditions, switches, dates) are real; the selectors are drawn."""
    rng, counts, compared = random.Random(5), Counter(), 0
    for header in shipped_headers(observatory):
        drawn = rules_under(header, rng)
        what = f"{header['instrument']} {header['filekind']}"
        if our_rules(drawn.text).refusal:
            assert what in NEED_FUNCTIONS
        else:
            counts.update(compare(drawn, rng, 60, what))
            compared += 1
    assert compared >= types
    assert min(counts[status] for status in ("found", "not found")) > 300


@pytest.mark.slow
def test_rmaps_drawn_at_random_at_length():
    start = int(os.environ.get("CALBATCH_SEED", random.randrange(10**6)))
    for seed in range(start, start + 2500):
        compare_drawn(seed, headers=40)
        compare_drawn_batch(seed, headers=60)
