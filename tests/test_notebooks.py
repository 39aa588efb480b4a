"""The notebooks of the documentation: they run, and make the pictures that pages show."""

import re

import pytest
from support import docs_notebooks
from support.docs_notebooks import DOCS, NOTEBOOKS, code_cells, picture_path, pictures_in
from support.html_text import read_html
from support.repository import PAGES


def execute(name, tmp_path):
    """Return the cells with code of a notebook that has been executed, and left no files."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = docs_notebooks.execute_notebook(DOCS / "notebooks" / name, tmp_path)
    assert list(tmp_path.iterdir()) == []
    return code_cells(book)


def texts_of(cell):
    """Return what a cell shows as text: that of its HTML, or plain text."""
    shown = [output.data for output in cell.outputs if "data" in output]
    return [
        read_html(data["text/html"]).text if "text/html" in data else data["text/plain"]
        for data in shown
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_stored_without_outputs(path):
    pytest.importorskip("nbformat")
    cells = code_cells(docs_notebooks.read_notebook(path))
    assert len(cells) > 3
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []


def test_pages_show_the_pictures_that_notebooks_make():
    pytest.importorskip("nbformat")
    books = map(docs_notebooks.read_notebook, NOTEBOOKS)
    made = {picture_path(cell) for book in books for cell in code_cells(book)} - {None}
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"!\[[^]]*\]\(([^)]+\.png)\)", page.read_text())
    }
    assert made <= shown
    assert [path for path in shown if not path.is_file()] == []


@pytest.mark.ci
@pytest.mark.services
def test_the_notebook_of_a_batch_ends_as_it_says(tmp_path):
    pytest.importorskip("pandas")
    cells = execute("batch.ipynb", tmp_path)
    shown = "\n".join(text for cell in cells for text in texts_of(cell))
    [error] = texts_of(cells[3])
    assert error.count("_uncal.fits: truncated") == 1
    assert ": 2 done, 1 failed, " in cells[2].outputs[0].data["text/plain"]
    assert ": 3 done, 0 failed, " in cells[4].outputs[0].data["text/plain"]
    assert shown.count("_rate.fits'") == 3


@pytest.mark.ci
@pytest.mark.services
def test_the_notebook_of_plots_shows_an_image_for_each(tmp_path):
    cells = execute("look.ipynb", tmp_path)
    assert [len(pictures_in(cell)) for cell in cells] == [0, 1, 1, 1, 1, 0]
    for cell in cells:
        if picture_path(cell):
            image = docs_notebooks.shrink(*pictures_in(cell))
            assert len(image) > 5000
            assert len(image) < len(pictures_in(cell)[0])
