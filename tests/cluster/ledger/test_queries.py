"""Queries for earlier work, of a ledger and of a view."""

import zlib

import pytest

from calbatch.cluster.ledger import KnownHeader, Ledger, ProductRow, View
from calbatch.cluster.ledger.queries import MOST_EXAMINED


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as opened:
        yield opened


def add(ledger, name, *exposures):
    """Add a batch of exposures, each a mapping of columns; return its number."""
    paths = [f"/{number}_uncal.fits" for number in range(len(exposures))]
    batch = ledger.add_batch(name, "jump", paths, request={}, parameters={}, software={})
    for number, columns in enumerate(exposures):
        ledger.update_exposure(batch, number, **columns)
    ledger.commit()
    return batch


@pytest.fixture(params=["ledger", "view"])
def history(request, ledger):
    """Return a function that gives the object to query."""
    opened = []

    def current():
        ledger.commit()
        if request.param == "ledger":
            return ledger
        opened.append(View(ledger.path.parent))
        return opened[-1].__enter__()

    yield current
    for view in opened:
        view.__exit__(None, None, None)


def test_headers_of_unchanged_inputs_are_found(ledger, history):
    ledger.add_header("/a", 1, 2, "da", {"x": 1})
    ledger.add_header("/b", 1, 2, "db", {"x": 2})
    found = history().find_headers([("/a", 1, 2), ("/b", 1, 3), ("/c", 1, 2)])
    assert found == {"/a": KnownHeader("da", {"x": 1})}
    assert found["/a"].digest == "da"


@pytest.mark.parametrize("packed", [b"", b"junk", zlib.compress(b"[1]"), zlib.compress(b"{")])
def test_a_damaged_header_is_not_found(ledger, history, packed):
    ledger._change("INSERT INTO inputs VALUES ('/a', 1, 2, 'd', ?, NULL)", packed)
    assert history().find_headers([("/a", 1, 2)]) == {}


def test_a_header_that_unpacks_to_too_much_is_not_found(ledger, history, monkeypatch):
    monkeypatch.setattr("calbatch.cluster.ledger.header_rows._LONGEST_HEADER", 1000)
    ledger.add_header("/a", 1, 2, "d", {"x": "y" * 2000})
    assert history().find_headers([("/a", 1, 2)]) == {}


def test_the_checksum_of_an_unchanged_reference_is_found(ledger, history):
    ledger.add_reference("/r", 4, 5, "sha")
    assert history().find_checksum("/r", 4, 5) == "sha"
    assert history().find_checksum("/r", 4, 6) is None


def test_products_are_those_of_the_latest_success(ledger, history):
    for name, state in (("a", "done"), ("b", "kept"), ("c", "failed")):
        batch = add(ledger, name, {"identity": "i", "state": state, "content": name})
        ledger.set_products(batch, 0, [ProductRow(f"/{name}.fits", 1, 2, "d")])
    assert history().find_products(["i", "other"]) == {"i": [ProductRow("/b.fits", 1, 2, "d")]}
    assert history().find_contents(["i", "other"]) == {"i": "b"}


def test_a_content_that_was_not_recorded_is_empty(ledger, history):
    add(ledger, "a", {"identity": "i", "state": "done"})
    assert history().find_contents(["i"]) == {"i": ""}


def test_deaths_are_those_of_the_latest_exposure_unless_it_is_done(ledger, history):
    add(ledger, "a", {"identity": "i", "deaths": 3}, {"identity": "j", "deaths": 2})
    add(ledger, "b", {"identity": "j", "deaths": 1, "state": "done"})
    assert history().find_deaths(["i", "j", "k"]) == {"i": 3}


def test_failed_inputs_are_those_whose_latest_exposure_failed(ledger, history):
    failed = [{"state": state} for state in ("failed", "quarantined", "done", "failed")]
    add(ledger, "a", *failed)
    assert history().find_failed() == {"/0_uncal.fits", "/1_uncal.fits", "/3_uncal.fits"}
    add(ledger, "b", {"state": "done"})
    assert history().find_failed() == {"/1_uncal.fits", "/3_uncal.fits"}


@pytest.mark.parametrize(
    ("latest", "is_open"),
    [
        ({"state": "done"}, False),
        ({"state": "kept"}, False),
        ({"state": "done", "deaths": 1}, True),
        ({"state": "failed"}, True),
        ({"state": "quarantined"}, True),
        ({"state": "running"}, True),  # its driver has died
    ],
)
def test_open_ends_are_latest_exposures_that_did_not_end_well(ledger, history, latest, is_open):
    add(ledger, "a", {"state": "failed"}, {"state": "done"})
    add(ledger, "b", latest)
    assert history().has_open_ends(["/0_uncal.fits", "/new_uncal.fits"]) is is_open
    assert history().has_open_ends(["/1_uncal.fits", "/new_uncal.fits"]) is False
    assert history().has_open_ends(["/1_uncal.fits"] * (MOST_EXAMINED + 1)) is True


def test_attempts_are_counted(ledger, history):
    batch = add(ledger, "a", {"attempts": 2}, {"deaths": 0}, {"attempts": 1})
    assert history().count_attempts(batch) == {0: 2, 2: 1}


def end_over(ledger, batch, result="death", alone=1, number=0):
    """Record an attempt that ended its process, and its driver."""
    ledger.set_driver(batch, "threads", None)
    ledger.add_attempt(batch, number, number=1, alone=alone, result=result, reason=result)


DIED = {"state": "waiting", "deaths": 1, "reason": "it died"}
FRESH = {"state": "waiting"}


def test_unsettled_deaths_are_those_since_the_input_was_last_worked_on(ledger, history):
    batches = [add(ledger, name, DIED, FRESH) for name in "abc"]
    end_over(ledger, batches[0], "crash")
    end_over(ledger, batches[1], "memory", alone=0)
    end_over(ledger, batches[1], "memory")
    ledger.add_attempt(batches[1], 0, number=2, alone=1, result="lost")
    new = add(ledger, "new", FRESH, FRESH)
    wanted = [("crash", "crash"), ("memory", "memory")]
    assert history().find_unsettled_deaths(new) == {0: wanted}
    ledger.set_driver(batches[0], "threads", None)
    assert history().find_unsettled_deaths(batches[0]) == {0: wanted}  # resumed
    ledger.update_exposure(batches[2], 0, state="done", ended=1.0)
    assert history().find_unsettled_deaths(new) == {}


@pytest.mark.parametrize(
    "judged",
    [
        {"state": "quarantined", "deaths": 3, "ended": 1.0, "reason": "quarantined"},
        {"state": "waiting", "deaths": 3, "ended": 1.0, "reason": ""},  # reopened
    ],
)
def test_an_exposure_that_has_been_judged_has_no_unsettled_deaths(ledger, history, judged):
    end_over(ledger, add(ledger, "a", DIED))
    end_over(ledger, add(ledger, "b", judged))
    assert history().find_unsettled_deaths(add(ledger, "c", FRESH)) == {0: []}


def test_deaths_in_other_work_on_the_input_do_not_count_as_its_own(ledger, history):
    end_over(ledger, add(ledger, "a", DIED))
    ledger._change("UPDATE batches SET parameters = '{\"x\": 1}'")
    assert history().find_unsettled_deaths(add(ledger, "b", FRESH)) == {0: []}
