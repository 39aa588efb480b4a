"""Batches in a kernel of Jupyter, where that is installed."""

import pytest
from support.batches import DATE, products_in
from support.html_text import read_html
from support.waiting import GENEROUS

pytestmark = [pytest.mark.ci, pytest.mark.services]

HOW = "scheduler='sync', date={date!r}, fsync=False"

BACKGROUND = """
import calbatch
batch = calbatch.Batch("superbias", {inputs!r}, {output!r}, {how}).start()
batch
""", """
result = await batch
batch._display.join()
result
"""  # fmt: skip

FOREGROUND = ("import calbatch", "calbatch.run('superbias', {inputs!r}, {output!r}, {how})")


def execute(cells, simulated, tmp_path):
    """Execute cells in a kernel; return the outputs of each."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    how = HOW.format(date=DATE)
    inputs = [str(path) for path in simulated.exposures]
    filled = [each.format(inputs=inputs, output=str(tmp_path / "out"), how=how) for each in cells]
    book = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, filled)])
    nbclient.NotebookClient(book, timeout=5 * GENEROUS, kernel_name="python3").execute()
    return [cell.outputs for cell in book.cells]


def read_outputs(outputs):
    """Return the HTML of some outputs, all of which have some."""
    return [read_html(each.data["text/html"]).text for each in outputs]


def test_a_batch_is_shown_where_it_was_and_awaited(simulated, tmp_path):
    first, last = execute(BACKGROUND, simulated, tmp_path)
    [table] = read_outputs(first)
    assert "done: 3/3 done" in table  # updated after the end of its cell
    assert "<Batch " in first[0].data["text/plain"]
    [result] = read_outputs(last)
    assert "\ndone\n3\n" in result
    assert len(products_in(tmp_path / "out")) == 3


def test_a_batch_in_the_kernel_needs_no_widgets(simulated, tmp_path):
    _, outputs = execute(FOREGROUND, simulated, tmp_path)
    texts = read_outputs(outputs)
    assert any("3/3 done" in text for text in texts)
    assert not any("ipywidgets" in text for text in texts)
