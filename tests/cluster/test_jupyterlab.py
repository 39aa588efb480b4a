"""A batch in a real JupyterLab, run by clicks and watched in a browser.

`.ci/run` installs calbatch and JupyterLab, and nothing else, and names the program. By hand::

    CALBATCH_JUPYTERLAB=VENV/bin/jupyter-lab pytest -n 0 -m ci tests/cluster/test_jupyterlab.py
"""

import json
import os
import urllib.error
import urllib.request
from contextlib import suppress

import pytest
from support.batches import DATE, products_in
from support.browser import open_browser
from support.onehost import free_ports
from support.services import end_process, start_process
from support.waiting import GENEROUS, eventually

pytestmark = [pytest.mark.ci, pytest.mark.services, pytest.mark.timeout(900)]

LAB = os.environ.get("CALBATCH_JUPYTERLAB", "")
TOKEN = "a-token-of-a-test"
PATIENT = 4 * GENEROUS
OUTPUTS = "[...document.querySelectorAll('.jp-OutputArea-output')].map(e => e.innerText)"
IDLE = "document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')"
RUN = "document.querySelector('[data-command=\"notebook:run-cell-and-select-next\"]')"

CELLS = """
import calbatch
batch = calbatch.Batch("superbias", {inputs!r}, {output!r}, {how}).start()
batch
""", """
result = await batch
result
"""  # fmt: skip


def write_notebook(path, **values):
    """Write a notebook whose cells are not executed yet."""
    cells = [
        {"cell_type": "code", "id": f"cell{n}", "source": text.strip().format(**values),
         "metadata": {}, "execution_count": None, "outputs": []}
        for n, text in enumerate(CELLS)
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book))


@pytest.fixture
def lab(simulated, tmp_path, monkeypatch):
    """Return the address of a JupyterLab with a notebook."""
    if not LAB:
        pytest.skip("CALBATCH_JUPYTERLAB does not name the program of a JupyterLab")
    folder, (port,) = tmp_path / "notebooks", free_ports(1)
    folder.mkdir()
    how = f"scheduler='local', workers=1, date={DATE!r}, fsync=False"
    inputs = [str(path) for path in simulated.exposures]
    write_notebook(folder / "batch.ipynb", inputs=inputs, output=str(tmp_path / "out"), how=how)
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "CALBATCH_STATE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("PYTHONPATH", "PYTHONHOME"):  # nothing but what is installed there
        monkeypatch.delenv(name, raising=False)
    command = (
        LAB, "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
    )  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = start_process(*command, log=log, cwd=folder)
        try:
            base = f"http://127.0.0.1:{port}"
            eventually(lambda: is_served(f"{base}/api?token={TOKEN}"), PATIENT)
            yield f"{base}/lab/tree/batch.ipynb?token={TOKEN}"
        finally:
            end_process(process)


def is_served(url):
    with suppress(OSError, urllib.error.URLError):
        return urllib.request.urlopen(url, timeout=60).status == 200
    return False


def run_cell(page, number):
    """Run the selected cell if one has not begun; a notebook that still loads ignores the click."""
    prompts = "document.querySelectorAll('.jp-Notebook .jp-InputPrompt')"
    has_begun = page.evaluate(f"/[*\\d]/.test({prompts}[{number}]?.innerText ?? '')")
    if not has_begun:
        page.click(RUN)
    return has_begun


def join_outputs(page):
    """Return the text of all outputs of the notebook."""
    return "\n".join(page.evaluate(OUTPUTS))


def test_a_batch_is_run_to_its_end_and_shown(lab, simulated, tmp_path):
    with open_browser(tmp_path / "profile") as page:
        page.call("Page.navigate", url=lab)
        eventually(lambda: page.evaluate(f"{RUN} !== null && {IDLE} !== null"), PATIENT)
        for number in range(len(CELLS)):
            eventually(lambda number=number: run_cell(page, number), PATIENT, every=5)
        eventually(lambda: len(page.evaluate(OUTPUTS)) == len(CELLS), PATIENT)
        eventually(lambda: "3/3 done" in join_outputs(page), PATIENT)
        text = join_outputs(page)
        assert "superbias" in text
        assert text.count("done") >= len(CELLS)  # in that of each
        assert "Error" not in text
        assert "widget" not in text
    assert len(products_in(tmp_path / "out")) == len(simulated.exposures)
