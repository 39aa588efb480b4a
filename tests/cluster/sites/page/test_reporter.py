"""The page of a real scheduler: its answers, what they reveal, and schedulers without calbatch."""

import logging
import re
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest
from distributed import Client, LocalCluster, versions
from support.onehost import free_ports
from support.pages_of_batches import SCRIPT, ask_details, hostile_monitor, read_data, read_progress
from support.services import end_process, start_process
from support.waiting import eventually

from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.sites.page import reporter
from calbatch.cluster.sites.page.reporter import report_batch
from calbatch.cluster.sites.scheduler_plugins import Departures, install_plugin

TOKEN = "a-secret-token"
HERE = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


@pytest.fixture(scope="module")
def client():
    """Return a client of a scheduler with one worker and dask's dashboard."""
    with (
        LocalCluster(protocol="tcp", host="127.0.0.1", threads_per_worker=1, **HERE) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


def base_of(client):
    return client.dashboard_link.removesuffix("/status")


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.headers, answer.read().decode()


def report(client, monitor, said):
    return report_batch(client, monitor, TOKEN, said.append, describe=describe)


def describe(number):
    return {"number": number, "path": f"/data/{number}"}


def test_the_page_has_its_own_code_only(client):
    with report(client, hostile_monitor(), []) as has_page:
        headers, html = get(f"{base_of(client)}/calbatch")
    assert has_page
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert html.count("<script>") == 1
    assert re.findall(r"https?:|//\w+\.|innerHTML|outerHTML|insertAdjacent|eval\(", html) == []
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_without_the_token_there_are_states_and_numbers_only(client):
    with report(client, hostile_monitor(), []):
        (found,) = read_data(base_of(client))["batches"]
        (wrong,) = read_data(base_of(client), f"{TOKEN}x")["batches"]
    for each in (found, wrong):
        assert (each["counts"], each["grid"]) == ({"waiting": 2, "failed": 1}, "fw2")
        assert "private" not in each
        assert "/data/" not in str(each)


def test_with_the_token_there_are_paths_and_reasons(client):
    with report(client, hostile_monitor(), []):
        data = read_data(base_of(client), TOKEN)
    (failed,) = data["batches"][0]["private"]["failures"]
    assert failed["path"].startswith(f"/data/{SCRIPT}\\x1b[31mxxx")
    assert failed["reason"].endswith(SCRIPT)
    (worker,) = data["workers"]
    assert worker["memory"] > 0


def test_changes_are_reported_and_the_end_is(client, monkeypatch):
    monkeypatch.setattr(reporter, "EVERY", 0.05)
    monitor = hostile_monitor()
    with report(client, monitor, []):
        monitor.set_state(1, "running")
        eventually(lambda: read_data(base_of(client))["batches"][0]["grid"] == "frw")
        assert read_data(base_of(client))["batches"][0]["state"] == "running"
    monitor.set_state(1, "waiting")
    assert read_data(base_of(client))["batches"][0]["state"] == "stopped"


def ask(client, number, token=TOKEN, batch=None):
    """Return the page's answer to a request for the details of an exposure, and its status."""
    name = batch or hostile_monitor().take_snapshot().batch
    return ask_details(base_of(client), name, number, token)


def test_the_driver_describes_an_exposure_on_request(client, monkeypatch):
    monkeypatch.setattr(reporter, "EVERY", 0.05)
    monkeypatch.setattr(reporter, "UNCHANGED_EVERY", 0.0)
    with report(client, hostile_monitor(), []):
        found = eventually(lambda: ask(client, 2)[1])
    assert found == {"number": 2, "path": "/data/2"}


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        ({"number": 1, "token": ""}, 403),
        ({"number": 1, "token": "t"}, 403),
        ({"number": 1, "batch": "other"}, 403),
        ({"number": "x"}, 400),
        ({"number": "9" * 5000}, 400),
    ],
)
def test_details_need_the_token_and_a_number(client, request_of, status):
    with report(client, hostile_monitor(), []):
        assert ask(client, **request_of) == (status, None)


def test_the_token_is_not_logged(client, caplog):
    with caplog.at_level(logging.DEBUG), report(client, hostile_monitor(), []):
        assert read_data(base_of(client), TOKEN)["batches"][0]["private"]
    assert TOKEN not in caplog.text


