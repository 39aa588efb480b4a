"""The report in a real browser, if there is one: sorted and filtered by clicks, all texts text."""

import pytest
from support.browser import open_browser
from support.measured_batches import SCRIPT, header_of, record_measured, statistics_of

from calbatch.cluster.reporting.batch_report import read_report
from calbatch.cluster.reporting.report_files import make_page

pytestmark = pytest.mark.ci

COUNT = 120
FIRST = "document.querySelector('#exposures tbody tr td')"


def heading(title):
    """Return the expression of the button that sorts by a column."""
    buttons = "[...document.querySelectorAll('#exposures th button')]"
    return f"{buttons}.find(b => b.textContent === '{title}')"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the browser's page that shows the report of a batch with an outlier and a failure."""
    folder = tmp_path_factory.mktemp("report")
    found = {n: [statistics_of(n)] for n in range(COUNT)}
    found[50] = [statistics_of(50, noise=0.9)]
    found[7] = []
    exposures = {7: {"path": f"/in/{SCRIPT}_uncal.fits", "state": "failed", "reason": SCRIPT}}
    headers = {n: header_of(n, "NRCA1" if n % 3 else "NRCB5") for n in found}
    report = folder / "report.html"
    report.write_text(make_page(read_report(record_measured(folder, found, headers, exposures))))
    with open_browser(folder / "profile") as opened:
        opened.evaluate("globalThis.alerted = false; window.alert = () => { alerted = true; }")
        opened.open(report)
        yield opened


def numbers(page):
    """Return the numbers of the exposures that the table shows."""
    cells = "document.querySelectorAll('#exposures tbody td:first-child')"
    return [int(text) for text in page.evaluate(f"[...{cells}].map(c => c.textContent)")]


def test_the_table_begins_with_the_first_exposures(page):
    assert numbers(page) == list(range(50))
    assert page.text_of("shown") == f"1 to 50 of {COUNT}"


def test_a_click_at_a_heading_sorts_by_that_column(page):
    page.click(heading("noise"))
    assert numbers(page)[0] == 50  # numbers are sorted from the largest to the smallest first
    wanted = sorted(
        (n for n in range(COUNT) if n != 7),
        key=lambda n: -(0.9 if n == 50 else statistics_of(n).noise),
    )
    assert numbers(page) == wanted[:50]
    page.click(heading("noise"))
    assert numbers(page) == wanted[::-1][:50]
    page.click(heading("number"))
    assert numbers(page) == list(range(50))


def test_a_click_shows_the_next_exposures(page):
    page.click("document.getElementById('after')")
    assert numbers(page) == list(range(50, 100))
    page.click("document.getElementById('before')")
    assert numbers(page) == list(range(50))


def test_the_table_shows_exposures_that_a_text_selects(page):
    page.click("document.getElementById('filter')")
    page.type("nrcb5")
    assert numbers(page) == list(range(0, COUNT, 3))
    page.evaluate("find('filter').value = ''; selectExposures()")


def test_a_click_selects_exposures_that_stand_out(page):
    page.click("document.getElementById('only')")
    assert numbers(page) == [50]
    page.click("document.getElementById('only')")
    assert len(numbers(page)) == 50


def test_the_outlier_is_named_in_words_and_opens_by_a_click(page):
    assert "e50_uncal.fits: noise 0.9 is far above the 0.2" in page.text_of("outliers")
    page.click("document.querySelector('#outliers button')")
    assert page.text_of("exposure") == "e50_uncal.fits (50)"
    assert "far above" in page.text_of("reasons")
    assert "JUMP_DET" in page.text_of("products")
    image = "document.querySelector('#products img')"
    assert page.evaluate(f"{image}.naturalWidth") == 96


def test_trends_have_a_row_for_each_detector(page):
    lines = "document.querySelectorAll('#trends small')"
    labels = page.evaluate(f"[...{lines}].map(e => e.textContent)")
    assert labels == ["NRCA1, 79 exposures", "NRCB5, 40 exposures"]
    page.click("document.querySelectorAll('#trends canvas')[1]")
    assert "NRCB5" in page.text_of("about")


def test_hostile_texts_are_text(page):
    assert SCRIPT in page.text_of("failures")
    assert page.evaluate("document.querySelectorAll('script').length") == 3
    assert not page.evaluate("globalThis.alerted === true")
