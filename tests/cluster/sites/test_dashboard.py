"""dask's dashboard, which is imported at the first request and then answers as always."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

PROGRAM = """
import json, sys, urllib.request
import dask
from distributed import Client, LocalCluster
from calbatch.cluster.sites import dashboard
from calbatch.cluster.sites.local import DASK_SETTINGS, http_routes
from calbatch.cluster.sites.page.reporter import install_page

settings = {**DASK_SETTINGS, **http_routes(dashboard.__name__)}
with dask.config.set(settings), LocalCluster(
    n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0",
    scheduler_kwargs=dashboard.scheduler_options(), silence_logs=50,
) as cluster:
    dashboard.add_dashboard(cluster.scheduler)
    with Client(cluster, set_as_default=False) as client:
        install_page(client)
    print(cluster.dashboard_link, flush=True)
    for line in sys.stdin:
        print("bokeh" in sys.modules, len(cluster.scheduler.http_application.applications),
              flush=True)
"""


class _Served:
    """A scheduler in a process of its own, in which nothing else has imported bokeh."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.base = self.process.stdout.readline().strip().removesuffix("/status")

    def state(self):
        """Return whether bokeh has been imported, and the number of further applications."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        imported, applications = self.process.stdout.readline().split()
        return imported == "True", int(applications)

    def get(self, path):
        with urllib.request.urlopen(f"{self.base}{path}", timeout=120) as answer:
            return answer.geturl(), answer.read().decode()


@pytest.fixture
def served():
    made = _Served()
    yield made
    made.process.communicate()
    assert made.process.returncode == 0


def test_the_first_requests_for_pages_open_the_dashboard(served):
    assert served.get("/health")[1] == "ok"
    assert "workers" in served.get("/json/counts.json")[1]
    shown = {"batches": [], "workers": [], "dask_pages": True}
    assert json.loads(served.get("/calbatch.json")[1]) == shown
    assert served.state() == (False, 2)
    with ThreadPoolExecutor(4) as threads:
        paths = ["/status", "/workers?x=a/b", "/", "/individual-plots.json"]
        answers = list(threads.map(served.get, paths))
    urls = [url.removeprefix(served.base) for url, _ in answers]
    assert urls == ["/status", "/workers?x=a/b", "/status", "/individual-plots.json"]
    assert all("bokeh" in page for _, page in answers[:3])
    plots = json.loads(answers[3][1])
    assert plots["Individual Task Stream"] == "/individual-task-stream"
    assert plots["Calbatch"] == "/calbatch"
    assert 'href="calbatch"' in served.get("/status")[1]
    assert served.state() == (True, 2)
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.get("/proxy/8787/127.0.0.1/status")
    assert refused.value.code == 404


def connect(base, origin):
    """Return the status of a request for a live connection by a page of some origin."""
    page = urllib.request.urlopen(f"{base}/individual-progress", timeout=120).read().decode()
    token = re.search(r'"token":"([^"]+)"', page)[1]
    request = HTTPRequest(
        f"{base.replace('http', 'ws', 1)}/individual-progress/ws", headers={"Origin": origin}
    )

    async def open_socket():
        try:
            (await websocket_connect(request, subprotocols=["bokeh", token])).close()
        except HTTPClientError as error:
            return error.code
        return 101

    return asyncio.run(open_socket())


def test_pages_of_this_host_alone_have_live_connections(served):
    own = connect(served.base, served.base)
    notebook = connect(served.base, "http://localhost:8888")
    elsewhere = connect(served.base, "http://127.0.0.1.example:80")
    assert (own, notebook, elsewhere) == (101, 101, 403)
