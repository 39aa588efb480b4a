"""Progress of fetching references, and reports of those that are missing."""

import io
import shlex
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.batches import quiet_console
from support.notebooks import open_notebook

from calbatch.cluster.display import fetch_progress
from calbatch.cluster.display.fetch_progress import (
    TO_BE_FETCHED,
    FetchTally,
    defer_fetching,
    fetch_references,
    print_missing,
    show_fetch_progress,
    sync_command,
)


class FakeReferences:
    """References that are fetched from memory, in two pieces of 2 MB each."""

    cache = "/crds"

    def __init__(self, failed=(), offline=False):
        self.failed, self.offline, self.fetched = dict(failed), offline, []

    def fetch(self, names, show=None):
        """Report pieces of each file, and return the reasons for those that failed."""
        for name in names:
            if show and name not in self.failed:
                show(name, 2_000_000, 4_000_000)
                show(name, 4_000_000, 4_000_000)
        self.fetched += names
        return self.failed


def lines(console):
    return console.file.getvalue().splitlines()


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that a test advances."""
    made = SimpleNamespace(now=100.0)
    monkeypatch.setattr(fetch_progress.time, "monotonic", lambda: made.now)
    return made


def test_bytes_and_whole_files_are_counted(clock):
    tally = FetchTally(3)
    tally.add("a", 5_000_000, 10_000_000)
    tally.add("b", 2_000_000, 2_000_000)
    tally.add("a", 6_000_000, 10_000_000)
    clock.now += 12
    assert (tally.bytes, tally.whole) == (8_000_000, 1)
    assert tally.line() == "fetched 1 of 3 files, 8.0 MB in 12.0 s"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=20))
def test_only_the_last_report_of_each_file_counts(reports):
    tally = FetchTally(3)
    for name, received in reports:
        tally.add(name, received, 9)
    latest = dict(reports)
    assert tally.bytes == sum(latest.values())
    assert tally.whole == sum(received == 9 for received in latest.values())


def test_plain_lines_are_printed_now_and_then_and_in_the_end(clock):
    console = quiet_console()
    with show_fetch_progress(2, console) as show:
        for received in range(1, 31):
            clock.now += 1
            show("a", received * 1_000_000, 30_000_000)
        assert lines(console) == [
            "fetched 0 of 2 files, 10 MB in 10.0 s",
            "fetched 0 of 2 files, 20 MB in 20.0 s",
            "fetched 1 of 2 files, 30 MB in 30.0 s",
        ]
    assert lines(console)[3:] == ["fetched 1 of 2 files, 30 MB in 30.0 s"]


def test_nothing_is_printed_where_nothing_was_fetched(clock):
    console = quiet_console()
    with show_fetch_progress(2, console):
        clock.now += 60
    assert lines(console) == []


def test_a_terminal_shows_a_bar(clock):
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with show_fetch_progress(1, console) as show:
        show("a", 3_000_000, 3_000_000)
    text = console.file.getvalue()
    assert "\x1b[" in text
    assert "fetched 1 of 1 file, 3.0 MB in 0.0 s" in text


def test_a_notebook_shows_a_bar(clock, monkeypatch):
    shown = open_notebook(monkeypatch)
    with show_fetch_progress(2, Console(force_jupyter=True, width=80)) as show:
        show("a", 3_000_000, 3_000_000)
    bars = [each.html for each in shown if "display_id" in each.how]
    assert 'value="0" max="2"' in bars[0]
    assert 'value="1" max="2"' in bars[-1]
    assert "fetched 1 of 2 files, 3.0 MB in 0.0 s" in bars[-1]


@pytest.mark.parametrize(
    ("names", "files"), [(["b"], "1 reference file "), (["b", "a"], "2 reference files ")]
)
def test_fetched_files_are_announced_and_counted(clock, names, files):
    console, references = quiet_console(), FakeReferences()
    assert fetch_references(references, names, console) == {}
    assert references.fetched == names
    first, last = lines(console)
    assert files in first
    assert first.endswith(" /crds")
    count = files.replace("reference ", "").strip()
    assert last == f"fetched {len(names)} of {count}, {4 * len(names)}.0 MB in 0.0 s"


def test_files_that_cannot_be_fetched_are_named_with_the_reason(clock):
    console, references = quiet_console(), FakeReferences({"b": "no such file", "a": "[too] large"})
    assert fetch_references(references, ["b", "c", "a"], console) == references.failed
    assert lines(console)[-2:] == ["a: [too] large", "b: no such file"]


@pytest.mark.parametrize("fetch", [fetch_references, defer_fetching])
def test_without_a_server_missing_files_are_listed_with_the_command(fetch):
    console, references = quiet_console(), FakeReferences({"a": "missing"}, offline=True)
    assert fetch(references, ["b", "a"], console) == references.failed
    first, *names, _, command = lines(console)
    assert first.startswith("2 reference files are not in the cache /crds")
    assert [name.strip() for name in names] == ["a", "b"]
    assert command.strip() == "calbatch refs sync --files a b"


def test_one_missing_file_is_in_the_singular():
    console = quiet_console()
    print_missing(["a"], "/crds", console)
    assert lines(console)[0].startswith("1 reference file is not in the cache")


def test_a_plan_fetches_nothing():
    console, references = quiet_console(), FakeReferences()
    found = defer_fetching(references, ["b", "a"], console)
    assert references.fetched == []
    assert set(found) == {"a", "b"}
    assert found["a"] == f"a {TO_BE_FETCHED}: calbatch refs sync --files a"
    assert lines(console)[0].endswith(": a, b")


@given(st.sets(st.text(min_size=1), min_size=1))
def test_the_command_names_exactly_the_files(names):
    assert shlex.split(sync_command(list(names))) == [
        "calbatch", "refs", "sync", "--files", *sorted(names),
    ]  # fmt: skip
