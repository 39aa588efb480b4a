"""A batch on the page of its scheduler's dashboard: the link that is printed, and what it shows."""

import re
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from distributed import LocalCluster
from support.batches import DATE, quiet_console
from support.pages_of_batches import read_data

from calbatch.cluster import run
from calbatch.cluster.batch.page_reports import show_on_page
from calbatch.cluster.cli.commands.status import read_status
from calbatch.cluster.ledger import View

HERE = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


@pytest.fixture(scope="module")
def cluster():
    """Return somebody's scheduler, with a worker of one thread."""
    with LocalCluster(protocol="tcp", host="127.0.0.1", threads_per_worker=1, **HERE) as running:
        yield running


def run_on(cluster, exposures, output, **options):
    """Run a batch of the step superbias; return its result and the dashboard that it names."""
    console = quiet_console()
    result = run(
        "superbias", exposures, output, scheduler=cluster.scheduler_address, date=DATE,
        fsync=False, console=console, **options,
    )  # fmt: skip
    (link,) = re.findall(r"dashboard: (\S+)", console.file.getvalue())
    return result, link


def find_batch(link, name):
    """Return the page's data on a batch, as the browser that opened the link sees them."""
    base, _, token = link.partition("/calbatch#")
    (found,) = [b for b in read_data(base, token)["batches"] if b["batch"] == name]
    return found


def test_a_batch_is_on_the_page_that_its_link_opens(simulated, tmp_path, cluster):
    bad = tmp_path / "in" / "bad_uncal.fits"
    bad.parent.mkdir()
    bad.write_bytes(b"SIMPLE")
    exposures = [*simulated.exposures, bad]
    result, link = run_on(cluster, exposures, tmp_path / "out")
    found = find_batch(link, result.name)
    assert found["counts"] == {"done": 3, "failed": 1}
    assert (found["state"], found["pipeline"], found["total"]) == ("ended", "superbias", 4)
    seconds = sum(sum(outcome.stages.values()) for outcome in result.done)
    assert sum(found["steps"].values()) == pytest.approx(seconds)
    assert found["free"] == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.5)
    assert found["private"]["output"] == str(tmp_path / "out")
    (failure,) = found["private"]["failures"]
    assert failure["path"] == str(bad)
    (outcome,) = result.failed
    assert outcome.error == f"{bad}: {failure['reason']}"


def test_the_link_is_in_the_ledger_and_shown_while_the_batch_runs(simulated, tmp_path, cluster):
    result, link = run_on(cluster, simulated.exposures[:1], tmp_path)
    with View(result.folder.state) as view:
        assert view.batch(result.name).dashboard == link
    assert read_status(result.folder).dashboard == ""


def test_a_repeated_batch_keeps_its_exposures(simulated, tmp_path, cluster):
    run_on(cluster, simulated.exposures[:1], tmp_path)
    result, link = run_on(cluster, simulated.exposures[:2], tmp_path)
    assert find_batch(link, result.name)["counts"] == {"kept": 1, "done": 1}


def test_a_batch_without_a_page(simulated, tmp_path, cluster):
    result, link = run_on(cluster, simulated.exposures[:1], tmp_path, page=False)
    assert link == cluster.dashboard_link
    base = link.removesuffix("/status")
    assert result.name not in [each["batch"] for each in read_data(base)["batches"]]


@contextmanager
def show_at(**site):
    with show_on_page(SimpleNamespace(**site), None, None, "t", print) as link:
        yield link


@pytest.mark.parametrize("dashboard", [None, "http://127.0.0.1:1/status"])
def test_a_site_of_another_kind_has_its_own_dashboard(dashboard):
    with show_at(dashboard=dashboard) as link:
        assert link == dashboard
