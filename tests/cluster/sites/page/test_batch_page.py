"""The page: who may see what, and which batches are remembered."""

from support.pages_of_batches import digest_of

from calbatch.cluster.sites.page.batch_page import MOST_BATCHES, MOST_DETAILS, BatchPage


class _Page(BatchPage):
    def describe_workers(self):
        return []


def make_page():
    return _Page("<html>", "default-src 'none'")


def receive(page, batch, token):
    private = {"output": f"/secret/{batch}"}
    return page.receive_report(batch, {"batch": batch}, private, digest_of(token))


def test_private_values_need_the_token_of_their_batch():
    page = make_page()
    receive(page, "a", "token a")
    receive(page, "b", "token b")
    for token, seen in (("", []), ("token", []), ("token a", ["a"]), ("token b", ["b"])):
        found = page.collect_data(token)["batches"]
        assert [each["batch"] for each in found] == ["b", "a"]
        assert [each["batch"] for each in found if "private" in each] == seen


def test_the_digest_of_a_token_is_no_token():
    page = make_page()
    receive(page, "a", "token")
    (found,) = page.collect_data(digest_of("token"))["batches"]
    assert "private" not in found
    assert digest_of("token") not in str(found)


def test_details_are_asked_of_the_driver_and_taken_once():
    page = make_page()
    receive(page, "a", "t")
    assert page.take_details("a", 7) is None
    assert page.take_details("a", 7) is None
    assert page.take_details("b", 8) is None
    assert receive(page, "a", "t") == [7]
    page.receive_details("a", 7, {"path": "/in/7"})
    assert receive(page, "a", "t") == []
    assert page.take_details("a", 7) == {"path": "/in/7"}
    assert page.take_details("a", 7) is None


def test_details_that_nobody_took_in_time_are_asked_for_again(monkeypatch):
    page = make_page()
    receive(page, "a", "t")
    page.receive_details("a", 7, {"state": "running"})
    # Not the module's: methods change if a class that was sent by value arrives in this process.
    monkeypatch.setitem(BatchPage.take_details.__globals__, "FRESH", 0.0)
    assert page.take_details("a", 7) is None
    assert receive(page, "a", "t") == [7]


def test_few_details_are_wanted_or_kept_at_a_time():
    page = make_page()
    for number in range(MOST_DETAILS + 5):
        page.take_details("a", number)
        page.receive_details("b", number, {})
    assert receive(page, "a", "t") == list(range(5, MOST_DETAILS + 5))
    assert page.take_details("b", 0) is None
    assert page.take_details("b", MOST_DETAILS + 4) == {}


def test_a_report_replaces_the_one_before():
    page = make_page()
    page.receive_report("a", {"batch": "a", "total": 1}, {}, digest_of("t"))
    page.receive_report("a", {"batch": "a", "total": 2}, {}, digest_of("t"))
    (found,) = page.collect_data("")["batches"]
    assert found["total"] == 2
    assert found["age"] >= 0


def test_batches_that_were_not_heard_of_for_longest_are_forgotten():
    page = make_page()
    for number in range(MOST_BATCHES):
        receive(page, f"b{number}", "t")
    receive(page, "b0", "t")
    receive(page, "new", "t")
    names = [each["batch"] for each in page.collect_data("")["batches"]]
    assert names[:2] == ["new", "b0"]
    assert len(names) == MOST_BATCHES
    assert "b1" not in names
