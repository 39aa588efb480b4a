"""Screenshots of the documentation: the page of a batch, and a report.

As a command, this renews ``docs/images/page.png`` and ``docs/images/report.png``, with Chromium::

    python tests/support/screenshots.py
"""

import base64
import random
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from distributed import Client, LocalCluster

from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.display.quick_look_images import FORMATS, draw_png
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.reporting.batch_report import read_report
from calbatch.cluster.reporting.report_files import make_page
from calbatch.cluster.sites.page.reporter import report_batch
from calbatch.models.statistics.quick_look import QuickLook
from support.browser import Page, open_browser
from support.docs_notebooks import DOCS, shrink
from support.measured_batches import header_of, record_measured, statistics_of
from support.waiting import eventually

TOTAL, ENDED, TAKEN = 2000, 1300, 16
EVERY = 0.4  # seconds between exposures
STEPS = {"linearity": 0.05, "dark_current": 0.06, "jump": 0.11, "ramp_fit": 0.2, "write": 0.06}
HERE = {"n_workers": 2, "processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


def name_exposure(number: int) -> str:
    """Return the path of an exposure."""
    return f"/data/night1/jw01234001001_02101_{number:05}_nrca1_uncal.fits"


def make_monitor() -> BatchMonitor:
    """Return the monitor of a batch that is two thirds done, with a few failures."""
    start = time.monotonic() - ENDED * EVERY
    with patch("time.monotonic", lambda: start):
        monitor = BatchMonitor(
            batch="20260131-120000-k3x9", pipeline="detector1", output="/data/calibrated",
            states=["waiting"] * TOTAL, left=TOTAL, measure_free=lambda: 812_000_000_000,
        )  # fmt: skip
    monitor.site = "slurm: 8 jobs with 8 workers each"
    for number in range(ENDED):
        path = Path(name_exposure(number))
        error = f"{path}: truncated: 10 MB of 168 MB are missing" if number % 450 == 7 else ""
        monitor.set_state(number, "failed" if error else "done")
        with patch("time.monotonic", lambda now=start + EVERY * number: now):
            monitor.add(Outcome(number=number, path=path, error=error or None, stages=STEPS))
    for number in range(ENDED, ENDED + TAKEN):
        monitor.set_state(number, "running")
    return monitor


def draw_sky() -> str:
    """Return a quick-look of stars as PNG in base 64."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:96, :96]
    sky = rng.normal(10, 0.5, (96, 96))
    places, fluxes = rng.uniform(0, 96, (40, 2)), rng.exponential(40, 40)
    for (row, column), flux in zip(places, fluxes, strict=True):
        sky += flux * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 3)
    return draw_png(QuickLook.from_means(sky), FORMATS[0])


def describe_exposure(number: int) -> dict[str, object]:
    """Return the details of an exposure that has been calibrated."""
    stem = Path(name_exposure(number)).name.removesuffix("_uncal.fits")
    tries = [{"number": 1, "result": "done", "worker": "node3-5", "seconds": 1.4,
              "memory": 9 * 10**8, "log": ""}]  # fmt: skip
    names = [f"{stem}_{suffix}.fits" for suffix in ("rate", "rateints")]
    images = [{"name": name, "png": draw_sky()} for name in names]
    products = [f"/data/calibrated/{image['name']}" for image in images]
    return {"number": number, "path": name_exposure(number), "state": "done", "steps": STEPS,
            "products": products, "images": images, "tries": tries}  # fmt: skip


def take(page: Page, name: str) -> None:
    """Write a screenshot of what a browser shows to a file of the documentation."""
    image = base64.b64decode(page.call("Page.captureScreenshot", format="png")["data"])
    (DOCS / "images" / f"{name}.png").write_bytes(shrink(image))


def show_batch(page: Page) -> None:
    """Show the page of a batch, with the details of an exposure."""
    monitor = make_monitor()
    with (
        LocalCluster(protocol="tcp", host="127.0.0.1", threads_per_worker=1, **HERE) as cluster,
        Client(cluster, set_as_default=False) as client,
        report_batch(client, monitor, "token", print, describe=describe_exposure),
    ):
        address = cluster.dashboard_link.removesuffix("/status")
        page.open(f"{address}/calbatch#token")
        eventually(lambda: page.evaluate("document.querySelector('#failures button') !== null"))
        page.click("document.getElementById('grid')")
        eventually(lambda: page.evaluate("document.querySelector('#images img') !== null"))
        page.evaluate("window.scrollTo(0, 0)")
        take(page, "page")


def show_report(page: Page, folder: Path) -> None:
    """Show a report with an outlying exposure."""
    rng = random.Random(4)
    found = {n: [statistics_of(n)] for n in range(240)}
    found[17] = [statistics_of(17, noise=0.6)]
    headers = {n: header_of(n, rng.choice(["NRCA1", "NRCA2", "NRCB4"])) for n in found}
    exposures = {n: {"path": name_exposure(n)} for n in found}
    report = folder / "report.html"
    text = make_page(read_report(record_measured(folder, found, headers, exposures)))
    report.write_text(text.replace(str(folder), "/data/calibrated"))
    page.open(report)
    take(page, "report")


def renew_screenshots() -> None:
    """Write all screenshots."""
    with tempfile.TemporaryDirectory() as folder, open_browser(Path(folder) / "profile") as page:
        show_batch(page)
        show_report(page, Path(folder))


if __name__ == "__main__":
    renew_screenshots()
