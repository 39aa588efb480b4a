"""A batch on the page of its scheduler's dashboard: the link that is printed, and what it shows."""

import re
import shutil
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from urllib.parse import urlsplit

import psutil
import pytest
from distributed import LocalCluster
from support.batches import DATE, products_in, quiet_console
from support.browser import open_browser
from support.chaos import driver_of, kill, with_children
from support.gated import BRIEF, GATE, SLOW
from support.ownscheduler import Running
from support.pages_of_batches import (
    ask_details,
    is_listening,
    read_batch,
    read_data,
    read_progress,
    split_link,
)
from support.placed import make_importable
from support.waiting import eventually

from calbatch import Batch
from calbatch.cluster import run
from calbatch.cluster.batch.page_reports import show_on_page
from calbatch.cluster.cli.commands.status import read_status
from calbatch.cluster.ledger import View

SIDE = 16  # pixels of a cell in the grid of a small batch
HERE = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


@pytest.fixture(scope="module")
def cluster():
    """Return somebody's scheduler, with a worker of one thread."""
    with LocalCluster(protocol="tcp", host="127.0.0.1", threads_per_worker=1, **HERE) as running:
        yield running


def run_on(cluster, exposures, output, **options):
    """Run a batch of the step superbias; return its result and the dashboard that it names."""
    result, (link,) = run_at(cluster.scheduler_address, exposures, output, **options)
    return result, link


def run_at(scheduler, exposures, output, **options):
    """Run a batch of the step superbias; return its result and all dashboards that it names."""
    console = quiet_console()
    result = run(
        "superbias", exposures, output, scheduler=scheduler, date=DATE, fsync=False,
        console=console, **options,
    )  # fmt: skip
    return result, re.findall(r"dashboard: (\S+)", console.file.getvalue())


def test_a_batch_is_on_the_page_that_its_link_opens(simulated, tmp_path, cluster):
    bad = tmp_path / "in" / "bad_uncal.fits"
    bad.parent.mkdir()
    bad.write_bytes(b"SIMPLE")
    exposures = [*simulated.exposures, bad]
    result, link = run_on(cluster, exposures, tmp_path / "out")
    found = read_batch(link, result.name)
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
    assert read_batch(link, result.name)["counts"] == {"kept": 1, "done": 1}


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


@pytest.mark.parametrize("scheduler", ["threads", "auto"])
def test_a_batch_in_threads_has_a_page_until_it_ends(simulated, tmp_path, scheduler):
    result, (link,) = run_at(scheduler, simulated.exposures, tmp_path)
    assert not is_listening(urlsplit(link).port)
    with View(result.folder.state) as view:
        assert view.batch(result.name).dashboard == link


@pytest.mark.parametrize("how", [{"scheduler": "threads", "page": False}, {"scheduler": "sync"}])
def test_without_a_page_or_threads_nothing_is_served(simulated, tmp_path, how):
    _, links = run_at(exposures=simulated.exposures[:1], output=tmp_path, **how)
    assert links == []


@pytest.fixture
def start(simulated, tmp_path, monkeypatch, forked_drivers):
    """Return a function that starts a batch, which waits until its gate file exists."""
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    make_importable(monkeypatch)
    started = []

    def start_batch(address, exposures=simulated.exposures[:2], pipeline=SLOW):
        how = {"scheduler": address, "date": DATE, "fsync": False}
        started.append(Batch(pipeline, exposures, tmp_path / "out", **how).start())
        return started[-1]

    yield start_batch
    (tmp_path / "gate").touch()
    for batch in started:
        kill(*with_children(driver_of(batch.folder)))


def find_link(batch, *earlier):
    """Return the address of a running batch's page, other than those of earlier drivers."""
    return eventually(lambda: {batch.status().dashboard} - {"", *earlier}).pop()


def test_the_page_of_a_batch_in_threads_follows_it(start, simulated, tmp_path):
    bad = tmp_path / "bad_uncal.fits"
    bad.write_bytes(b"SIMPLE")
    batch = start("threads", [bad, *simulated.exposures])
    link = find_link(batch)
    eventually(lambda: "running" in read_batch(link, batch.name)["counts"])
    found = read_batch(link, batch.name)
    assert found["counts"] == {"waiting": 2, "running": 1, "failed": 1}
    assert found["private"]["output"] == str(tmp_path / "out")
    assert found["private"]["failures"][0]["path"] == str(bad)
    base, token = split_link(link)
    assert read_data(base, token)["workers"][0]["tasks"] == 1
    number = found["grid"].index("r")
    status, details = ask_details(base, batch.name, number, token)
    assert (status, details["state"]) == (200, "running")
    driver, port = driver_of(batch.folder), urlsplit(link).port
    sockets = driver.net_connections("inet")
    (listening,) = [each.laddr for each in sockets if each.status == psutil.CONN_LISTEN]
    assert listening == ("127.0.0.1", port)
    (tmp_path / "gate").touch()
    assert batch.wait(timeout=120).counts == {"done": 3, "failed": 1}
    assert not is_listening(port)


