"""Requests to the calbatch page of a scheduler, and a monitor with hostile texts."""

import hashlib
import json
import urllib.request
from pathlib import Path

from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.exposure.outcome import Outcome

SCRIPT = "<script>document.title = 'hacked'</script>"
"""A text that changes the page if a browser runs it."""


def digest_of(token):
    """Return the SHA-256 of a token in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_data(base, token=""):
    """Return the data of the page of the dashboard at ``base``."""
    headers = {"X-Calbatch-Token": token} if token else {}
    request = urllib.request.Request(f"{base}/calbatch.json", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def read_batch(link, name):
    """Return the page's data on a batch, as a browser that opened the link sees them, or None."""
    base, _, token = link.partition("/calbatch#")
    return next((b for b in read_data(base, token)["batches"] if b["batch"] == name), None)


def read_progress(scheduler):
    """Return the numbers at the bars of dask's page Progress, such as ``1 / 4``."""
    from distributed.dashboard.components.scheduler import TaskProgress  # slow to import

    page = TaskProgress(scheduler)
    page.update()
    return list(page.source.data["done"])


def hostile_monitor(total=3):
    """Return the monitor of a batch whose first exposure has failed, with markup in all texts."""
    monitor = BatchMonitor(
        batch=f"b{SCRIPT}", pipeline=f"p{SCRIPT}", output=f"/out/{SCRIPT}",
        states=["waiting"] * total, left=total,
    )  # fmt: skip
    monitor.set_state(0, "failed")
    path = Path(f"/data/{SCRIPT}\x1b[31m{'x' * 10_000}.fits")
    error = f"<img src=x onerror=\"document.title = 'hacked'\">{SCRIPT}"
    monitor.add(Outcome(number=0, path=path, error=error, stages={SCRIPT: 1.0}))
    return monitor
