"""Details of one exposure, from a ledger."""

import json

import pytest
from support.measured_batches import record_measured, statistics_of

from calbatch.cluster.display.exposure_details import LONGEST_LOG, MOST_TRIES, describe_exposure
from calbatch.cluster.display.quick_look_images import FORMATS, draw_png
from calbatch.cluster.ledger import Ledger, LedgerError, ProductRow, View

HOSTILE = "<script>\x1b[31m"


@pytest.fixture
def view(tmp_path):
    """Return the ledger of a batch whose second exposure has been tried often."""
    with Ledger(tmp_path) as ledger:
        names = {"request": {}, "parameters": {}, "software": {}}
        batch = ledger.add_batch("b", "jump", ["/in/a.fits", f"/in/{HOSTILE}.fits"], **names)
        for number in range(1, MOST_TRIES + 3):
            ledger.add_attempt(
                batch, 1,
                number=number, worker=f"vm:{number}", seconds=2.0, peak=5, result="death",
                log=f"{HOSTILE}\n" * 10_000,
            )  # fmt: skip
        ledger.update_exposure(
            batch, 1, state="done", stages=json.dumps({"jump": 1.5}), note="its input has changed"
        )
        ledger.set_products(batch, 1, [ProductRow("/out/a_rate.fits", 1, 2, "d")])
    with View(tmp_path) as opened:
        yield opened


def test_an_exposure_is_described_with_its_products_and_times(view):
    found = describe_exposure(view, "b", 1)
    assert (found["number"], found["state"]) == (1, "done")
    assert (found["products"], found["steps"]) == (["/out/a_rate.fits"], {"jump": 1.5})
    assert found["note"] == "its input has changed"
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_latest_tries_are_described(view):
    tries = describe_exposure(view, "b", 1)["tries"]
    assert [each["number"] for each in tries] == list(range(3, MOST_TRIES + 3))
    assert (tries[0]["worker"], tries[0]["seconds"], tries[0]["memory"]) == ("vm:3", 2.0, 5)


def test_texts_are_without_control_characters_and_logs_are_cut(view):
    found = describe_exposure(view, "b", 1)
    assert found["path"] == "/in/<script>\\x1b[31m.fits"
    log = found["tries"][-1]["log"]
    assert log.endswith("<script>\\x1b[31m\n")
    assert all(line.isprintable() for line in log.split("\n"))
    assert LONGEST_LOG <= len(log) < 2 * LONGEST_LOG


def test_an_exposure_that_has_not_begun_has_no_tries(view):
    found = describe_exposure(view, "b", 0)
    assert (found["state"], found["tries"], found["products"]) == ("waiting", [], [])


def test_a_number_that_no_exposure_has_is_an_error(view):
    with pytest.raises(LedgerError, match="batch b has no exposure 2"):
        describe_exposure(view, "b", 2)


def test_products_are_shown_by_their_quick_looks(tmp_path):
    folder = record_measured(tmp_path, {0: [statistics_of(0), statistics_of(1)], 1: []})
    with View(folder.state) as view:
        images = describe_exposure(view, folder.name, 0)["images"]
        assert describe_exposure(view, folder.name, 1)["images"] == []
    wanted = [draw_png(statistics_of(n).quick_look, FORMATS[0]) for n in (0, 1)]
    assert images == [
        {"name": name, "png": png}
        for name, png in zip(("e0_rate.fits", "e0_rateints.fits"), wanted, strict=True)
    ]
