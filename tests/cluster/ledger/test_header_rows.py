"""Headers of inputs, compressed with one that resembles them."""

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest

from calbatch.cluster.ledger import KnownHeader, Ledger, View
from calbatch.cluster.ledger.header_rows import MOST_PATTERNS, pack_alone
from calbatch.cluster.ledger.schema import MIGRATIONS
from calbatch.cluster.ledger.store import NAME

NAMES = [f"meta.part{n}.keyword" for n in range(80)]


def make_header(number, names=NAMES):
    values = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    return values | {"meta.filename": f"{number}"}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as opened:
        yield opened


def read_sizes(ledger):
    rows = ledger._rows("SELECT length(header) AS size FROM inputs ORDER BY path")
    return [row["size"] for row in rows]


def find_header(place, path="/a"):
    return place.find_headers([(path, 1, 2)]).get(path)


def test_similar_headers_take_a_tenth_of_their_size(ledger):
    for number in range(5):
        ledger.add_header(f"/{number}", 1, 2, "d", make_header(number))
    ledger.commit()
    assert max(read_sizes(ledger)) < len(pack_alone(make_header(1))) / 10
    for number in range(5):
        assert find_header(ledger, f"/{number}") == KnownHeader("d", make_header(number))


def test_headers_of_an_earlier_driver_are_read(tmp_path):
    for number in range(2):
        with Ledger(tmp_path) as ledger:
            ledger.add_header(f"/{number}", 1, 2, "d", make_header(number))
    with View(tmp_path) as view:
        assert find_header(view, "/0") == KnownHeader("d", make_header(0))
        assert find_header(view, "/1") == KnownHeader("d", make_header(1))


def test_the_number_of_patterns_is_limited(ledger):
    for number in range(MOST_PATTERNS + 3):
        ledger.add_header(f"/{number}", 1, 2, "d", make_header(number, [f"only.{number}"]))
    ledger.commit()
    assert len(list(ledger._rows("SELECT id FROM bodies"))) == MOST_PATTERNS
    last = MOST_PATTERNS + 2
    assert find_header(ledger, f"/{last}").header == make_header(last, [f"only.{last}"])


@pytest.mark.parametrize("change", ["DELETE FROM bodies", "UPDATE bodies SET body = '{}'"])
def test_a_header_without_its_pattern_is_not_found(ledger, change):
    ledger.add_header("/a", 1, 2, "d", make_header(0))
    ledger._change(change)
    ledger.commit()
    assert find_header(ledger) is None


@pytest.mark.parametrize("is_migrated", [True, False])
def test_headers_of_older_ledgers_are_read(tmp_path, is_migrated):
    tmp_path.chmod(0o700)
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        older = len(MIGRATIONS) - 1
        connection.executescript("".join(MIGRATIONS[:older]) + f"PRAGMA user_version = {older};")
        values = "/a", 1, 2, "d", pack_alone({"x": 1})
        connection.execute("INSERT INTO inputs VALUES (?, ?, ?, ?, ?)", values)
        connection.execute(
            "INSERT INTO batches (id, name, state, pipeline, request, parameters, software, total, "
            "created) VALUES (1, 'b', 'done', 'p', '{}', '{}', '{}', 1, 0)"
        )
        connection.execute(
            "INSERT INTO exposures (batch, number, path, state, seconds, cpu, stages) "
            "VALUES (1, 0, '/a', 'done', 3, 2, ?)",
            [json.dumps({"s": 1.0})],
        )
        connection.commit()
    if is_migrated:
        Ledger(tmp_path).close()
    with View(tmp_path) as view:
        assert find_header(view) == KnownHeader("d", {"x": 1})
        assert list(view.find_measured("p", 5)) == [({"x": 1}, 3.0, 2.0, None)]
