"""Requests to the calbatch page of a scheduler, and a monitor with hostile texts."""

import hashlib
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
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
    data = read_data(*split_link(link))
    return next((each for each in data["batches"] if each["batch"] == name), None)


def split_link(link):
    """Return the address of the dashboard that has a page, and the page's token."""
    base, _, token = link.partition("/calbatch#")
    return base, token


def ask_details(base, batch, number, token):
    """Return the status of the page's answer to a request for an exposure, and the details."""
    query = urllib.parse.urlencode({"batch": batch, "number": number})
    url = f"{base}/calbatch-exposure.json?{query}"
    request = urllib.request.Request(url, headers={"X-Calbatch-Token": token})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())["details"]
    except urllib.error.HTTPError as error:
        return error.code, None


def is_listening(port):
    """Return whether a port of this host accepts connections."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10):
        return True
    return False


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
