"""The display of a running batch, and its summary at the end."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from support.html_text import read_html
from support.notebooks import open_notebook

from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.report import print_summary
from calbatch.cluster.batch.result import Result
from calbatch.cluster.display import progress
from calbatch.cluster.display.progress import BatchTally, MemoryUse, show_progress
from calbatch.cluster.driver.recording import Attempt, Recorder
from calbatch.cluster.exposure.outcome import MemoryPeak, Outcome
from calbatch.cluster.folder import BatchFolder, make_batch_name
from calbatch.cluster.ledger import Ledger
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planned_exposure import PlannedExposure, StepSettings
from calbatch.models.fits.writer import Product

DATED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (.*)")
PATHS = [Path(f"/data/{i}_uncal.fits") for i in range(4)]


def success(number, **values):
    product = Product(f"{number}_rate.fits", 1, 2, "")
    return Outcome(number=number, path=PATHS[number], written=(product,), **values)


def failure(number):
    return Outcome(
        number=number, path=PATHS[number], error=f"{PATHS[number]}: [jump] is no good", details="T"
    )


def plain():
    return Console(file=io.StringIO(), width=200)


def test_memory_is_the_sum_of_every_processs_peak():
    memory = MemoryUse()
    memory.add(MemoryPeak("host:1", 100_000_000), MemoryPeak("host:2", 50_000_000))
    memory.add(MemoryPeak("host:1", 80_000_000))
    assert str(memory) == "150 MB in 2 processes"


def test_a_tally_counts_and_foresees(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    tally = BatchTally(4)
    assert tally.left is None
    assert "left" not in tally.line()
    clock[0] += 30
    tally.add(success(0))
    tally.add(failure(1))
    assert tally.rate == pytest.approx(4)
    assert tally.left == pytest.approx(30)
    assert re.match(r"1/4 done, 1 failed, 4 per minute, 30\.0 s left, peak memory ", tally.line())
    tally.add(success(2))
    tally.add(success(3))
    assert "per minute" in tally.line()
    assert "left" not in tally.line()


@pytest.fixture
def clock(monkeypatch):
    """Return the time of the progress display, as a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def calibrate(tally, clock, times, every):
    """Count exposures that are calibrated at intervals."""
    for _ in range(times):
        clock[0] += every
        tally.add(success(0))


def test_the_time_left_counts_down_between_exposures(clock):
    tally = BatchTally(12)
    calibrate(tally, clock, 1, 10)
    assert tally.left is None  # the first one compiles kernels
    calibrate(tally, clock, 3, 10)
    assert tally.left == pytest.approx(80)
    clock[0] += 7
    assert tally.left == pytest.approx(73)


def test_the_time_left_grows_when_nothing_is_calibrated_any_more(clock):
    tally = BatchTally(6)
    calibrate(tally, clock, 4, 10)
    clock[0] += 40
    assert tally.left == pytest.approx(2 * 80 / 4)
    assert tally.rate == pytest.approx(60 * 4 / 80)


def test_a_time_left_never_reaches_zero_before_the_end(clock):
    tally = BatchTally(5)
    calibrate(tally, clock, 4, 10)
    clock[0] += 15
    assert tally.left == pytest.approx(10)
    calibrate(tally, clock, 1, 1)
    assert tally.left == 0


def test_the_rate_is_a_recent_one(clock):
    tally = BatchTally(10_000)
    calibrate(tally, clock, 2000, 0.01)  # all of them failed at once
    calibrate(tally, clock, 100, 10)
    assert tally.rate == pytest.approx(6, rel=0.01)
    assert tally.left == pytest.approx(7900 * 10, rel=0.01)


def test_exposures_that_were_done_earlier_have_no_rate(clock):
    tally = BatchTally(3)
    for number in range(2):
        tally.add(success(number, kept=True))
    assert (tally.rate, tally.left) == (0, None)
    calibrate(tally, clock, 1, 10)
    assert tally.left == 0
    everything = BatchTally(1)
    everything.add(success(0, kept=True))
    assert everything.left is None


PARTS = ["3/9 done", "0 failed", "1 of them earlier", "6 per minute", "0:01:00 left"]


