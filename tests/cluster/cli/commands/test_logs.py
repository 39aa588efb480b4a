"""`calbatch logs`."""

import json

import pytest
from support.batches import calbatch
from support.recorded import change_batch, record_batch, record_running

from calbatch.cluster.cli.commands import logs as commands
from calbatch.cluster.cli.commands.logs import logs
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import Ledger


@pytest.fixture
def batch(tmp_path):
    return record_running(tmp_path, [{"state": "running"}, {}])


def test_the_events_and_the_drivers_output_are_printed(batch, capsys):
    change_batch(
        batch, lambda ledger, number: ledger.add_event(number, "retry", "e1: is\x07 busy", 1)
    )
    batch.log.write_text("first\nsecond\nunfinished")
    assert logs(batch.name, None, follow=False) == 0
    event, *output = capsys.readouterr().out.splitlines()
    assert event.endswith(r" retry: e1: is\x07 busy")
    assert output == ["first", "second"]


def test_new_events_and_lines_are_printed_once(batch, capsys, monkeypatch):
    batch.log.write_text("first\nsec")

    def wait(seconds):
        batch.log.write_text("first\nsecond\n")
        change_batch(batch, lambda ledger, number: ledger.add_event(number, "note", "later"))
        change_batch(batch, lambda ledger, number: ledger.end_batch(number, "done"))

    monkeypatch.setattr(commands.time, "sleep", wait)
    logs(batch.name, None, follow=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "first"
    assert lines[1].endswith(" note: later")
    assert lines[2:] == ["second"]


@pytest.fixture
def failed(tmp_path):
    return record_batch(
        tmp_path,
        [{"state": "done"}, {"state": "failed", "reason": "is empty", "log": "Traceback\n  it"}],
        "failed",
    )


def read_records(*arguments):
    """Return the records that the command prints as JSON."""
    said = calbatch("logs", *arguments, "--json")
    assert said.status == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def test_events_and_attempts_are_printed_for_programs(failed):
    change_batch(
        failed, lambda ledger, number: ledger.add_event(number, "retry", "e1: is\x07 busy", 1)
    )
    *_, event = read_records(failed.name)
    assert (event["kind"], event["number"], event["text"]) == ("retry", 1, "e1: is\x07 busy")
    [attempt] = read_records(failed.name, "e1_")
    assert (attempt["number"], attempt["result"], attempt["worker"]) == (1, "failed", "host:7")
    assert attempt["log"] == "Traceback\n  it"
    said = calbatch("logs", failed.name, "--json", "--follow")
    assert (said.status, said.out) == (2, "")


@pytest.mark.parametrize("wanted", ["1", "e1_", "e1_uncal.fits", "/in/e1_uncal.fits"])
def test_an_exposure_is_found_by_its_name(failed, capsys, wanted):
    logs(failed.name, wanted, follow=False)
    first, attempt, *log = capsys.readouterr().out.splitlines()
    assert first == "/in/e1_uncal.fits: failed, is empty"
    assert "1 in host:7" in attempt
    assert attempt.endswith(": failed")
    assert log == ["Traceback", "  it"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("7", "7: no such exposure"),
        ("x", "x: no such exposure"),
        ("uncal", "uncal matches 2 exposures"),
    ],
)
def test_other_exposures_are_errors(failed, wanted, message):
    with pytest.raises(RequestError, match=f"{failed.name}: {message}"):
        logs(failed.name, wanted, follow=False)


def test_the_log_of_a_running_attempt_is_printed(tmp_path, capsys):
    folder = record_running(tmp_path, [{"state": "running", "attempts": 2}])
    (folder.logs / "0-2.log").write_bytes(b"began\nodd \xff byte\n")
    logs(folder.name, None, number=0)
    assert capsys.readouterr().out.splitlines()[1:] == ["began", r"odd \xff byte"]


