"""The page in a real browser, if there is one: texts from files are text, and the grid is drawn."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from distributed import Client, LocalCluster
from support.browser import open_browser
from support.pages_of_batches import SCRIPT, hostile_monitor, split_link
from support.waiting import eventually

from calbatch.cluster.display.quick_look_images import FORMATS, draw_png
from calbatch.cluster.sites.page.own_server import serve_batch
from calbatch.cluster.sites.page.reporter import report_batch
from calbatch.models.statistics.quick_look import QuickLook

pytestmark = [pytest.mark.ci, pytest.mark.services]

TOTAL = 100_000
HERE = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


def open_in_browser(url, folder):
    """Return the document that a browser shows two seconds after it has opened a page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium not found: apt-get install chromium")
    options = (
        "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
        "--window-size=1000,800", "--virtual-time-budget=2000", "--dump-dom",
    )  # fmt: skip
    done = subprocess.run(
        [browser, *options, url], capture_output=True, text=True, timeout=240, check=True
    )
    return done.stdout


def describe(number):
    """Return the details of an exposure with a quick-look."""
    look = QuickLook.from_means(np.arange(96.0 * 96).reshape(96, 96))
    images = [{"name": f"{SCRIPT}.fits", "png": draw_png(look, FORMATS[0])}]
    each = {"number": 1, "result": "failed", "worker": SCRIPT, "seconds": 2.0, "memory": 10**9}
    tries = [{**each, "log": f"Traceback\n  {SCRIPT}"}]
    return {"number": number, "path": SCRIPT, "state": "failed", "images": images, "tries": tries}


@pytest.fixture(scope="module", params=["scheduler", "own server"])
def base(request):
    """Return the address of a dashboard whose page shows a batch of hostile texts."""
    batch = hostile_monitor(TOTAL), "token", print
    if request.param == "own server":
        with serve_batch(*batch, describe=describe) as link:
            yield split_link(link)[0]
        return
    with (
        LocalCluster(protocol="tcp", host="127.0.0.1", threads_per_worker=1, **HERE) as cluster,
        Client(cluster, set_as_default=False) as client,
        report_batch(client, *batch, describe=describe),
    ):
        yield cluster.dashboard_link.removesuffix("/status")


def test_all_texts_are_text(base, tmp_path):
    shown = open_in_browser(f"{base}/calbatch#token", tmp_path)
    escaped = SCRIPT.replace("<", "&lt;").replace(">", "&gt;")
    assert f"<title>0/{TOTAL} b{escaped}</title>" in shown
    assert f"/data/{escaped}\\x1b[31mxxx" in shown  # the table of failures
    assert f"{escaped}</td>" in shown  # a reason, and a step
    assert shown.count("<script>") == 1
    assert "<img" not in shown


def test_a_large_batch_is_drawn_on_a_grid(base, tmp_path):
    shown = open_in_browser(f"{base}/calbatch#token", tmp_path)
    (canvas,) = re.findall(r"<canvas [^>]*>", shown)
    assert f"{TOTAL - 1} waiting, 1 failed" in canvas
    width, height = (int(re.search(rf' {n}="(\d+)"', canvas)[1]) for n in ("width", "height"))
    assert width * height >= TOTAL
    assert height < 1000


def test_without_the_token_the_page_says_where_paths_are(base, tmp_path):
    shown = open_in_browser(f"{base}/calbatch", tmp_path)
    assert "the link that calbatch printed shows paths and reasons" in shown
    assert "/data/" not in shown


def test_a_click_at_an_exposure_shows_its_quick_looks_tries_and_logs(base, tmp_path):
    with open_browser(tmp_path / "profile") as page:
        page.open(f"{base}/calbatch#token")
        eventually(lambda: page.evaluate("document.querySelector('#failures button') !== null"))
        page.click("document.querySelector('#failures button')")
        image = "document.querySelector('#images img')"
        eventually(lambda: page.evaluate(f"{image} !== null && {image}.complete"))
        assert page.evaluate(f"{image}.naturalWidth") == 96
        caption = page.evaluate("document.querySelector('#images figcaption').textContent")
        assert caption == f"{SCRIPT}.fits: sampled rows"
        assert page.text_of("tries").endswith(f"1failed{SCRIPT}2.0 s1000 MB")
        page.click("document.querySelector('#logs summary')")
        log = page.evaluate("document.querySelector('#logs pre').innerText")
        assert log == f"Traceback\n  {SCRIPT}"
        assert page.evaluate("document.title").startswith("0/")


def test_the_page_has_the_style_of_the_system(base, tmp_path):
    shades = {}
    with open_browser(tmp_path / "profile") as page:
        page.open(f"{base}/calbatch#token")
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            page.call("Emulation.setEmulatedMedia", features=features)
            for kind in ("backgroundColor", "color"):
                colour = page.evaluate(f"getComputedStyle(document.body).{kind}")
                shades[scheme, kind] = sum(map(int, re.findall(r"\d+", colour)))
    assert shades["light", "backgroundColor"] > 3 * 200 > 3 * 100 > shades["light", "color"]
    assert shades["dark", "backgroundColor"] < 3 * 100 < 3 * 200 < shades["dark", "color"]
