"""The notebooks of the documentation, and the pictures of its pages, which they make.

Notebooks are stored without outputs, which would hold the paths and times of one run. As a command,
this executes them and renews the pictures in ``docs/images``::

    python tests/support/docs_notebooks.py
"""

import base64
import io
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))

COLOURS = 256  # few colours keep the files small, because noise hardly compresses
LIMIT = 300  # seconds for a cell, which matter only if one hangs


def read_notebook(path):
    """Return a notebook."""
    import nbformat

    return nbformat.read(path, as_version=4)


def execute_notebook(path, folder):
    """Return a notebook with the outputs of its cells, which run in a folder."""
    import nbclient

    book = read_notebook(path)
    place = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=LIMIT, kernel_name="python3", resources=place).execute()
    return book


def code_cells(book):
    """Return the cells of a notebook that hold code."""
    return [cell for cell in book.cells if cell.cell_type == "code"]


def pictures_in(cell):
    """Return the images, PNG, in the outputs of a cell."""
    found = (output.get("data", {}).get("image/png") for output in cell.outputs)
    return [base64.b64decode(image) for image in found if image is not None]


def picture_path(cell):
    """Return the file of the picture that a cell makes for a page; None without."""
    name = cell.metadata.get("picture")
    return None if name is None else DOCS / "images" / f"{name}.png"


def shrink(image):
    """Return a PNG with few colours."""
    from PIL import Image

    made = io.BytesIO()
    picture = Image.open(io.BytesIO(image)).convert("RGB")
    rare = Image.Quantize.MAXCOVERAGE  # keeps the colours of a few marks
    picture.quantize(COLOURS, rare, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


def renew_pictures():
    """Execute all notebooks, and write the pictures that cells make for pages."""
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            for cell in code_cells(execute_notebook(path, folder)):
                file = picture_path(cell)
                if file is not None:
                    file.write_bytes(shrink(*pictures_in(cell)))


if __name__ == "__main__":
    renew_pictures()
