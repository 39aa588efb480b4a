"""The status of a batch as HTML."""

import pytest
from support.html_text import read_html

from calbatch.cluster.batch.watching.batch_status import Failure, Status
from calbatch.cluster.batch.watching.status_html import status_as_html

STATUS = {
    "batch": "b", "state": "running", "reason": "", "pipeline": "jump", "output": "/out",
    "total": 9, "waiting": 3, "running": 1, "done": 2, "before": 1, "failed": 1,
    "quarantined": 1, "rate": 2.5, "left": 96.0, "updated": 0.0, "workers": "2 processes",
    "dashboard": "http://127.0.0.1:8787/status",
}  # fmt: skip


def test_states_rate_time_left_workers_and_link_are_shown():
    found = read_html(status_as_html(Status(**STATUS)))
    for text in ("b running: 3/9 done", "2.5 per minute, 0:01:36 left", "2 processes"):
        assert text in found.text
    for state, count in (("done", 2), ("done earlier", 1), ("waiting", 3), ("failed", 1)):
        assert f"\n{state}\n{count}\n" in found.text
    assert found.attributes["href"] == STATUS["dashboard"]
    assert (found.attributes["value"], found.attributes["max"]) == ("5", "9")


@pytest.mark.parametrize("absent", ["2 processes", STATUS["dashboard"]])
def test_a_batch_that_has_ended_has_no_workers(absent):
    found = read_html(status_as_html(Status(**STATUS | {"state": "cancelled", "reason": "asked"})))
    assert absent not in found.text
    assert "asked" in found.text


def test_failures_are_listed_with_their_reasons():
    failures = [Failure(path=f"/in/e{n}_uncal.fits", state="failed", reason="no") for n in "01"]
    html = status_as_html(Status(**STATUS | {"failed": 4, "failures": failures}))
    found = read_html(html)
    assert "5 exposures failed" in found.text
    assert "\ne0_uncal.fits\nno\n" in found.text
    assert "and 3 more" in found.text
    assert html.count("<details open>") == html.count("<details") == 2


def test_hostile_texts_stay_text():
    hostile = "<script>alert(1)</script>\x1b" + "x" * 10_000
    failures = [Failure(path=f"/in/{hostile}", state="failed", reason=hostile)]
    changed = dict.fromkeys(("pipeline", "output", "reason", "workers", "dashboard"), hostile)
    html = status_as_html(Status(**STATUS | changed | {"failures": failures}))
    found = read_html(html)
    assert "script" not in found.tags
    assert "\x1b" not in html
    assert "javascript" not in html
    assert len(html) < 10_000