GATE = threading.Event()


def wait_for_gate(number):
    GATE.wait()


def submit_gated(client, *numbers):
    """Submit exposures that wait for the gate; return them."""
    keys = [("p-b", number, number) for number in numbers]
    return client.map(wait_for_gate, numbers, key=keys, pure=False)


def test_dasks_progress_counts_the_whole_batch_between_reports(client, monkeypatch):
    monkeypatch.setattr(reporter, "EVERY", 1000.0)
    monitor = BatchMonitor(
        batch="b", pipeline="p", output="/out", states=["kept", *["waiting"] * 5], left=5
    )
    for number in (1, 2):
        monitor.set_state(number, "running")
    scheduler = client.cluster.scheduler
    tasks = submit_gated(client, 1, 2)
    with report(client, monitor, []):
        assert read_progress(scheduler) == ["1 / 6"]
        GATE.set()
        client.gather(tasks)
        assert read_progress(scheduler) == ["3 / 6"]
        del tasks
        eventually(lambda: not scheduler.task_groups)
        assert read_progress(scheduler) == ["3 / 6"]
        GATE.clear()
        tasks = submit_gated(client, 3)
        eventually(lambda: scheduler.task_groups)
        assert read_progress(scheduler) == ["3 / 6"]
        GATE.set()
        client.gather(tasks)
        assert read_progress(scheduler) == ["4 / 6"]
    del tasks
    eventually(lambda: read_progress(scheduler) == [])


def test_dasks_progress_counts_exposures_whose_tasks_are_tiles(client):
    monitor = BatchMonitor(
        batch="b", pipeline="p", output="/out", states=["done", "running", "waiting"], left=2
    )
    with report(client, monitor, []):
        page = read_progress(client.cluster.scheduler)
    assert page == ["1 / 3"]


def test_dasks_own_pages_link_to_the_page(client):
    with report(client, hostile_monitor(), []):
        _, html = get(f"{base_of(client)}/status")
    assert 'href="calbatch"' in html


def test_the_page_is_below_the_prefix_of_a_dashboard(client):
    with report(client, hostile_monitor(), []):
        assert read_data(f"{base_of(client)}/some/prefix")["batches"]


WITHOUT_CALBATCH = """
import sys
sys.modules["calbatch"] = None  # importing it fails
from distributed.cli.dask_scheduler import main
main()
"""


def test_a_scheduler_without_calbatch_takes_the_page_and_other_plugins(tmp_path):
    port, dashboard = free_ports(2)
    program = (sys.executable, "-c", WITHOUT_CALBATCH)
    where = ("--host", "127.0.0.1", "--port", port)
    # the web server without dask's own pages, whose libraries take long to import
    at = ("--dashboard-address", f"127.0.0.1:{dashboard}", "--no-dashboard")
    with (tmp_path / "log").open("w") as log:
        process = start_process(*program, *where, *at, log=log, cwd=tmp_path)
        try:
            address, said = f"tcp://127.0.0.1:{port}", []
            with (
                Client(address, timeout="120s", set_as_default=False) as client,
                report(client, hostile_monitor(), said) as has_page,
            ):
                assert (has_page, said) == (True, [])
                data = read_data(f"http://127.0.0.1:{dashboard}", TOKEN)
                assert data["batches"][0]["private"]["failures"]
                install_plugin(client, Departures())
        finally:
            end_process(process)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_scheduler_that_refuses_the_page_leaves_the_batch_alone(client, monkeypatch):
    def refuse(plugin):
        raise ValueError("no pickles\nhere")

    monkeypatch.setattr(client, "register_plugin", refuse)
    said = []
    with report(client, hostile_monitor(), said) as has_page:
        assert not has_page
    assert said == ["the dashboard has no page for the batch: no pickles here"]


def test_a_scheduler_with_another_python_is_sent_no_code(client, monkeypatch):
    host = {**versions.get_system_info(), "python": "3.9.2.final.0"}
    monkeypatch.setattr(versions, "get_system_info", lambda: host)
    said = []
    with report(client, hostile_monitor(), said) as has_page:
        assert not has_page
    ours = ".".join(map(str, sys.version_info[:2]))
    assert said == [
        "the dashboard has no page for the batch: the scheduler has Python 3.9, and this process "
        f"{ours}"
    ]