def test_each_line_of_each_attempt_is_printed_once(tmp_path, capsys, monkeypatch):
    folder = record_running(tmp_path, [{"state": "running", "attempts": 1}])
    (folder.logs / "0-1.log").write_text("first line\n")

    def fail(ledger, batch):
        log = "first line\nmore"
        ledger.add_attempt(batch, 0, number=1, worker="w", peak=1, result="failed", log=log)
        ledger.update_exposure(batch, 0, attempts=2)

    def go_on():
        change_batch(folder, fail)
        (folder.logs / "0-2.log").write_text("second attempt\n")
        yield
        change_batch(folder, lambda ledger, number: ledger.end_batch(number, "interrupted"))
        yield

    course = go_on()

    monkeypatch.setattr(commands.time, "sleep", lambda seconds: next(course))
    logs(folder.name, None, number=0, follow=True)
    name, first, attempt, *rest = capsys.readouterr().out.splitlines()
    assert (name, first) == ("/in/e0_uncal.fits: running", "first line")
    assert "try 1 in w: failed" in attempt
    assert rest[:2] == ["more", "second attempt"]
    assert [line.partition(" ")[2] for line in rest[2:]] == ["try 2: lost"]


NAMES = ["jw01_00001_nrca1_uncal.fits", "jw01_00002_nrca1_uncal.fits", "jw02_x_uncal.fits"]


@pytest.fixture
def named(tmp_path):
    return record_batch(tmp_path, [{"state": "done", "path": f"/in/{name}"} for name in NAMES])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["00002"], NAMES[1]),
        (["1_nrca1"], NAMES[0]),
        (["--number", "2"], NAMES[2]),
        ([f"/in/{NAMES[2]}"], NAMES[2]),
    ],
)
def test_digits_are_part_of_a_name(named, arguments, name):
    said = calbatch("logs", named.output, *arguments)
    assert said.status == 0
    assert said.out.splitlines()[0] == f"/in/{name}: done"


def test_an_exposure_without_a_batch_is_one_of_the_latest(named):
    said = calbatch("logs", "00002")
    assert said.status == 0
    assert said.out.splitlines()[0] == f"/in/{NAMES[1]}: done"
    assert calbatch("logs", "nrca1").status == 2  # in two names
    assert "nrcb4: neither one of your batches" in calbatch("logs", "nrcb4").err


@pytest.mark.parametrize("wanted", ["2", "01"])
def test_several_matches_are_listed(named, wanted):
    said = calbatch("logs", named.output, wanted)
    assert said.status == 2
    found = [(n, name) for n, name in enumerate(NAMES) if wanted in name]
    assert len(found) > 1
    assert [line.split() for line in said.err.splitlines()[1:]] == [
        ["--number", str(n), f"/in/{name}"] for n, name in found
    ]


@pytest.mark.parametrize(
    "arguments", [["00003"], ["--number", "3"], [""], ["00002", "--number", 1]]
)
def test_no_other_exposure_is_shown(named, arguments):
    said = calbatch("logs", named.output, *arguments)
    assert (said.status, said.out) == (2, "")


def test_a_whole_name_is_that_exposure_even_if_others_contain_it(tmp_path):
    made = record_batch(tmp_path, [{"path": "/in/a.fits"}, {"path": "/in/ba.fits"}])
    assert calbatch("logs", made.output, "a.fits").out.startswith("/in/a.fits: ")


def test_many_matches_are_cut_short(tmp_path):
    made = record_batch(tmp_path, [{}] * (commands.SHOWN + 2))
    lines = calbatch("logs", made.output, "uncal").err.splitlines()
    assert len(lines) == commands.SHOWN + 2
    assert lines[-1].strip() == "and 2 more"


def test_a_calibrated_exposure_has_a_line_per_step(tmp_path):
    done = {"state": "done", "attempts": 1, "stages": '{"superbias": 0.25, "jump": 1.5}'}
    made = record_batch(tmp_path, [done])
    with Ledger(made.state) as ledger:
        ledger.add_attempt(ledger.batch(made.name).id, 0, number=1, worker="host:7", result="done")
    _, attempt, *steps = calbatch("logs", made.output, "e0_").out.splitlines()
    assert attempt.endswith(": done")
    assert [line.split()[:2] for line in steps] == [["superbias", "0.250"], ["jump", "1.500"]]


def test_a_listed_match_is_one_line_for_any_name(tmp_path):
    made = record_batch(tmp_path, [{"path": "/in/a\nx.fits"}, {"path": "/in/\x1bax.fits"}])
    lines = calbatch("logs", made.output, "x.fits").err.splitlines()[1:]
    assert [line.split()[2] for line in lines] == [r"/in/a\nx.fits", r"/in/\x1bax.fits"]