@pytest.mark.parametrize(
    ("width", "parts"),
    [
        (200, PARTS),
        (70, PARTS),
        (60, ["3/9 done", "0 failed", "6 per minute", "0:01:00 left"]),
        (35, ["3/9 done", "0 failed", "0:01:00 left"]),
        (18, ["3/9 done", "0 failed"]),
        (3, ["3/9 done"]),
    ],
)
def test_a_narrow_line_keeps_the_most_important_parts(clock, width, parts):
    tally = BatchTally(9)
    tally.add(success(0, kept=True))
    calibrate(tally, clock, 2, 10)
    found = tally.line(width).split(", ")
    assert [part for part in found if not part.startswith("peak memory")] == parts
    assert (len(found) > len(parts)) == (width == 200)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_bar_stays_in_a_narrow_terminal(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    with show_progress(2, console) as watch:
        watch(success(0))
        watch(success(1))
    last = [line for line in re.split(r"[\r\n]+", console.file.getvalue()) if "done" in line][-1]
    assert re.search("━{10}", last)
    assert "2/2 done" in last
    assert re.search(r"0:00:0\d", last)
    assert len(re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", last)) <= width


def test_plain_lines_come_now_and_then_and_at_the_end(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    console = plain()
    with show_progress(4, console) as watch:
        watch.show_dashboard("http://127.0.0.1:1/status")
        watch.show_dashboard("http://127.0.0.1:1/status")
        for number in range(4):
            clock[0] += 6
            watch(success(number))
    lines = [DATED.fullmatch(line)[1] for line in console.file.getvalue().splitlines()]
    assert lines[0] == "dashboard: http://127.0.0.1:1/status"
    assert [line.split(",")[0] for line in lines[1:]] == ["2/4 done", "4/4 done"]


def test_failures_are_told_as_they_come():
    console = plain()
    with show_progress(4, console) as watch:
        watch(failure(1))
        line = console.file.getvalue().rstrip("\n")
        assert DATED.fullmatch(line)[1] == "FAILED /data/1_uncal.fits: [jump] is no good"
    assert "\nT" not in console.file.getvalue()
    with show_progress(4, console, debug=True) as watch:
        watch(failure(1))
    assert "\nT\n" in console.file.getvalue()


@pytest.mark.parametrize("kind", ["terminal", "notebook"])
def test_live_where_it_can_be_redrawn(kind, monkeypatch):
    shown = open_notebook(monkeypatch)
    if kind == "notebook":
        console = Console(force_jupyter=True, width=120)
    else:
        console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with show_progress(2, console) as watch:
        watch(success(0))
        watch(failure(1))
    text = "".join(each.html for each in shown) or console.file.getvalue()
    assert "1/2 done" in text
    assert "is no good" in text


def test_a_notebook_shows_the_final_counts_in_one_place(monkeypatch):
    shown = open_notebook(monkeypatch)
    with show_progress(2, Console(force_jupyter=True, width=120)) as watch:
        watch(success(0))
        watch(success(1))
    bars = [each for each in shown if "display_id" in each.how]
    assert len({each.how["display_id"] for each in bars}) == 1
    assert [each.how["update"] for each in bars] == [False] + [True] * (len(bars) - 1)
    assert 'value="0" max="2"' in bars[0].html
    assert 'value="2" max="2"' in bars[-1].html
    assert "2/2 done" in bars[-1].html


def test_a_notebook_shows_the_dashboard_as_a_link_once(monkeypatch):
    shown = open_notebook(monkeypatch)
    link = "http://127.0.0.1:1/calbatch#token"
    with show_progress(2, Console(force_jupyter=True, width=120)) as watch:
        watch.show_dashboard(link)
        watch.show_dashboard(link)
    pages = [read_html(each.html) for each in shown]
    assert [page.attributes["href"] for page in pages if "a" in page.tags] == [link]


@pytest.fixture
def result(tmp_path):
    """Return a function that gives the result of a batch with some outcomes."""

    def make_result(*outcomes, seconds=12.0):
        folder = BatchFolder(tmp_path, make_batch_name())
        settings = StepSettings(step=Step(), digest="", body={})
        with Ledger(folder.state) as ledger:
            paths = [str(outcome.path) for outcome in outcomes]
            batch = ledger.add_batch(
                folder.name, "jump", paths, request={}, parameters={}, software={}
            )
            recorder = Recorder(
                ledger, batch, ReferenceChecksums(ledger.find_checksum, ledger.add_reference)
            )
            for outcome in outcomes:
                planned = PlannedExposure(
                    number=outcome.number,
                    path=outcome.path,
                    settings=settings,
                    references=ResolvedReferences(""),
                )
                recorder.record_outcome(Attempt(planned, serial=1), outcome)
            ledger.end_batch(batch, "failed" if recorder.failed else "done")
        return Result(folder, seconds)

    return make_result


def print_text(found, **options):
    console = plain()
    print_summary(found, console, **options)
    return console.file.getvalue()


def test_a_summary_counts(result, tmp_path):
    text = print_text(result(success(0), success(1), failure(2)))
    assert re.search(r"│ 3 +│ 2 +│ 1 +│ 2 +│ 12\.0 s +│ \d+ MB +│", text)
    assert "failed: 2_uncal.fits\n" in text
    assert f"products are in {tmp_path}\n" in text


def test_many_failures_are_not_all_listed(result):
    many = [Outcome(number=i, path=Path(f"{i}.fits"), error="no") for i in range(50)]
    text = print_text(result(*many))
    assert "19.fits and 30 more\n" in text
    assert "products are in" not in text


def test_equal_warnings_are_told_once(result):
    warned = [success(i, warnings=(f"{PATHS[i]}: odd", f"{PATHS[i]}: odd")) for i in range(3)]
    first = print_text(result(*warned)).splitlines()[0]
    assert first == f"warning: {PATHS[0]}: odd (and in 2 more exposures)"


def test_a_warning_names_its_file_for_any_source(result):
    warned = [
        success(0, warnings=("a library's",)),
        success(1, warnings=(f"{PATHS[1]}: \x1b[31m",)),
    ]
    lines = print_text(result(*warned)).splitlines()[:2]
    assert lines == [f"warning: {PATHS[0]}: a library's", rf"warning: {PATHS[1]}: \x1b[31m"]


def test_stages_are_means_over_calibrated_exposures(result):
    outcomes = [success(0, stages={"jump": 1.0, "write": 0.5}), success(1, stages={"jump": 3.0})]
    text = print_text(result(*outcomes, failure(2)), timings=True)
    assert re.search(r"│ jump +│ 2\.000 ", text)
    assert re.search(r"│ write +│ 0\.250 ", text)
    assert re.search(r"│ all +│ 2\.250 ", text)
    assert "jump" not in print_text(result(*outcomes))
