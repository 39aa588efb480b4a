"""The ledger's public interface: records are written by one process and read by any."""

import calbatch.cluster.ledger as package
from calbatch.cluster.ledger import HistoryQueries, Ledger, ProductRow, View

PATHS = [f"/data/{i}_uncal.fits" for i in range(5)]


def begin_batch(ledger):
    return ledger.add_batch(
        "a", "jump", PATHS, request={"x": 1}, parameters={}, software={"y": "2"}
    )


def test_records_are_read_back(tmp_path):
    with Ledger(tmp_path / "state") as ledger:
        batch = begin_batch(ledger)
        ledger.set_driver(batch, "local", None)
        ledger.add_body("d1", {"": {"skip": ["False", "the step's default"]}})
        ledger.update_exposure(batch, 1, state="done", identity="i1", parameters="d1", peak=5)
        ledger.add_attempt(batch, 1, number=1, result="done", worker="vm:1")
        ledger.set_products(batch, 1, [ProductRow("/out/1_rate.fits", 10, 20, "abc")])
        ledger.add_event(batch, "retry", "again", 1)
        ledger.end_batch(batch, "done")
    with View(tmp_path / "state") as view:
        row = view.batch("a")
        assert (row.state, row.request, row.software, row.total) == (
            "done",
            {"x": 1},
            {"y": "2"},
            5,
        )
        assert view.counts(row.id) == {"waiting": 4, "done": 1}
        (exposure,) = view.exposures(row.id, "done")
        assert (exposure.path, exposure.identity, exposure.peak) == (PATHS[1], "i1", 5)
        assert view.parameters(exposure.id) == {"": {"skip": ["False", "the step's default"]}}
        assert [a.worker for a in view.attempts(exposure.id)] == ["vm:1"]
        assert view.products(exposure.id) == [ProductRow("/out/1_rate.fits", 10, 20, "abc")]
        assert [(e.kind, e.number, e.text) for e in view.events(row.id)] == [("retry", 1, "again")]
        assert view.find_products(["i1", "other"]) == {"i1": view.products(exposure.id)}


def test_all_names_exist():
    assert all(hasattr(package, name) for name in package.__all__)


def test_writers_and_readers_answer_the_same_queries():
    assert issubclass(Ledger, HistoryQueries)
    assert issubclass(View, HistoryQueries)