def test_a_killed_drivers_token_is_replaced_by_its_successors(start, tmp_path, cluster):
    batch = start(cluster.scheduler_address)
    first = find_link(batch)
    eventually(lambda: read_batch(first, batch.name)["counts"] == {"running": 2})
    kill(driver_of(batch.folder))
    eventually(lambda: batch.state == "interrupted")
    left = read_batch(first, batch.name)
    assert left["state"] == "running"  # nobody said otherwise; the page warns as its age grows
    eventually(lambda: read_batch(first, batch.name)["age"] > left["age"])
    second = find_link(batch.resume(), first)
    assert second.partition("#")[0] == first.partition("#")[0]
    eventually(lambda: "private" not in read_batch(first, batch.name))
    assert read_batch(second, batch.name)["private"]["output"] == str(tmp_path / "out")
    (tmp_path / "gate").touch()
    assert batch.wait(timeout=120).state == "done"
    ended = read_batch(second, batch.name)
    assert (ended["state"], ended["counts"]) == ("ended", {"done": 2})


def test_dasks_progress_counts_the_whole_batch_while_it_runs(start, simulated, tmp_path, cluster):
    bad = tmp_path / "bad_uncal.fits"
    bad.write_bytes(b"SIMPLE")
    batch = start(cluster.scheduler_address, [bad, *simulated.exposures])
    eventually(lambda: read_progress(cluster.scheduler) == ["1 / 4"])  # two of them are tasks
    (tmp_path / "gate").touch()
    assert batch.wait(timeout=120).counts == {"done": 3, "failed": 1}
    eventually(lambda: read_progress(cluster.scheduler) == [])


def test_dasks_progress_forgets_the_batch_of_a_killed_driver(start, simulated, cluster):
    batch = start(cluster.scheduler_address, simulated.exposures)
    eventually(lambda: read_progress(cluster.scheduler) == ["0 / 3"])
    kill(driver_of(batch.folder))
    eventually(lambda: read_progress(cluster.scheduler) == [])


@pytest.mark.ci
@pytest.mark.services
@pytest.mark.parametrize(
    ("running", "ended"),
    [(2, ("state", "4 exposures, ended")), (1, ("notice", "the batch has probably ended"))],
    ids=["scheduler", "threads"],
)
def test_a_browser_shows_a_running_batch_and_its_exposures(
    start, simulated, tmp_path, cluster, hold, running, ended
):
    bad = tmp_path / "bad_uncal.fits"
    bad.write_bytes(b"SIMPLE")
    hold.write_text(simulated.exposures[1].name)
    where = cluster.scheduler_address if running == 2 else "threads"
    batch = start(where, [bad, *simulated.exposures], BRIEF)
    numbers = "running2done1failed1" if running == 2 else "waiting1running1done1failed1"
    with open_browser(tmp_path / "profile") as page:
        page.open(find_link(batch))
        eventually(lambda: page.text_of("numbers").startswith(numbers))
        assert page.evaluate("document.getElementById('dask').hidden") == (running == 1)
        assert "4 exposures, running" in page.text_of("state")
        assert str(bad) in page.text_of("failures")
        page.click("document.getElementById('grid')", (1.5 * SIDE, 0.5 * SIDE))
        image = "document.querySelector('#images img')"
        eventually(lambda: page.evaluate(f"{image} !== null && {image}.naturalWidth > 0"))
        about = page.text_of("about")
        assert about.startswith(f"{simulated.exposures[0]}: done")
        (product,) = products_in(tmp_path / "out")
        assert f"products: {product}" in about
        assert page.text_of("tries").startswith("tryresultworkertimememory1done")
        page.click("document.querySelector('#failures button')")
        eventually(lambda: page.text_of("about").startswith(f"{bad}: failed: "))
        hold.unlink()
        element, text = ended
        eventually(lambda: text in page.text_of(element))
    assert batch.wait(timeout=120).counts == {"done": 3, "failed": 1}


@pytest.mark.ci
def test_a_restarted_scheduler_gets_the_page_again(start, tmp_path):
    running = Running(tmp_path, has_dashboard=True)

    def is_shown(link, name):
        with suppress(OSError):  # no connection, or no page
            return read_batch(link, name) is not None
        return False

    try:
        eventually(lambda: is_listening(running.port))
        batch = start(running.address)
        link = find_link(batch)
        running.kill("scheduler")
        assert not is_shown(link, batch.name)
        running.keep()
        eventually(lambda: running.keep() or is_shown(link, batch.name))
        assert read_batch(link, batch.name)["private"]
        (tmp_path / "gate").touch()
        # workers that have waited for the old scheduler may end only now
        eventually(lambda: running.keep() or batch.state == "done", 120)
        assert len(products_in(tmp_path / "out")) == 2
        assert read_batch(link, batch.name)["counts"] == {"done": 2}
    finally:
        running.kill()


def test_dasks_own_metrics_have_the_names_of_steps(simulated, tmp_path, cluster):
    def measure():
        metrics = cluster.scheduler.cumulative_worker_metrics
        return sum(v for k, v in metrics.items() if k[2:] == ("superbias", "seconds"))

    before = measure()
    result, _ = run_on(cluster, simulated.exposures[:1], tmp_path)
    (outcome,) = result.done
    eventually(lambda: measure() > before)
    assert measure() - before == pytest.approx(outcome.stages["superbias"])
