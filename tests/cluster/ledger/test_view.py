"""Reading a ledger."""

import sqlite3

import pytest

from calbatch.cluster.ledger import Ledger, LedgerError, ProductRow, View
from calbatch.cluster.ledger.store import NAME


@pytest.fixture
def written(tmp_path):
    """Write a ledger with one batch of three exposures; return its folder."""
    with Ledger(tmp_path / "state") as ledger:
        paths = [f"/{n}_uncal.fits" for n in range(3)]
        batch = ledger.add_batch("b", "jump", paths, request={"x": 1}, parameters={}, software={})
        ledger.add_body("r", {"gain": ["/gain.fits", "sha"]})
        ledger.add_body("p", {"": {"skip": ["False", "default"]}})
        ledger.update_exposure(batch, 1, state="done", ended=50.0, refs="r", parameters="p")
        ledger.update_exposure(batch, 2, state="failed", ended=90.0)
        ledger.set_products(batch, 1, [ProductRow("/1_rate.fits", 1, 2, "d")])
        ledger.add_attempt(batch, 1, number=1, result="done")
        ledger.add_event(batch, "site", "local")
        ledger.add_header("/1_uncal.fits", 4, 5, "h", {})
    return tmp_path / "state"


@pytest.fixture
def view(written):
    with View(written) as opened:
        yield opened


def test_a_batch_is_found_by_name_or_number(view):
    (row,) = view.batches()
    assert view.batch("b") == view.batch(row.id) == row
    assert row.request == {"x": 1}
    with pytest.raises(LedgerError, match="has no batch x"):
        view.batch("x")


def test_exposures_are_counted_and_selected_by_state(view):
    assert view.counts(1) == {"waiting": 1, "done": 1, "failed": 1}
    assert [row.number for row in view.exposures(1)] == [0, 1, 2]
    assert [row.number for row in view.exposures(1, "done", "failed")] == [1, 2]
    assert list(view.exposures(99)) == []


def test_the_details_of_an_exposure_are_found(view):
    (row,) = view.exposures(1, "done")
    assert view.references(row.id) == {"gain": ["/gain.fits", "sha"]}
    assert view.parameters(row.id) == {"": {"skip": ["False", "default"]}}
    assert [product.path for product in view.products(row.id)] == ["/1_rate.fits"]
    assert [attempt.result for attempt in view.attempts(row.id)] == ["done"]
    (waiting,) = view.exposures(1, "waiting")
    assert view.references(waiting.id) == view.parameters(waiting.id) == {}


def test_recent_outcomes_and_events_are_found(view):
    assert view.count_ended(1, 0.0) == 2
    assert view.count_ended(1, 60.0) == 1
    (event,) = view.events(1)
    assert (event.kind, event.text) == ("site", "local")
    assert view.events(1, event.time) == []
    assert view.last_event(1, "site") == event
    assert view.last_event(1, "retry") is None


def test_the_last_event_of_a_kind_is_the_latest(written):
    with Ledger(written) as ledger:
        for kind, text in (("site", "Slurm"), ("retry", "once more")):
            ledger.add_event(1, kind, text)
        ledger.commit()
    with View(written) as view:
        assert view.last_event(1, "site").text == "Slurm"


def test_inputs_and_raw_rows_are_found(view):
    assert view.inputs() == {"/1_uncal.fits": (4, 5, "h")}
    assert [row["path"] for row in view.table_rows("products")] == ["/1_rate.fits"]


def test_an_intact_ledger_has_no_problems(view):
    assert view.problems() == []


def test_a_view_cannot_write(view):
    with pytest.raises(LedgerError):
        list(view._rows("DELETE FROM batches"))


def test_a_body_that_is_not_a_mapping_is_damage(written):
    with sqlite3.connect(written / NAME) as connection:
        connection.execute("UPDATE bodies SET body = '[1]'")
    with View(written) as view, pytest.raises(LedgerError, match="damaged"):
        view.references(2)


def test_a_folder_of_another_user_is_opened_read_only(written):
    """Links in it might otherwise be followed in order to write."""
    written.chmod(0o777)
    before = (written / NAME).stat().st_mtime_ns
    with View(written) as view:
        assert len(view.batches()) == 1
    assert (written / NAME).stat().st_mtime_ns == before


def test_a_folder_without_a_ledger_is_an_error(tmp_path):
    with pytest.raises(LedgerError, match="there is no ledger"):
        View(tmp_path)
