"""Liveness of a batch's driver, and the state of the batch that follows from it."""

import json
import os
import re
import socket
import sys
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.recorded import record_batch
from support.waiting import now

from calbatch.cluster.batch import liveness
from calbatch.cluster.batch.liveness import (
    EXIT_STATUS,
    SILENCE,
    batch_state,
    is_driver_alive,
    is_job_alive,
    read_job,
    record_driver,
    record_job,
    start_detached,
)
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import View
from calbatch.cluster.ledger.records import BatchRow


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Return the folder of a planned batch, and its row."""
    folder = record_batch(tmp_path_factory.mktemp("out"), [{}], state=None)
    with View(folder.state) as view:
        return folder, view.batch(folder.name)


@pytest.fixture
def planned(shared):
    """Return a planned batch that no driver has touched yet."""
    folder, row = shared
    for file in (folder.pid, folder.job):
        file.unlink(missing_ok=True)
    return folder, row


def write_driver(folder, **changes):
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "created": creation_time()}
    folder.pid.write_text(json.dumps(mine | changes))


def creation_time():
    return psutil.Process().create_time()


def test_this_process_is_a_living_driver_once_it_is_recorded(planned):
    folder, row = planned
    assert not is_driver_alive(folder, row)
    record_driver(folder)
    assert is_driver_alive(folder, row)


def test_a_process_that_was_given_the_number_of_a_dead_driver_is_not_the_driver(planned):
    folder, row = planned
    write_driver(folder, created=creation_time() - 100)
    assert not is_driver_alive(folder, row)


@pytest.mark.parametrize(("silent", "alive"), [(0.0, True), (SILENCE / 2, True), (SILENCE, False)])
def test_a_driver_on_another_host_lives_as_long_as_it_sends_heartbeats(planned, silent, alive):
    folder, row = planned
    write_driver(folder, host="elsewhere")
    silent_row = replace(row, beat=now() - silent)
    assert is_driver_alive(folder, silent_row) == alive
    assert not is_driver_alive(folder, replace(row, beat=None))


JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
DAMAGED = st.fixed_dictionaries({"host": JSON, "pid": JSON, "created": JSON}) | JSON


@given(st.binary(max_size=40) | DAMAGED.map(lambda found: json.dumps(found).encode()))
def test_a_damaged_record_names_no_living_driver(shared, content):
    folder, row = shared
    folder.pid.write_bytes(content)
    assert not is_driver_alive(folder, row)


@given(st.binary(max_size=12))
@example(b"\x1c0")
def test_only_decimal_digits_name_a_job(shared, content):
    folder, _ = shared
    folder.job.write_bytes(content)
    number = re.fullmatch(rb"\s*([0-9]+)\s*", content)
    assert read_job(folder) == (number[1].decode() if number else None)


def test_a_job_is_read_as_it_was_recorded(planned):
    folder, _ = planned
    assert read_job(folder) is None
    record_job(folder, "4711")
    assert read_job(folder) == "4711"


def test_without_slurm_no_job_is_alive(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not is_job_alive("4711")


@pytest.mark.parametrize(
    ("recorded", "driver", "job", "state"),
    [
        ("planned", None, None, "planned"),
        ("planned", "alive", None, "planned"),
        ("planned", "dead", None, "interrupted"),
        ("running", "alive", None, "running"),
        ("running", "dead", None, "interrupted"),
        ("running", None, None, "interrupted"),
        ("running", None, "alive", "planned"),
        ("running", "dead", "ended", "interrupted"),
        ("interrupted", None, "alive", "planned"),
        ("interrupted", None, "ended", "interrupted"),
        ("interrupted", "dead", None, "interrupted"),
        ("done", "dead", "alive", "done"),
        ("failed", None, None, "failed"),
        ("cancelled", "alive", None, "cancelled"),
    ],
)
def test_the_state_is_the_recorded_one_unless_the_driver_died(
    planned, monkeypatch, recorded, driver, job, state
):
    folder, row = planned
    if driver:
        write_driver(folder, created=creation_time() - (100 if driver == "dead" else 0))
    if job:
        record_job(folder, "4711")
        monkeypatch.setattr(liveness, "is_job_alive", lambda number: job == "alive")
    assert batch_state(folder, replace(row, state=recorded)) == state


def test_a_batch_whose_driver_never_began_is_interrupted_after_a_while(planned):
    folder, row = planned
    recent, old = (replace(row, created=now() - age) for age in (SILENCE / 2, SILENCE))
    assert batch_state(folder, recent) == "planned"
    assert batch_state(folder, old) == "interrupted"


def test_each_state_of_a_batch_has_an_exit_status():
    assert set(EXIT_STATUS) == set(BatchRow._states)
    assert [state for state, status in EXIT_STATUS.items() if status == 0] == ["done"]


def test_a_detached_process_writes_to_the_log_and_has_a_session_of_its_own(tmp_path):
    log = tmp_path / "driver.log"
    log.write_text("earlier\n")
    code = "import os, sys; print(os.getsid(0), sys.stdin.read(), flush=True); sys.exit('said')"
    pid = start_detached([sys.executable, "-c", code], log)
    with suppress(ChildProcessError):  # a thread waits for it, too
        os.waitpid(pid, 0)
    assert log.read_text().split() == ["earlier", str(pid), "said"]


def test_a_log_that_is_a_symbolic_link_is_not_followed(tmp_path):
    target = tmp_path / "theirs"
    (tmp_path / "driver.log").symlink_to(target)
    with pytest.raises(OSError, match=r"driver\.log"):
        start_detached([sys.executable, "-c", ""], tmp_path / "driver.log")
    assert not target.exists()


def test_a_batch_without_files_has_no_driver(tmp_path, planned):
    nothing = BatchFolder(tmp_path, "20240131-120000-abcd")
    assert read_job(nothing) is None
    assert not is_driver_alive(nothing, planned[1])
