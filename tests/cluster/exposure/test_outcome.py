"""What became of an exposure, in a line."""

import logging
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.cluster.exposure.outcome import (
    Stopwatch,
    collect_remarks,
    describe_failure,
    failure,
    peak_memory,
)
from calbatch.models.errors import FileError, ModelError, ValidationWarning
from calbatch.models.fits.tables import check_columns
from calbatch.models.storage.files import read_stamp

RAW = Path("/data/a_uncal.fits")
FULL = OSError(28, "the disk is full")


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (FileError(RAW, "is empty"), f"{RAW}: is empty"),
        (StepError("jump: TGROUP is None"), f"{RAW}: jump: TGROUP is None"),
        (StepError("two\n  lines"), f"{RAW}: two lines"),
        (FULL, f"{RAW}: {FULL}"),
        (
            KeyError("x"),
            f"{RAW}: KeyError: 'x' (a defect in calbatch or in one of your steps)",
        ),
        (
            MemoryError(),
            f"{RAW}: not enough memory: MemoryError",
        ),
    ],
)
def test_a_reason_is_one_line_that_names_the_file(error, wanted):
    assert describe_failure(error, RAW) == wanted


def read_wrongly(stamp=None):
    """Have NumPy raise below a module that reads, as it does over damaged files."""
    check_columns(np.zeros(1, [("a", "f4")]), [SimpleNamespace(name="a", shape=None)], "")


def test_unforeseen_faults_of_reading_are_the_files_damage(tmp_path):
    reference = tmp_path / "gain.fits"
    reference.write_bytes(b"SIMPLE")
    for arguments, named in (((), ""), ((read_stamp(reference),), f"{reference}: ")):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it raises
            read_wrongly(*arguments)
        assert not isinstance(caught.value, ModelError)
        told = describe_failure(caught.value, RAW)
        what = f"{named}cannot be read, and may be damaged: {caught.type.__name__}: "
        assert told.startswith(f"{RAW}: {what}")
        assert "defect in calbatch" not in told


def test_a_missing_reference_is_told_with_the_values_that_were_refused():
    told = [f"{RAW}: INSTRUME = 'FOO': must be …", f"{RAW}: INSTRUME = 'FOO': must be …"]
    missing = failure(0, RAW, ReferenceFileError("no mask reference"), Stopwatch(), told)
    assert missing.error == f"{RAW}: no mask reference; INSTRUME = 'FOO': must be …"
    other = failure(0, RAW, StepError("jump: no"), Stopwatch(), told)
    assert other.error == f"{RAW}: jump: no"
    assert missing.warnings == other.warnings == (told[0],)


def test_a_failure_keeps_its_traceback_and_time():
    clock = Stopwatch()
    try:
        raise StepError("no")  # noqa: TRY301
    except StepError as error:
        outcome = failure(3, RAW, error, clock)
    assert outcome.failed
    assert outcome.seconds > 0
    assert outcome.began == clock.began
    assert "Traceback" in outcome.details
    assert __file__ in outcome.details
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_what_is_remarkable_is_collected_and_the_rest_is_not():
    found: list[str] = []
    log = logging.getLogger("calbatch.calibrate.somewhere")
    with collect_remarks(found):
        warnings.warn("odd value", ValidationWarning, stacklevel=1)
        warnings.warn("for developers", DeprecationWarning, stacklevel=1)
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
        log.warning("%s is odd too", "this")
        log.info("and this is not")
    log.warning("after")
    assert sorted(found) == ["odd value", "this is odd too"]
    with pytest.warns(ValidationWarning):  # things are as they were
        warnings.warn("odd value", ValidationWarning, stacklevel=1)


def test_what_is_remarkable_is_kept_when_it_fails():
    found: list[str] = []

    def fails():
        warnings.warn("odd value", ValidationWarning, stacklevel=1)
        raise StepError("no")

    with pytest.raises(StepError), collect_remarks(found):
        fails()
    assert found == ["odd value"]


def test_threads_leave_each_others_warnings_alone():
    before = warnings.showwarning, list(warnings.filters)
    entered, leave = threading.Event(), threading.Event()

    def other():
        with collect_remarks([]):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with collect_remarks([]):
        thread.start()
        entered.wait(10)
    leave.set()
    thread.join()
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_a_process_counts_its_own_memory_only():
    """What a child inherits on its way is its parent's: ru_maxrss would have it."""
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    code = (
        "from calbatch.cluster.exposure.outcome import peak_memory; "
        "import sys; sys.stdout.write(str(peak_memory().bytes))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    own = int(done.stdout)
    assert peak_memory().bytes > 300e6
    assert 5e6 < own < 290e6
    assert peak_memory().process.endswith(f":{os.getpid()}")
