"""Batches as objects: started, followed, cancelled and attached to."""

import asyncio
import base64
import inspect
import json
import sys

import psutil
import pytest
from support.batches import DATE, checksums, products_in, small_set, unfinished_products
from support.gated import GATE, SLOW
from support.html_text import read_html
from support.measured_batches import record_measured, statistics_of
from support.notebooks import open_notebook
from support.placed import make_importable
from support.recorded import product, record_batch
from support.waiting import eventually

import calbatch
from calbatch import Batch, Step
from calbatch.cluster.errors import RequestError

FORKED = pytest.mark.usefixtures("forked_drivers")
HOW = {"scheduler": "sync", "date": DATE, "fsync": False}

STATES = [
    {"state": "done", "attempts": 1, "products": [product("/out/e0_rate.fits")]},
    {"state": "kept", "products": [product("/out/e1_rate.fits")]},
    {"state": "failed", "reason": "/in/e2_uncal.fits: is\x1b <b>empty", "log": "Traceback"},
    {"state": "quarantined", "reason": "/in/e3_uncal.fits: killed its workers"},
    {"state": "waiting"},
]


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that starts a batch, which waits until its gate file exists."""
    made = small_set()
    settings = {**made.environment(), GATE: str(tmp_path / "gate")}
    settings["CALBATCH_STATE_DIR"] = str(tmp_path / "state")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    make_importable(monkeypatch)
    started = []

    def start_batch(name="out", pipeline=SLOW, **options):
        inputs = made.exposures[:2]
        batch = Batch(pipeline, inputs, tmp_path / name, **HOW | options).start()
        started.append(batch)
        return batch

    yield start_batch
    for batch in started:
        end_driver(batch)


def end_driver(batch):
    """End the driver of a batch, if it is still running."""
    try:
        process = psutil.Process(json.loads(batch.folder.pid.read_text())["pid"])
        family = [process, *process.children(recursive=True)]
    except (psutil.NoSuchProcess, FileNotFoundError):
        return
    for each in family:
        each.kill()


@FORKED
def test_a_batch_is_started_followed_and_waited_for(start, tmp_path):
    batch = start()
    eventually(lambda: batch.status().running)
    assert (batch.state, batch.status().total, batch.results()) == ("running", 2, [])
    text = f"<Batch {batch.name} running: 0/2 done, 1 running, in {tmp_path / 'out'}>"
    assert repr(batch) == text
    with pytest.raises(TimeoutError, match=f"{batch.name} is running after 0 s"):
        batch.wait(timeout=0)
    with pytest.raises(RequestError, match="has been started already"):
        batch.start()
    (tmp_path / "gate").touch()
    result = batch.wait(timeout=120)
    assert isinstance(result, calbatch.Result)
    assert (result.state, batch.state) == ("done", "done")
    assert [o.path for o in batch.results()] == [*small_set().exposures[:2]]
    assert batch.failures() == []
    assert result.products == products_in(batch.output_dir)
    assert batch.resume().state == "done"  # nothing is left to do


@FORKED
def test_a_batch_is_cancelled_and_resumed_by_others(start, tmp_path):
    batch = start()
    other = calbatch.attach(batch.name)
    eventually(lambda: unfinished_products(batch.output_dir))
    other.cancel()
    (tmp_path / "gate").touch()
    eventually(lambda: batch.state == "cancelled")
    assert len(products_in(batch.output_dir)) == 1
    with pytest.raises(RequestError, match=r"is not running \(cancelled\)"):
        batch.cancel()
    assert calbatch.attach(str(tmp_path / "out")).resume().name == batch.name
    assert batch.wait(timeout=120).state == "done"
    assert len(products_in(batch.output_dir)) == 2


@FORKED
def test_several_batches_are_awaited_together(start, tmp_path):
    batches = [start(name) for name in ("a", "b")]
    (tmp_path / "gate").touch()

    async def gather():
        return await asyncio.gather(*batches)

    results = asyncio.run(gather())
    assert [result.state for result in results] == ["done", "done"]
    assert [result.name for result in results] == [batch.name for batch in batches]
    assert checksums(tmp_path / "a") == checksums(tmp_path / "b")


@FORKED
def test_a_driver_that_cannot_restore_the_step_says_why(start, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text(
        "from calbatch import Step\n\n\nclass Mine(Step):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    result = start(pipeline="only_here:Mine").wait(timeout=120)
    assert result.state == "failed"
    assert "only_here" in result.reason


def test_nothing_happens_before_the_start(tmp_path):
    batch = Batch("detector1", "in/", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert repr(batch) == "<Batch of detector1: not started>"
    assert "&lt;Batch of detector1: not started&gt;" in batch._repr_html_()
    for method in (batch.wait, batch.status, batch.cancel, batch.resume, batch.to_dataframe):
        with pytest.raises(RequestError, match=r"detector1 has not been started: call start\(\)"):
            method()


class Mine(Step):
    """A step that a notebook might define."""


def test_a_step_of_the_notebook_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Mine, "__module__", "__main__")
    batch = Batch(Mine, "in/", tmp_path / "out")
    assert repr(batch) == "<Batch of Mine: not started>"
    with pytest.raises(RequestError, match=r"Mine is defined in this script .* calbatch\.run"):
        batch.start()
    assert not (tmp_path / "out").exists()


def test_the_options_are_those_of_submit():
    assert inspect.signature(Batch).parameters == inspect.signature(calbatch.submit).parameters
    assert "FIELDS" not in Batch.__doc__
    with pytest.raises(TypeError, match=r"wokers.*workers"):
        Batch("detector1", "in/", wokers=2)


@pytest.fixture
def recorded(tmp_path):
    """Return a batch that has ended, with an exposure in each of some states."""
    return calbatch.attach(record_batch(tmp_path, STATES, "interrupted", "the driver died").name)


def test_results_and_failures_are_those_so_far(recorded):
    assert [outcome.number for outcome in recorded.results()] == [0, 1]
    assert [outcome.number for outcome in recorded.failures()] == [2, 3]
    assert recorded.failures()[0].details == "Traceback"


def test_a_table_needs_pandas(recorded, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas: pip install pandas"):
        recorded.to_dataframe()


@pytest.mark.services
def test_a_table_has_a_row_for_each_exposure(recorded):
    pandas = pytest.importorskip("pandas")
    frame = recorded.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert [*frame.state] == [each["state"] for each in STATES]
    assert [*frame.index] == [0, 1, 2, 3, 4]
    assert frame.loc[1, "products"] == ["/out/e1_rate.fits"]


def test_html_shows_states_and_failures(recorded):
    html = recorded._repr_html_()
    found = read_html(html)
    assert f"{recorded.name} interrupted: 2/5 done" in found.text
    assert "2 exposures failed" in found.text
    assert "\\x1b <b>empty" in found.text
    assert "the driver died" in found.text


def test_a_batch_whose_ledger_is_gone_says_so(recorded):
    (recorded.folder.state / "ledger.sqlite").unlink()
    place = recorded.output_dir
    expected = f"<Batch {recorded.name}: its ledger cannot be read, in {place}>"
    assert repr(recorded) == expected
    assert "its ledger cannot be read" in recorded._repr_html_()


def test_progress_is_printed_outside_notebooks(recorded, capsys):
    recorded.progress()
    assert f"{recorded.name} interrupted: 2/5 done" in capsys.readouterr().err


def test_an_unknown_batch_is_refused():
    with pytest.raises(RequestError, match="neither one of your batches"):
        calbatch.attach("20000101-000000-none")


def test_the_display_of_a_batch_has_quick_looks_on_request(tmp_path, monkeypatch):
    folder = record_measured(tmp_path, {n: [statistics_of(n)] for n in range(3)})
    batch, shown = calbatch.attach(str(folder.output)), open_notebook(monkeypatch)
    batch.progress()
    batch.progress(quick_looks=2)
    without, last = (each.html for each in shown)
    assert "img" not in read_html(without).tags
    assert read_html(last).tags.count("img") == 2
    assert all(f"e{n}_rate.fits" in read_html(last).text for n in (1, 2))
    assert "3/3 done" in read_html(last).text


def test_quick_looks_of_products_are_images_in_a_notebook(tmp_path):
    folder = record_measured(tmp_path, {n: [statistics_of(n)] for n in range(3)})
    found = calbatch.attach(str(folder.output)).quick_looks(2)
    assert [product for product, _ in found.images] == ["e2_rate.fits", "e1_rate.fits"]
    assert repr(found) == f"<2 quick-looks of {folder.name}>"
    shown = found._repr_html_()
    assert shown.count("<img ") == 2
    for _, png in found.images:
        assert base64.b64decode(png).startswith(b"\x89PNG")
        assert f'src="data:image/png;base64,{png}"' in shown
