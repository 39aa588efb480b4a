"""The page of a batch of this process: its answers are about the present."""

from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.sites.page.live_page import LivePage


def make_page(describe=None):
    """Return the page of a batch of two exposures, and its monitor."""
    monitor = BatchMonitor(batch="b", pipeline="p", output="/o", states=["waiting"] * 2, left=2)
    return LivePage(monitor, "token", describe), monitor


def test_each_answer_has_the_present_state_and_this_process():
    page, monitor = make_page()
    (before,) = page.collect_data("")["batches"]
    monitor.set_state(1, "running")
    data = page.collect_data("token")
    (batch,), (worker,) = data["batches"], data["workers"]
    assert (before["grid"], batch["grid"]) == ("w2", "wr")
    assert batch["private"]["output"] == "/o"
    assert worker["tasks"] == 1
    assert 10e6 < worker["memory"] < worker["limit"]
    assert not data["dask_pages"]


def test_details_are_read_for_each_request():
    tries = iter(("first", "second"))
    page, _ = make_page(lambda number: {"number": number, "log": next(tries)})
    assert page.is_token("token", "b")
    assert page.take_details("b", 1) == {"number": 1, "log": "first"}
    assert page.take_details("b", 1) == {"number": 1, "log": "second"}
